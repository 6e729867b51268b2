// SPDX-License-Identifier: MIT

//! [`Control`]: what every open descriptor of a queue can ask and set; [`Monitor`]: a descriptor
//! that can do nothing else.

use crate::{Error, Info, Mode, Queue, Result, Stages, Transport};
use nix::errno::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// The ioctl(2) calls of the driver. Every end and every [`Monitor`] has them.
pub trait Control: AsFd {
    /// The queue that was opened.
    fn queue(&self) -> &Queue;

    /// State and counters of the queue.
    fn info(&self) -> Result<Info> {
        kpipe_abi::info(self).map_err(|errno| Error::of_info(self.queue(), errno))
    }

    /// Bytes in the queue (`FIONREAD`).
    fn queued_bytes(&self) -> Result<u64> {
        kpipe_abi::queued_bytes(self)
            .map_err(|errno| Error::of_call(self.queue(), "FIONREAD", errno))
    }

    /// Gives the queue room for at least `capacity_bytes`; queued data survives. Returns the actual
    /// capacity in bytes: a power of two, at least one page.
    ///
    /// # Errors
    /// [`Error::Busy`] if more is queued than would fit, [`Error::CapacityNotPermitted`] and
    /// [`Error::CapacityTooLarge`] above the limits.
    fn resize(&self, capacity_bytes: u64) -> Result<u64> {
        kpipe_abi::resize(self, capacity_bytes)
            .map_err(|errno| Error::of_resize(self.queue(), capacity_bytes, errno))
    }

    /// Says what later writes become, for everybody who has the queue open. What is queued stays as it is.
    fn set_mode(&self, mode: Mode) -> Result<()> {
        kpipe_abi::set_mode(self, mode.number())
            .map_err(|errno| Error::of_call(self.queue(), "mode", errno))
    }

    /// Limits how long reads and writes through this open file description sleep; `None` is no limit.
    /// Then they fail with [`std::io::ErrorKind::WouldBlock`].
    fn set_timeouts(&self, read: Option<Duration>, write: Option<Duration>) -> Result<()> {
        kpipe_abi::set_timeouts(self, read, write)
            .map_err(|errno| Error::of_call(self.queue(), "timeouts", errno))
    }

    /// The limits that [`set_timeouts`](Self::set_timeouts) sets: for reads and for writes.
    fn timeouts(&self) -> Result<(Option<Duration>, Option<Duration>)> {
        kpipe_abi::timeouts(self).map_err(|errno| Error::of_call(self.queue(), "timeouts", errno))
    }

    /// Says who carries the bytes from now on, for everybody who has the queue open.
    ///
    /// # Errors
    /// [`Error::NotEmpty`], [`Error::NoDevice`], [`Error::TransportNotPermitted`], [`Error::NoThread`],
    /// [`Error::NoSuchTransport`].
    fn set_transport(&self, transport: Transport) -> Result<()> {
        kpipe_abi::set_transport(self, transport.to_uapi())
            .map_err(|errno| Error::of_transport(self.queue(), errno))
    }

    /// Who carries the bytes.
    fn transport(&self) -> Result<Transport> {
        let told = kpipe_abi::transport(self)
            .map_err(|errno| Error::of_call(self.queue(), "transport", errno))?;
        Transport::from_uapi(&told).ok_or_else(|| Error::OtherVersion {
            queue: self.queue().clone(),
        })
    }

    /// Waits until all bytes written before have arrived. Whether somebody reads them does not matter.
    ///
    /// # Errors
    /// [`Error::NoDevice`] if the device is gone.
    fn drain(&self) -> Result<()> {
        loop {
            match kpipe_abi::drain(self) {
                Err(Errno::EINTR) => {}
                Err(Errno::ENODEV) => {
                    return Err(Error::NoDevice {
                        queue: self.queue().clone(),
                    });
                }
                result => {
                    return result.map_err(|errno| Error::of_call(self.queue(), "drain", errno));
                }
            }
        }
    }

    /// Interrupts and transfers, and how long the stages of requests took.
    fn stages(&self) -> Result<Box<Stages>> {
        kpipe_abi::stages(self).map_err(|errno| Error::of_call(self.queue(), "stages", errno))
    }

    /// Sets the counters of [`Info::read`] and [`Info::write`] and those of [`stages`](Self::stages) to
    /// zero.
    fn reset_counters(&self) -> Result<()> {
        kpipe_abi::reset_counters(self)
            .map_err(|errno| Error::of_call(self.queue(), "reset", errno))
    }
}

/// A descriptor for [`Control`] alone. Those who use the queue do not notice it: it is neither a
/// reader nor a writer, so it releases nobody who waits for a partner, and neither delays nor
/// causes an end of file or a broken pipe when it closes.
#[derive(Debug)]
pub struct Monitor {
    queue: Queue,
    fd: OwnedFd,
}

impl Monitor {
    pub(crate) fn new(queue: Queue, fd: OwnedFd) -> Self {
        Self { queue, fd }
    }
}

impl Control for Monitor {
    fn queue(&self) -> &Queue {
        &self.queue
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

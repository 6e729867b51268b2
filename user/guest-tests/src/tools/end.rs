// SPDX-License-Identifier: MIT

//! One end of a queue: a descriptor with the calls that the tests make.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::Arc;

use kpipe_abi::uapi::{self, Info};
use nix::errno::Errno;
use nix::fcntl::{fcntl, open, FcntlArg, OFlag};
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::stat::Mode as FileMode;
use nix::unistd;

use super::subject::descriptor_path;

/// Does a call on this description sleep (`O_NONBLOCK`)?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It may.
    Blocking,
    /// It never does.
    Nonblocking,
}

/// An open end. A clone is the same descriptor, for another thread; see [`End::close`].
#[derive(Clone, Debug)]
pub struct End {
    fd: Arc<OwnedFd>,
}

impl From<OwnedFd> for End {
    fn from(fd: OwnedFd) -> Self {
        Self { fd: Arc::new(fd) }
    }
}

impl AsFd for End {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for End {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl End {
    /// read(2) of up to `len` bytes.
    pub fn read(&self, len: usize) -> nix::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        let len = unistd::read(self, &mut bytes)?;
        bytes.truncate(len);
        Ok(bytes)
    }

    /// read(2) until `len` bytes are there or the end of file is.
    #[track_caller]
    pub fn read_all(&self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len);
        while bytes.len() < len {
            match self.read(len - bytes.len()) {
                Ok(part) if part.is_empty() => break,
                Ok(part) => bytes.extend(part),
                Err(e) => panic!("read after {} of {len} bytes: {e}", bytes.len()),
            }
        }
        bytes
    }

    /// write(2), once.
    pub fn write(&self, bytes: &[u8]) -> nix::Result<usize> {
        unistd::write(self, bytes)
    }

    /// write(2) that has to take everything at once.
    #[track_caller]
    pub fn write_all(&self, bytes: &[u8]) {
        match self.write(bytes) {
            Ok(len) if len == bytes.len() => {}
            other => panic!("write of {} bytes: got {other:?}", bytes.len()),
        }
    }

    /// Fills the queue with 4096-byte writes until none fits, and says how many bytes that took.
    #[track_caller]
    pub fn fill(&self) -> usize {
        let block = [0x5a; uapi::PIPE_BUF_BYTES];
        self.set_mode(Mode::Nonblocking);
        let mut total = 0;
        let end = loop {
            match self.write(&block) {
                Ok(len) => total += len,
                Err(e) => break e,
            }
        };
        self.set_mode(Mode::Blocking);
        assert_eq!(end, Errno::EAGAIN, "end of filling after {total} bytes");
        total
    }

    /// Closes the descriptor, now: fails the test if a clone keeps it open.
    #[track_caller]
    pub fn close(self) {
        Arc::try_unwrap(self.fd).expect("another thread still has this end");
    }

    /// dup(2): another descriptor of the same description.
    pub fn duplicate(&self) -> Self {
        unistd::dup(self).expect("dup").into()
    }

    /// `F_SETFL`
    pub fn set_mode(&self, mode: Mode) {
        let flags = match mode {
            Mode::Blocking => OFlag::empty(),
            Mode::Nonblocking => OFlag::O_NONBLOCK,
        };
        fcntl(self, FcntlArg::F_SETFL(flags)).expect("F_SETFL");
    }

    /// The name under which this process can open it again: proc_pid_fd(5).
    pub fn path(&self) -> PathBuf {
        descriptor_path(self)
    }

    /// `F_GETFL`
    pub fn flags(&self) -> OFlag {
        let flags = fcntl(self, FcntlArg::F_GETFL).expect("F_GETFL");
        OFlag::from_bits_retain(flags)
    }

    /// `F_SETFL` with exactly these.
    pub fn set_flags(&self, flags: OFlag) -> nix::Result<()> {
        fcntl(self, FcntlArg::F_SETFL(flags)).map(drop)
    }

    /// The same description opened again, as proc_pid_fd(5) has it.
    pub fn reopen(&self, flags: OFlag) -> nix::Result<Self> {
        let flags = flags | OFlag::O_CLOEXEC;
        open(&self.path(), flags, FileMode::empty()).map(Self::from)
    }

    /// The same end, not blocking any more.
    pub fn nonblocking(self) -> Self {
        self.set_mode(Mode::Nonblocking);
        self
    }

    /// poll(2) for everything, without waiting.
    pub fn readiness(&self) -> PollFlags {
        let asked = PollFlags::POLLIN
            | PollFlags::POLLRDNORM
            | PollFlags::POLLOUT
            | PollFlags::POLLWRNORM
            | PollFlags::POLLPRI;
        self.poll(asked, PollTimeout::ZERO)
    }

    /// poll(2) for some of it, without a limit; the deadline of the test is one.
    pub fn wait_for(&self, events: PollFlags) -> PollFlags {
        self.poll(events, PollTimeout::NONE)
    }

    fn poll(&self, events: PollFlags, timeout: PollTimeout) -> PollFlags {
        let mut fds = [PollFd::new(self.as_fd(), events)];
        poll(&mut fds, timeout).expect("poll");
        fds[0].revents().expect("only known bits")
    }

    /// `FIONREAD`: bytes in the queue.
    #[track_caller]
    pub fn queued(&self) -> usize {
        kpipe_abi::queued_bytes(self).expect("FIONREAD") as usize
    }

    /// Bytes that fit into the queue.
    #[track_caller]
    pub fn capacity(&self) -> usize {
        match fcntl(self, FcntlArg::F_GETPIPE_SZ) {
            Ok(bytes) => bytes as usize,
            // Not a pipe: the device.
            Err(Errno::EBADF) => self.info().capacity_bytes as usize,
            Err(e) => panic!("F_GETPIPE_SZ: {e}"),
        }
    }

    /// Asks for a capacity, the FIFO by `F_SETPIPE_SZ` and the device by its ioctl. Returns what it
    /// became.
    pub fn resize(&self, bytes: u64) -> nix::Result<usize> {
        if fcntl(self, FcntlArg::F_GETPIPE_SZ) == Err(Errno::EBADF) {
            return kpipe_abi::resize(self, bytes).map(|bytes| bytes as usize);
        }
        let bytes = i32::try_from(bytes).map_err(|_| Errno::EINVAL)?;
        fcntl(self, FcntlArg::F_SETPIPE_SZ(bytes)).map(|bytes| bytes as usize)
    }

    /// `KPIPE_IOC_SET_TRANSPORT`
    pub fn set_transport(&self, wanted: uapi::Transport) -> nix::Result<()> {
        kpipe_abi::set_transport(self, wanted)
    }

    /// `KPIPE_IOC_GET_TRANSPORT`
    #[track_caller]
    pub fn transport(&self) -> uapi::Transport {
        kpipe_abi::transport(self).expect("KPIPE_IOC_GET_TRANSPORT")
    }

    /// `KPIPE_IOC_DRAIN`
    pub fn drain(&self) -> nix::Result<()> {
        kpipe_abi::drain(self)
    }

    /// Interrupts and transfers that the queue had.
    #[track_caller]
    pub fn interrupts_and_transfers(&self) -> (u64, u64) {
        let stages = kpipe_abi::stages(self).expect("KPIPE_IOC_STAGES");
        (stages.interrupts, stages.transfers)
    }

    /// What the device tells about the queue.
    #[track_caller]
    pub fn info(&self) -> Info {
        kpipe_abi::info(self).expect("KPIPE_IOC_INFO")
    }
}

// SPDX-License-Identifier: GPL-2.0

//! The top half: what the system calls on `/dev/kpipeN` and `/dev/kpipe` do.
//!
//! Each runs in the context of the calling task and may put it to sleep. [`Queues`] is the device,
//! [`End`] an open file description: one end of a queue, both, or (access mode 3) an observer.

use crate::ioctl;
use crate::model::ends::{Access, Opening, Wait};
use crate::pipe::{Defaults, Pipe};
use crate::sys::atomic::{AtomicU64, Relaxed};
use crate::sys::chardev::Device;
use crate::sys::fasync::AsyncRequest;
use crate::sys::fops::OpenFile;
use crate::sys::pairfs::{Anonymous, Mount, Pair, Pairs};
use crate::sys::request::{OpenRequest, Request};
use crate::sys::user::Argument;
use crate::sys::wait::PollTable;
use crate::uapi;
use kernel::alloc::flags::GFP_KERNEL_ACCOUNT;
use kernel::iov::{IovIterDest, IovIterSource};
use kernel::prelude::*;
use kernel::seq_file::SeqFile;
use kernel::seq_print;
use kernel::sync::Arc;

/// All queues with a name: the minor number is the index. And what makes those without.
pub struct Queues {
    named: KVec<Arc<Pipe>>,
    private: Arc<PrivateQueues>,
}

/// What private queues are made of.
struct PrivateQueues {
    pairs: Pairs<Pipe>,
    defaults: Defaults,
}

impl Queues {
    /// Makes `count` unused queues.
    pub fn new(module: &'static ThisModule, count: u32, defaults: Defaults) -> Result<Self> {
        let mut named = KVec::with_capacity(count as usize, GFP_KERNEL)?;
        for index in 0..count {
            let pipe = Pipe::new(index, defaults.clone());
            named.push(Arc::pin_init(pipe, GFP_KERNEL)?, GFP_KERNEL)?;
        }
        let private = PrivateQueues {
            pairs: Pairs::new(module)?,
            defaults,
        };
        Ok(Self {
            named,
            private: Arc::new(private, GFP_KERNEL)?,
        })
    }
}

impl Device for Queues {
    type File = End;

    fn open(&self, minor: u32, request: OpenRequest) -> Result<KBox<End>> {
        if minor == uapi::CLONE_MINOR {
            let pipe = self.private.queue(self.private.defaults.capacity_bytes)?;
            let source = Source {
                queues: self.private.clone(),
                mount: Mount::new()?,
            };
            return End::open(pipe, request.access, Opening::Anonymous, Some(source));
        }
        let pipe = self.named.get(minor as usize).ok_or(ENXIO)?.clone();
        End::open(pipe, request.access, Opening::Named(request.wait), None)
    }
}

impl PrivateQueues {
    fn queue(&self, capacity_bytes: usize) -> Result<Arc<Pipe>> {
        let defaults = Defaults {
            capacity_bytes,
            ..self.defaults.clone()
        };
        let pipe = Pipe::new(uapi::PRIVATE_INDEX, defaults);
        Arc::pin_init(pipe, GFP_KERNEL_ACCOUNT)
    }
}

impl Anonymous for Pipe {
    type File = End;

    fn open_end(self: Arc<Self>, request: OpenRequest) -> Result<KBox<End>> {
        End::open(self, request.access, Opening::Anonymous, None)
    }
}

/// Where an open clone node gets pairs from.
pub struct Source {
    queues: Arc<PrivateQueues>,
    mount: Mount,
}

impl Source {
    /// A new private queue with both ends open; see [`Mount::pair`]. `capacity_bytes` is a power of two,
    /// `None` asks for that of the module parameter. Returns the actual capacity as well.
    pub fn pair(
        &self,
        flags: u32,
        capacity_bytes: Option<usize>,
        is_packet_mode: bool,
    ) -> Result<(Pair, usize)> {
        let capacity_bytes = capacity_bytes.unwrap_or(self.queues.defaults.capacity_bytes);
        let pipe = self.queues.queue(capacity_bytes)?;
        pipe.set_packet_mode(is_packet_mode);
        let pair = self.mount.pair(&self.queues.pairs, pipe.clone(), flags)?;
        Ok((pair, pipe.capacity_bytes()))
    }
}

/// An open end of a queue.
pub struct End {
    pipe: Arc<Pipe>,
    access: Access,
    /// See [`Pipe::poll`].
    unseen_opens: Option<u32>,
    /// Longest sleeps in nanoseconds, 0 without a limit: see [`uapi::Timeouts`].
    read_timeout: AtomicU64,
    write_timeout: AtomicU64,
    /// Only of a clone node.
    source: Option<Source>,
}

impl End {
    fn open(
        pipe: Arc<Pipe>,
        access: Access,
        opening: Opening,
        source: Option<Source>,
    ) -> Result<KBox<Self>> {
        // The box comes first: once the end is counted, nothing may fail.
        let end = KBox::<Self>::new_uninit(GFP_KERNEL_ACCOUNT)?;
        let unseen_opens = Pipe::open(&pipe, access, opening)?;
        Ok(end.write(Self {
            pipe,
            access,
            unseen_opens,
            read_timeout: AtomicU64::new(0),
            write_timeout: AtomicU64::new(0),
            source,
        }))
    }

    /// The queue.
    pub fn pipe(&self) -> &Arc<Pipe> {
        &self.pipe
    }

    /// What a clone node makes pairs with; `None` for any other end.
    pub fn source(&self) -> Option<&Source> {
        self.source.as_ref()
    }

    /// Is this an end that only reads?
    pub fn is_read_only(&self) -> bool {
        self.access == Access::Read
    }

    /// Limits how long reads and writes of this open file description sleep.
    pub fn set_timeouts(&self, read_ns: u64, write_ns: u64) {
        self.read_timeout.store(read_ns, Relaxed);
        self.write_timeout.store(write_ns, Relaxed);
    }

    /// The limits for reads and for writes.
    pub fn timeouts(&self) -> (u64, u64) {
        (
            self.read_timeout.load(Relaxed),
            self.write_timeout.load(Relaxed),
        )
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.pipe.close(self.access);
    }
}

impl OpenFile for End {
    fn read(&self, request: Request<'_>, to: &mut IovIterDest<'_>) -> Result<usize> {
        self.pipe.read(request, self.read_timeout.load(Relaxed), to)
    }

    fn write(&self, request: Request<'_>, from: &mut IovIterSource<'_>) -> Result<usize> {
        self.pipe
            .write(request, self.write_timeout.load(Relaxed), from)
    }

    fn await_data(&self, wait: Wait) -> Result {
        self.pipe.await_data(wait, self.read_timeout.load(Relaxed))
    }

    fn await_room(&self, wait: Wait) -> Result<usize> {
        self.pipe.await_room(wait, self.write_timeout.load(Relaxed))
    }

    fn await_arrival(&self) -> Result {
        self.pipe.await_spliced(self.write_timeout.load(Relaxed))
    }

    fn poll<'open>(&'open self, table: &PollTable<'open>) -> u32 {
        self.pipe.poll(self.access, self.unseen_opens, table)
    }

    fn set_async<'open>(&'open self, request: &AsyncRequest<'open>) -> Result {
        self.pipe.set_async(self.access, request)
    }

    fn ioctl(&self, command: u32, argument: Argument) -> Result<isize> {
        ioctl::dispatch(self, command, argument)
    }

    fn show_fdinfo(&self, out: &SeqFile) {
        let info = self.pipe.info();
        if info.index == uapi::PRIVATE_INDEX {
            seq_print!(out, "kpipe-index:\tprivate\n");
        } else {
            seq_print!(out, "kpipe-index:\t{}\n", info.index);
        }
        let mode = match info.mode {
            uapi::MODE_PACKET => "packet",
            _ => "stream",
        };
        seq_print!(out, "kpipe-mode:\t{}\n", mode);
        seq_print!(out, "kpipe-capacity:\t{}\n", info.capacity_bytes);
        seq_print!(out, "kpipe-queued:\t{}\n", info.queued_bytes);
        seq_print!(out, "kpipe-readers:\t{}\n", info.readers);
        seq_print!(out, "kpipe-writers:\t{}\n", info.writers);
    }
}

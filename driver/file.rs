// SPDX-License-Identifier: GPL-2.0

//! The top half: what the system calls on `/dev/kpipeN` do.
//!
//! Each runs in the context of the calling task and may put it to sleep. [`Queues`] is the device,
//! [`End`] an open file description: one end of a queue, both, or (access mode 3) an observer.

use crate::ioctl;
use crate::model::ends::{Access, Wait};
use crate::pipe::Pipe;
use crate::sys::chardev::{Device, OpenFile};
use crate::sys::request::{OpenRequest, Request};
use crate::sys::user::Argument;
use crate::sys::wait::PollTable;
use kernel::iov::{IovIterDest, IovIterSource};
use kernel::prelude::*;
use kernel::seq_file::SeqFile;
use kernel::seq_print;
use kernel::sync::Arc;

/// All queues: the minor number is the index.
pub struct Queues(KVec<Arc<Pipe>>);

impl Queues {
    /// Makes `count` unused queues.
    pub fn new(count: u32, capacity_bytes: usize) -> Result<Self> {
        let mut queues = KVec::with_capacity(count as usize, GFP_KERNEL)?;
        for index in 0..count {
            let pipe = Arc::pin_init(Pipe::new(index, capacity_bytes), GFP_KERNEL)?;
            queues.push(pipe, GFP_KERNEL)?;
        }
        Ok(Self(queues))
    }
}

impl Device for Queues {
    type File = End;

    fn open(&self, request: OpenRequest) -> Result<KBox<End>> {
        let pipe = self.0.get(request.minor as usize).ok_or(ENODEV)?;
        End::open(pipe.clone(), request)
    }
}

/// An open end of a queue.
pub struct End {
    pipe: Arc<Pipe>,
    access: Access,
    /// See [`Pipe::poll`].
    unseen_opens: Option<u32>,
}

impl End {
    fn open(pipe: Arc<Pipe>, request: OpenRequest) -> Result<KBox<Self>> {
        // The box comes first: once the end is counted, nothing may fail.
        let end = KBox::<Self>::new_uninit(GFP_KERNEL)?;
        let unseen_opens = pipe.open(request.access, request.wait)?;
        Ok(end.write(Self {
            pipe,
            access: request.access,
            unseen_opens,
        }))
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.pipe.close(self.access);
    }
}

impl OpenFile for End {
    fn read(&self, request: Request<'_>, to: &mut IovIterDest<'_>) -> Result<usize> {
        self.pipe.read(request, to)
    }

    fn write(&self, request: Request<'_>, from: &mut IovIterSource<'_>) -> Result<usize> {
        self.pipe.write(request, from)
    }

    fn await_data(&self, wait: Wait) -> Result {
        self.pipe.await_data(wait)
    }

    fn await_room(&self, wait: Wait) -> Result<usize> {
        self.pipe.await_room(wait)
    }

    fn poll<'open>(&'open self, table: &PollTable<'open>) -> u32 {
        self.pipe.poll(self.access, self.unseen_opens, table)
    }

    fn ioctl(&self, command: u32, argument: Argument) -> Result<isize> {
        ioctl::dispatch(&self.pipe, command, argument)
    }

    fn show_fdinfo(&self, out: &SeqFile) {
        let info = self.pipe.info();
        seq_print!(out, "kpipe-index:\t{}\n", info.index);
        seq_print!(out, "kpipe-capacity:\t{}\n", info.capacity_bytes);
        seq_print!(out, "kpipe-queued:\t{}\n", info.queued_bytes);
        seq_print!(out, "kpipe-readers:\t{}\n", info.readers);
        seq_print!(out, "kpipe-writers:\t{}\n", info.writers);
    }
}

// SPDX-License-Identifier: MIT

//! io_uring(7), one request at a time.

use std::fs;
use std::os::fd::AsRawFd;

use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{opcode, squeue::Entry, IoUring};
use nix::errno::Errno;
use nix::poll::PollFlags;

use super::end::End;
use super::memory::Span;
use crate::harness::patience;

/// A ring with at most one request under way.
pub struct Ring(IoUring);

impl Ring {
    /// A new ring.
    pub fn new() -> Self {
        Self(IoUring::new(2).expect("io_uring_setup"))
    }

    /// Starts `IORING_OP_READ`.
    pub fn read(&mut self, end: &End, span: Span, flags: i32) {
        let fd = Fd(end.as_raw_fd());
        let read = opcode::Read::new(fd, span.pointer().cast(), span.len() as u32);
        self.submit(read.rw_flags(flags).build());
    }

    /// Starts `IORING_OP_WRITE`.
    pub fn write(&mut self, end: &End, span: Span, flags: i32) {
        let fd = Fd(end.as_raw_fd());
        let write = opcode::Write::new(fd, span.pointer().cast(), span.len() as u32);
        self.submit(write.rw_flags(flags).build());
    }

    /// Starts `IORING_OP_POLL_ADD`.
    pub fn poll(&mut self, end: &End, events: PollFlags) {
        let events = events.bits() as u32;
        self.submit(opcode::PollAdd::new(Fd(end.as_raw_fd()), events).build());
    }

    /// Is the request still under way?
    pub fn is_pending(&mut self) -> bool {
        self.0.completion().is_empty()
    }

    /// Waits for its result.
    #[track_caller]
    pub fn result(&mut self) -> nix::Result<i32> {
        let limit = Timespec::from(patience(std::time::Duration::from_secs(5)));
        let arguments = SubmitArgs::new().timespec(&limit);
        self.0
            .submitter()
            .submit_with_args(1, &arguments)
            .unwrap_or_else(|e| panic!("io_uring_enter while waiting for a result: {e}"));
        let result = self.0.completion().next().expect("a completion").result();
        // Unlike a system call, a completion carries the negative errno itself.
        match result {
            0.. => Ok(result),
            _ => Err(Errno::from_raw(-result)),
        }
    }

    fn submit(&mut self, entry: Entry) {
        // SAFETY: the descriptor is open now, which is when it is looked up, and buffers are
        // `Span`s, which Rust knows nothing of.
        unsafe { self.0.submission().push(&entry) }.expect("room in the ring");
        self.0.submit().expect("io_uring_enter");
    }
}

/// Has io_uring handed anything to a worker thread of this process (named `iou-wrk-PID`)?
pub fn has_workers() -> bool {
    let threads = fs::read_dir("/proc/self/task").expect("/proc");
    threads.flatten().any(|thread| {
        let name = fs::read_to_string(thread.path().join("comm")).unwrap_or_default();
        name.starts_with("iou-wrk")
    })
}

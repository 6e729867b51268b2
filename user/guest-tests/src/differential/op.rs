// SPDX-License-Identifier: MIT

//! One operation of a sequence; [`super::text`] is what it looks like in a report.
//!
//! `0:write 1 4096+10 bad 100` is: process 0 calls writev(2) on the second of its open handles with
//! two parts, of which only the first 100 bytes can be read. Handles are counted among those that
//! are open, modulo their number, so a sequence stays meaningful when a part of it is left out.

/// What one process does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op {
    /// 0, 1, 2, or [`super::state::CHILD`].
    pub process: usize,
    /// What it does.
    pub action: Action,
}

/// The verbs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// open(2)
    Open { access: Access, nonblock: bool },
    /// open(2) with O_NONBLOCK and close(2) at once: a partner that nobody sees.
    Visit { access: Access },
    /// close(2)
    Close { handle: usize },
    /// dup(2)
    Dup { handle: usize },
    /// fork(2): the child has all handles, and is process 3 until it ends.
    Fork,
    /// _exit(2) of the child.
    Exit,
    /// SIGKILL to the child, whatever it does.
    Kill,
    /// A handled signal to a process that is blocked; with `restart` the call goes on (`SA_RESTART`).
    Signal { restart: bool },
    /// read(2), or readv(2) with several parts.
    Read { handle: usize, buffer: Buffer },
    /// write(2), or writev(2) with several parts.
    Write { handle: usize, buffer: Buffer },
    /// poll(2), at once or without a time limit.
    Poll {
        handle: usize,
        events: Events,
        wait: bool,
    },
    /// epoll_ctl(2): adds the handle to the process's epoll instance.
    Watch {
        handle: usize,
        events: Events,
        edge: bool,
    },
    /// epoll_ctl(2): takes it out again.
    Unwatch { handle: usize },
    /// epoll_wait(2), at once or without a time limit.
    Await { wait: bool },
    /// ioctl(2) FIONREAD
    Queued { handle: usize },
    /// fcntl(2) F_SETFL
    Nonblock { handle: usize, on: bool },
    /// fcntl(2) F_SETOWN to the process itself, and F_SETFL with O_ASYNC or without.
    Async { handle: usize, on: bool },
    /// F_SETPIPE_SZ on the FIFO, IOC_RESIZE on the device.
    Resize { handle: usize, bytes: usize },
    /// splice(2) to a pipe of the process, which is emptied then.
    SpliceOut {
        handle: usize,
        len: usize,
        nonblock: bool,
    },
    /// splice(2) from a pipe of the process that holds `len` bytes, written in one go.
    SpliceIn {
        handle: usize,
        len: usize,
        nonblock: bool,
    },
}

/// Access mode of open(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// O_RDONLY
    Read,
    /// O_WRONLY
    Write,
    /// O_RDWR
    Both,
}

impl Access {
    /// Is it a read end?
    pub fn reads(self) -> bool {
        self != Access::Write
    }

    /// Is it a write end?
    pub fn writes(self) -> bool {
        self != Access::Read
    }
}

/// What is polled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Events {
    /// POLLIN
    In,
    /// POLLOUT
    Out,
    /// Both
    Both,
}

/// Lengths of the parts, and how many bytes of them in all are valid memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// One part, or several for readv and writev.
    pub parts: Vec<usize>,
    /// `None`: all of it.
    pub good: Option<usize>,
}

impl Buffer {
    /// Length of all parts.
    pub fn len(&self) -> usize {
        self.parts.iter().sum()
    }

    /// How many bytes are valid memory.
    pub fn good(&self) -> usize {
        self.good.unwrap_or(usize::MAX)
    }
}

impl Action {
    /// The handle that the action is about.
    pub fn handle_mut(&mut self) -> Option<&mut usize> {
        match self {
            Action::Close { handle }
            | Action::Dup { handle }
            | Action::Read { handle, .. }
            | Action::Write { handle, .. }
            | Action::Poll { handle, .. }
            | Action::Watch { handle, .. }
            | Action::Unwatch { handle }
            | Action::Queued { handle }
            | Action::Nonblock { handle, .. }
            | Action::Async { handle, .. }
            | Action::Resize { handle, .. }
            | Action::SpliceOut { handle, .. }
            | Action::SpliceIn { handle, .. } => Some(handle),
            _ => None,
        }
    }
}

// SPDX-License-Identifier: MIT

//! [`Model`]: who runs the handlers, from the simplest to the one that needs least. Each file is one answer
//! to what the one before could not do.

pub(crate) mod event;
pub(crate) mod pool;
pub(crate) mod processes;
pub(crate) mod sequential;
pub(crate) mod threads;

use crate::server::{Error, Result};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// How threads tell the server that they are done with a client. Readable when some are.
#[derive(Clone)]
pub(crate) struct Ended(Arc<EventFd>);

impl Ended {
    pub fn new() -> Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let counter = EventFd::from_flags(flags).map_err(Error::io("eventfd"))?;
        Ok(Self(Arc::new(counter)))
    }

    /// One more.
    pub fn tell(&self) {
        self.0.write(1).expect("a counter has room for all clients");
    }

    /// How many since the last call.
    pub fn take(&self) -> Result<usize> {
        Ok(self.0.read().map_err(Error::io("eventfd"))? as usize)
    }
}

impl AsFd for Ended {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Who runs the handlers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
pub enum Model {
    /// v1: one client after another
    Sequential,
    /// v2: a process for each client, and the server waits for it
    ForkWait,
    /// v3: a process for each client, collected when it has ended
    Fork,
    /// v4: a thread for each client
    Thread,
    /// v5: a few threads, which take clients from a queue of the device
    Pool,
    /// v6: one thread for all clients, with epoll(7)
    Event,
}

impl Model {
    /// All, in order.
    pub const ALL: [Self; 6] = [
        Self::Sequential,
        Self::ForkWait,
        Self::Fork,
        Self::Thread,
        Self::Pool,
        Self::Event,
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sequential => "sequential",
            Self::ForkWait => "fork-wait",
            Self::Fork => "fork",
            Self::Thread => "thread",
            Self::Pool => "pool",
            Self::Event => "event",
        }
    }
}

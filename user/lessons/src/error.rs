// SPDX-License-Identifier: MIT

//! [`Error`]: why a lesson could not go on. A call that is meant to fail is no error but a fact.

use kpipe_protocol::{Broken, FrameError};
use nix::errno::Errno;
use std::io;

/// [`std::result::Result`] with a lesson's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Why a lesson could not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The device's queues.
    #[error(transparent)]
    Queue(#[from] kpipe::Error),
    /// Channels.
    #[error(transparent)]
    Channel(#[from] kpipe::channel::Error),
    /// Frames.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A call failed that should not have; it is the last one noted.
    #[error("the last call should not have failed: {}", .0.desc())]
    Call(#[from] Errno),
    /// The same, of what std does.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Something did not happen in time.
    #[error("waited {seconds} s in vain until {what}")]
    Deadline {
        /// What was awaited.
        what: String,
        /// How long.
        seconds: u64,
    },
    /// A process of the lesson failed.
    #[error("{part}: {why}")]
    Part {
        /// Which.
        part: &'static str,
        /// In its own words.
        why: String,
    },
}

impl From<Broken> for Error {
    fn from(broken: Broken) -> Self {
        Self::Frame(broken.into())
    }
}

// SPDX-License-Identifier: MIT

//! [`Source`]: where connections come from. A side that listens takes one after the other; one that connects
//! tries again while it may.

use super::later::Later;
use super::Result;
use kpipe::channel::{self, Address, Channel, Listener, Options};
use nix::poll::PollFlags;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// Between an attempt and the next one.
const PAUSE: Duration = Duration::from_millis(200);

/// See the file's head.
#[derive(Debug)]
pub enum Source {
    /// `--listen`.
    Listening(Box<dyn Listener>),
    /// The other side listens.
    Connecting {
        /// There.
        address: Address,
        /// How.
        options: Options,
        /// Under way.
        attempt: Option<Later<channel::Result<Box<dyn Channel>>>>,
        /// Before the next attempt.
        pause: Duration,
    },
}

impl Source {
    /// Listens; nobody needs to be there.
    pub fn listen(address: &Address, options: &Options) -> Result<Self> {
        Ok(Self::Listening(address.listen(options)?))
    }

    /// Connects as soon as it is polled.
    pub fn connect(address: Address, options: Options) -> Self {
        Self::Connecting {
            address,
            options,
            attempt: None,
            pause: Duration::ZERO,
        }
    }

    /// Gets ready for another connection; the one before must have been dropped.
    pub fn prepare(&mut self) -> Result<()> {
        match self {
            Self::Listening(listener) => listener.release()?,
            Self::Connecting {
                address,
                options,
                attempt,
                pause,
            } => {
                if attempt.is_none() {
                    let (address, options, wait) = (address.clone(), options.clone(), *pause);
                    *pause = PAUSE;
                    *attempt = Some(Later::start(move || {
                        std::thread::sleep(wait);
                        address.connect(&options)
                    })?);
                }
            }
        }
        Ok(())
    }

    /// What to poll for the next connection.
    pub fn interest(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        match self {
            Self::Listening(listener) => listener.ready().map(|fd| (fd, PollFlags::POLLIN)),
            Self::Connecting { attempt, .. } => attempt
                .as_ref()
                .map(|attempt| (attempt.as_fd(), PollFlags::empty())),
        }
    }

    /// A connection, if there is one.
    ///
    /// # Errors
    /// Why an attempt failed.
    pub fn take(&mut self) -> Result<Option<Box<dyn Channel>>> {
        match self {
            Self::Listening(listener) => Ok(listener.accept()?),
            Self::Connecting { attempt, .. } => {
                let taken = match attempt {
                    Some(later) => later.take(),
                    None => Ok(None),
                };
                if !matches!(taken, Ok(None)) {
                    *attempt = None;
                }
                Ok(taken?.transpose()?)
            }
        }
    }

    /// Whether anybody may come, and not only the other side.
    pub fn is_listening(&self) -> bool {
        matches!(self, Self::Listening(_))
    }
}

// SPDX-License-Identifier: MIT

//! [`Failure`]: why a verb failed, in the user's words. `main` prints it and exits with 1.

use crate::units::plural;
use std::fmt;
use std::io;

/// [`std::result::Result`] with a [`Failure`].
pub type Result<T> = std::result::Result<T, Failure>;

/// Why a verb failed. Each names the thing it failed on.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The library's errors say it all.
    #[error(transparent)]
    Queue(#[from] kpipe::Error),
    /// No channel.
    #[error(transparent)]
    Channel(#[from] kpipe::channel::Error),
    /// A server that ended before it was told to.
    #[error(transparent)]
    Server(#[from] kpipe_server::Error),
    /// Of a relay.
    #[error(transparent)]
    Relay(#[from] crate::relay::Error),
    /// A system call on something else.
    #[error("{what}: {}", Reason(source))]
    Io {
        /// File, device or step.
        what: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// `send --nonblock` met a full queue.
    #[error("{queue}: the queue is full after {sent_bytes} bytes: nobody reads fast enough (without --nonblock, send waits)")]
    Full {
        /// The queue.
        queue: kpipe::Queue,
        /// What went in before.
        sent_bytes: u64,
    },
    /// Nothing named, and the default is not there.
    #[error("no INPUT given, and the default {0} is not here: name a file, for example `kpipe demo /bin/sh`")]
    NoInput(&'static str),
    /// The transfer keeps the file in memory twice.
    #[error("{input}: {needed_bytes} bytes of memory are needed to hold it twice, {available_bytes} are available: take a smaller file, or give the VM more memory")]
    NoMemory {
        /// The file.
        input: String,
        /// Twice its size.
        needed_bytes: u64,
        /// `MemAvailable` of proc_meminfo(5).
        available_bytes: u64,
    },
    /// The demonstration and the bench need the queue for themselves.
    #[error("{queue}: in use ({}, {}): choose another queue with {option}", plural(*readers, "reader"), plural(*writers, "writer"))]
    InUse {
        /// The queue.
        queue: kpipe::Queue,
        /// Read ends open.
        readers: u64,
        /// Write ends open.
        writers: u64,
        /// How to choose another.
        option: &'static str,
    },
    /// A process of ours failed.
    #[error("{what}: {why}")]
    Process {
        /// Its part, for example "reader".
        what: &'static str,
        /// Its own words, or how it ended.
        why: String,
    },
    /// Something did not happen in time.
    #[error("waited {seconds} s in vain until {what}")]
    Deadline {
        /// What was waited for.
        what: String,
        /// How long.
        seconds: u64,
    },
    /// The same, and during which step.
    #[error("{step}: {failure}")]
    During {
        /// The step.
        step: String,
        /// What went wrong.
        failure: Box<Failure>,
    },
    /// Something happened that should not have.
    #[error("{0}")]
    Differs(String),
}

impl Failure {
    /// For `map_err`: a failed system call on `what`.
    pub fn io<E: Into<io::Error>>(what: impl fmt::Display) -> impl FnOnce(E) -> Self {
        move |source| Self::Io {
            what: what.to_string(),
            source: source.into(),
        }
    }

    /// Adds the step in which it happened.
    pub fn during(self, step: impl fmt::Display) -> Self {
        Self::During {
            step: step.to_string(),
            failure: Box::new(self),
        }
    }
}

/// The kernel's words alone: std would add "(os error 2)", which says nothing to a person.
struct Reason<'a>(&'a io::Error);

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.raw_os_error() {
            Some(number) => f.write_str(nix::errno::Errno::from_raw(number).desc()),
            None => self.0.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_thing_and_the_reason() {
        let failure = Failure::io("/tmp/x")(io::Error::from_raw_os_error(libc::ENOENT));
        assert_eq!(failure.to_string(), "/tmp/x: No such file or directory");
    }
}

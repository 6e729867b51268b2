// SPDX-License-Identifier: MIT

//! The stage on which lessons are played: [`Notes`] of what was seen, processes as [`Part`]s, and looking
//! at where they sleep.

mod calls;
pub mod ffi;
mod look;
mod notes;
mod part;
mod server;
pub mod tcp;

pub use look::{Call, IO_READS, IO_READ_BYTES, IO_WRITES, SLEEPS, THREADS};
use notes::errno_of;
pub use notes::{Fact, Notes};
pub use part::{Fork, Part};
pub use server::Server;

use crate::{Error, Result};
use nix::errno::Errno;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// How long anything may take before it counts as not happening.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What the kernel answered, of an error of std.
pub fn errno(error: std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(0))
}

/// Looks at a queue or socket until so many bytes can be read from it: a network takes its time.
pub fn until_queued(fd: impl AsFd, bytes: u64) -> Result<()> {
    until(&format!("{bytes} bytes have arrived"), || {
        Ok(kpipe_abi::queued_bytes(&fd)? == bytes)
    })
}

/// Looks at `is_so` until it holds.
///
/// # Errors
/// [`Error::Deadline`]; `what` says what was awaited.
pub fn until(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !is_so()? {
        if Instant::now() > deadline {
            return Err(Error::Deadline {
                what: what.to_owned(),
                seconds: PATIENCE.as_secs(),
            });
        }
        // Leaves the processor to whom we wait for; nothing relies on how long this takes.
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

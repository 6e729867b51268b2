// SPDX-License-Identifier: MIT

//! fork(2), which nix marks `unsafe` because of what a caller could do with it. No other file here has any.

use nix::unistd::{fork, ForkResult};
use std::io;

/// fork(2).
///
/// # Errors
/// Those of fork(2), and an error if this process has more than one thread: the child would hold
/// the locks of threads that it does not have.
pub fn fork_single_threaded() -> io::Result<ForkResult> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other(
            "only a process with a single thread can be forked",
        ));
    }
    // SAFETY: fork() asks that the child of a process with several threads call nothing but
    // async-signal-safe functions. This process has one thread, as just seen, and no other code
    // runs that could start a second one in between.
    Ok(unsafe { fork() }?)
}

// SPDX-License-Identifier: MIT

//! The three calls that need `unsafe`: nix marks two so because of what a caller could do with them,
//! and has no third. No other file of this program has any.

use nix::sys::signal::{signal, SigHandler, Signal};
use nix::unistd::{fork, ForkResult};
use std::io;

/// Lets a broken pipe end this program as it ends other Unix tools: silently, with the status 141
/// in a shell. Rust's runtime has set `SIGPIPE` to be ignored.
pub fn restore_default_sigpipe() {
    // SAFETY: SIG_DFL is no function of ours, so there is no handler that would have to be
    // async-signal-safe; nobody reads the previous handler.
    let previous = unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) };
    previous.expect("signal(2) fails for wrong numbers only");
}

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

/// Puts this process under `SCHED_FIFO` at its lowest priority (sched(7)): it then gives up the CPU
/// only when it has to wait. Needs root (`CAP_SYS_NICE`).
pub fn run_until_blocked() -> nix::Result<()> {
    let param = libc::sched_param { sched_priority: 1 };
    // SAFETY: `param` lives across the call, which only reads it; 0 means this process.
    let answer = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &param) };
    nix::errno::Errno::result(answer).map(drop)
}

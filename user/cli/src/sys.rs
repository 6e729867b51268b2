// SPDX-License-Identifier: MIT

//! The calls that need `unsafe`: nix marks one so, used twice, because of what a caller could do
//! with it, and has not the other. No other file of this program has any.

use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::signal::{signal, SigHandler, Signal};

pub use kpipe_server::sys::fork_single_threaded;

/// Lets a broken pipe end this program as it ends other Unix tools: silently, with the status 141
/// in a shell. Rust's runtime has set `SIGPIPE` to be ignored.
pub fn restore_default_sigpipe() {
    // SAFETY: SIG_DFL is no function of ours, so there is no handler that would have to be
    // async-signal-safe; nobody reads the previous handler.
    let previous = unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) };
    previous.expect("signal(2) fails for wrong numbers only");
}

/// Lets a write into a broken pipe fail, as servers and clients need it: it is an answer about one peer.
pub fn ignore_sigpipe() {
    // SAFETY: as above; SIG_IGN is no function of ours either.
    let previous = unsafe { signal(Signal::SIGPIPE, SigHandler::SigIgn) };
    previous.expect("signal(2) fails for wrong numbers only");
}

/// Lets children be waited for: whoever started this program may ignore `SIGCHLD`, and that is inherited.
pub fn restore_default_sigchld() {
    // SAFETY: as above for SIG_DFL.
    let previous = unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) };
    previous.expect("signal(2) fails for wrong numbers only");
}

/// The program of `command` is told to end when the thread that starts it does, however that happens.
pub fn end_with_this_thread(command: &mut Command) -> &mut Command {
    let set = || Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGTERM)?);
    // SAFETY: what runs between fork and exec is one system call, prctl(2), which takes no lock and no memory.
    unsafe { command.pre_exec(set) }
}

/// Puts this process under `SCHED_FIFO` at its lowest priority (sched(7)): it then gives up the CPU
/// only when it has to wait. Needs root (`CAP_SYS_NICE`).
pub fn run_until_blocked() -> nix::Result<()> {
    let param = libc::sched_param { sched_priority: 1 };
    // SAFETY: `param` lives across the call, which only reads it; 0 means this process.
    let answer = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &param) };
    nix::errno::Errno::result(answer).map(drop)
}

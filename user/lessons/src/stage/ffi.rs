// SPDX-License-Identifier: MIT

//! The calls that need `unsafe`: nix marks them so because of what a caller could do with them, or has no
//! form that takes what a lesson wants to pass. No other file of this crate has any.

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{sigaction, SaFlags, SigAction, SigHandler, SigSet, Signal};
use nix::unistd::{fork, ForkResult};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicUsize, Ordering};

/// fork(2).
///
/// # Errors
/// Those of fork(2), and an error if this process has more than one thread: the child would hold
/// the locks of threads that it does not have.
pub(super) fn fork_single_threaded() -> io::Result<ForkResult> {
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

/// read(2) of one byte to an address, whatever is there.
///
/// # Errors
/// `EFAULT`, if nothing can be stored there.
pub fn read_to_address(fd: impl AsFd, address: usize) -> nix::Result<usize> {
    assert!(
        address == KERNEL_ADDRESS || address == EMPTY_ADDRESS,
        "an address at which nothing of ours is"
    );
    // SAFETY: the descriptor is open while it is borrowed. Nothing of this program is at either
    // address, so a byte stored there would change nothing that Rust knows of; the kernel answers EFAULT.
    let got = unsafe { libc::read(fd.as_fd().as_raw_fd(), address as *mut libc::c_void, 1) };
    Errno::result(got).map(|got| got as usize)
}

/// dup2(2) to one of the three descriptors that every program starts with.
pub fn dup2(fd: impl AsFd, standard: i32) -> nix::Result<i32> {
    assert!((0..=2).contains(&standard), "0, 1 or 2");
    // SAFETY: the descriptor is open while it is borrowed, and nobody owns 0, 1 and 2, which std
    // uses by number.
    Errno::result(unsafe { libc::dup2(fd.as_fd().as_raw_fd(), standard) })
}

/// The upper half of the addresses is the kernel's.
pub const KERNEL_ADDRESS: usize = 0xffff_8000_0000_0000;
/// The first page, which is never mapped (`/proc/sys/vm/mmap_min_addr`).
pub const EMPTY_ADDRESS: usize = 8;

/// What a process does on a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// What the kernel does for a program that says nothing. For `SIGPIPE`: end it.
    Default,
    /// Nothing.
    Ignore,
    /// Count it in a handler; the interrupted call fails with `EINTR`.
    Count,
    /// Count it in a handler; the kernel makes the interrupted call again (`SA_RESTART`).
    CountAndRestart,
}

/// sigaction(2).
pub fn on_signal(signal: Signal, on: On) -> nix::Result<()> {
    let flags = match on {
        On::CountAndRestart => SaFlags::SA_RESTART,
        _ => SaFlags::empty(),
    };
    let handler = match on {
        On::Default => SigHandler::SigDfl,
        On::Ignore => SigHandler::SigIgn,
        On::Count | On::CountAndRestart => SigHandler::Handler(count),
    };
    let action = SigAction::new(handler, flags, SigSet::empty());
    // SAFETY: the handler only adds to an atomic, which is async-signal-safe.
    unsafe { sigaction(signal, &action) }.map(drop)
}

static HANDLED: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count(_: libc::c_int) {
    HANDLED.fetch_add(1, Ordering::SeqCst);
}

/// How often the counting handler has run.
pub fn handled() -> usize {
    HANDLED.load(Ordering::SeqCst)
}

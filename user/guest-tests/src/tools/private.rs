// SPDX-License-Identifier: MIT

//! Private queues of the driver: the clone node and `IOC_PAIR`, with arguments right and wrong.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::PathBuf;

use kpipe_abi::uapi;
pub use kpipe_abi::uapi::{
    Pair, Timeouts, IOC_GET_TIMEOUTS, IOC_PAIR, IOC_SET_MODE, IOC_SET_TIMEOUTS,
};
use nix::errno::Errno;
use nix::fcntl::{open, OFlag};
use nix::libc;
use nix::sys::stat::Mode as FileMode;

use super::end::End;

/// `/dev/kpipe`, each open of which gives a private queue.
pub fn clone_node() -> PathBuf {
    PathBuf::from(format!("/dev/{}", uapi::NAME))
}

/// A handle that serves `IOC_PAIR` and is no queue.
#[track_caller]
pub fn handle() -> End {
    let flags = OFlag::O_ACCMODE | OFlag::O_CLOEXEC;
    let path = clone_node();
    let opened = open(&path, flags, FileMode::empty());
    opened.map(End::from).unwrap_or_else(|e| {
        panic!(
            "open {}: {e} (is the module loaded, and new enough?)",
            path.display()
        )
    })
}

/// What a caller fills in for these flags.
pub fn arguments(flags: OFlag) -> Pair {
    Pair {
        size: size_of::<Pair>() as u32,
        flags: flags.bits() as u32,
        ..Pair::default()
    }
}

/// `IOC_PAIR` with whatever is in the structure.
pub fn ask(fd: BorrowedFd, arguments: &mut Pair) -> nix::Result<(End, End)> {
    // SAFETY: the number says that this structure is read and written.
    let result =
        unsafe { libc::ioctl(fd.as_raw_fd(), IOC_PAIR as _, std::ptr::from_mut(arguments)) };
    Errno::result(result)?;
    // SAFETY: two new descriptors that nobody else has.
    Ok(unsafe {
        (
            OwnedFd::from_raw_fd(arguments.read_fd).into(),
            OwnedFd::from_raw_fd(arguments.write_fd).into(),
        )
    })
}

/// Both ends of a new private queue.
#[track_caller]
pub fn pair(flags: OFlag) -> (End, End) {
    use std::os::fd::AsFd;
    let ends = ask(handle().as_fd(), &mut arguments(flags));
    ends.unwrap_or_else(|e| panic!("IOC_PAIR with {flags:?}: {e}"))
}

/// `IOC_SET_TIMEOUTS` or `IOC_GET_TIMEOUTS` with whatever is in the structure.
pub fn timeouts(fd: BorrowedFd, request: u32, timeouts: &mut Timeouts) -> nix::Result<()> {
    assert!(matches!(request, IOC_SET_TIMEOUTS | IOC_GET_TIMEOUTS));
    // SAFETY: both numbers belong to this structure.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), request as _, std::ptr::from_mut(timeouts)) };
    Errno::result(result).map(drop)
}

/// The mode that [`IOC_SET_MODE`] set, as `IOC_INFO` tells it.
#[track_caller]
pub fn mode(end: &End) -> u32 {
    end.info().mode
}

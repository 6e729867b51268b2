// SPDX-License-Identifier: MIT

//! The kpipe driver's interface as user space calls it: [`uapi`] holds the numbers and structures,
//! this file the safe calls. Used by the library `kpipe` and by the tests in the VM.
//!
//! Every call takes any descriptor. One that is not a kpipe queue gives `ENOTTY`, and changes
//! nothing: no other driver answers to [`uapi::IOC_TYPE`].

#[path = "../../../driver/uapi.rs"]
pub mod uapi;

use nix::errno::Errno;
use nix::libc;
use nix::sys::ioctl::ioctl_num_type;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

// The numbers in uapi.rs against nix's encoder of ioctl(2) numbers, which follows
// include/uapi/asm-generic/ioctl.h independently of ours.
const _: () = {
    use nix::{request_code_none, request_code_readwrite, request_code_write};
    let info = request_code_readwrite!(uapi::IOC_TYPE, 1, size_of::<uapi::Info>());
    assert!(uapi::IOC_INFO as ioctl_num_type == info);
    assert!(uapi::IOC_RESIZE as ioctl_num_type == request_code_none!(uapi::IOC_TYPE, 2));
    assert!(uapi::IOC_RESET_COUNTERS as ioctl_num_type == request_code_none!(uapi::IOC_TYPE, 3));
    let pair = request_code_readwrite!(uapi::IOC_TYPE, 4, size_of::<uapi::Pair>());
    assert!(uapi::IOC_PAIR as ioctl_num_type == pair);
    assert!(uapi::IOC_SET_MODE as ioctl_num_type == request_code_none!(uapi::IOC_TYPE, 5));
    let timeouts_bytes = size_of::<uapi::Timeouts>();
    let set_timeouts = request_code_write!(uapi::IOC_TYPE, 6, timeouts_bytes);
    assert!(uapi::IOC_SET_TIMEOUTS as ioctl_num_type == set_timeouts);
    let get_timeouts = request_code_readwrite!(uapi::IOC_TYPE, 7, timeouts_bytes);
    assert!(uapi::IOC_GET_TIMEOUTS as ioctl_num_type == get_timeouts);
    let transport_bytes = size_of::<uapi::Transport>();
    let set_transport = request_code_write!(uapi::IOC_TYPE, 8, transport_bytes);
    assert!(uapi::IOC_SET_TRANSPORT as ioctl_num_type == set_transport);
    let get_transport = request_code_readwrite!(uapi::IOC_TYPE, 9, transport_bytes);
    assert!(uapi::IOC_GET_TRANSPORT as ioctl_num_type == get_transport);
    assert!(uapi::IOC_DRAIN as ioctl_num_type == request_code_none!(uapi::IOC_TYPE, 10));
    let stages = request_code_readwrite!(uapi::IOC_TYPE, 11, size_of::<uapi::Stages>());
    assert!(uapi::IOC_STAGES as ioctl_num_type == stages);
};

/// What the driver tells about the queue behind `fd` ([`uapi::IOC_INFO`]).
///
/// # Errors
/// `ENOTTY`: not a kpipe queue. `EINVAL`: the driver has another layout of [`uapi::Info`].
pub fn info(fd: impl AsFd) -> nix::Result<uapi::Info> {
    let mut info = uapi::Info {
        size: size_of::<uapi::Info>() as u32,
        ..Default::default()
    };
    // SAFETY: the descriptor is open for as long as `fd` is borrowed; `info` is exclusively ours and
    // as large as the request number says (asserted above); every bit pattern is a valid `Info`.
    unsafe { raw::info(fd.as_fd().as_raw_fd(), &mut info) }?;
    Ok(info)
}

/// Bytes that are in the queue (or pipe, or socket) behind `fd` and not yet read (`FIONREAD`).
///
/// # Errors
/// `ENOTTY`: the file knows no such call.
pub fn queued_bytes(fd: impl AsFd) -> nix::Result<u64> {
    let mut len_bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open for as long as `fd` is borrowed; FIONREAD stores one int
    // (ioctl_tty(2), pipe(7)), which is what `len_bytes` is.
    unsafe { raw::fionread(fd.as_fd().as_raw_fd(), &mut len_bytes) }?;
    u64::try_from(len_bytes).map_err(|_| Errno::EOVERFLOW)
}

/// Gives the queue behind `fd` room for `capacity_bytes` ([`uapi::IOC_RESIZE`], which lists the
/// errors) and returns the capacity that it has now: a power of two, never less.
pub fn resize(fd: impl AsFd, capacity_bytes: u64) -> nix::Result<u64> {
    // The argument is one machine word. What does not fit (32-bit programs only) is far above
    // uapi::MAX_CAPACITY_BYTES, so it gets the driver's own answer to that.
    let word = libc::c_ulong::try_from(capacity_bytes).map_err(|_| Errno::EINVAL)?;
    call_with_word(fd, uapi::IOC_RESIZE, word).map(u64::from)
}

/// Sets all counters of the queue behind `fd` to zero ([`uapi::IOC_RESET_COUNTERS`]).
///
/// # Errors
/// `ENOTTY`: not a kpipe queue.
pub fn reset_counters(fd: impl AsFd) -> nix::Result<()> {
    call_with_word(fd, uapi::IOC_RESET_COUNTERS, 0).map(drop)
}

/// Two descriptors, (read end, write end), on a new private queue ([`uapi::IOC_PAIR`], which lists the
/// errors). `clone` is a descriptor of the clone node; `wanted` says what the queue shall be, and its
/// size is filled in here. The second result has the actual capacity.
pub fn pair(clone: impl AsFd, wanted: uapi::Pair) -> nix::Result<((OwnedFd, OwnedFd), uapi::Pair)> {
    let mut pair = uapi::Pair {
        size: size_of::<uapi::Pair>() as u32,
        ..wanted
    };
    // SAFETY: the descriptor is open for as long as `clone` is borrowed; `pair` is exclusively ours and
    // as large as the request number says (asserted above); every bit pattern is a valid `Pair`.
    unsafe { raw::pair(clone.as_fd().as_raw_fd(), &mut pair) }?;
    // SAFETY: the call succeeded, so these are new descriptors that nobody else owns.
    let ends = unsafe {
        (
            OwnedFd::from_raw_fd(pair.read_fd),
            OwnedFd::from_raw_fd(pair.write_fd),
        )
    };
    Ok((ends, pair))
}

/// Sets the mode of the queue behind `fd` for later writes: [`uapi::MODE_STREAM`] or
/// [`uapi::MODE_PACKET`].
///
/// # Errors
/// `ENOTTY`: not a kpipe queue. `EINVAL`: no such mode.
pub fn set_mode(fd: impl AsFd, mode: u32) -> nix::Result<()> {
    call_with_word(fd, uapi::IOC_SET_MODE, mode.into()).map(drop)
}

/// Limits how long reads and writes of the open file description behind `fd` sleep
/// ([`uapi::IOC_SET_TIMEOUTS`]); `None` is no limit.
///
/// # Errors
/// `ENOTTY`: not a kpipe queue.
pub fn set_timeouts(
    fd: impl AsFd,
    read: Option<Duration>,
    write: Option<Duration>,
) -> nix::Result<()> {
    // 0 stands for no limit, so the shortest one is 1. 2^64 ns are 584 years.
    let ns = |limit: Option<Duration>| {
        limit.map_or(0, |limit| {
            u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX).max(1)
        })
    };
    let timeouts = uapi::Timeouts {
        size: size_of::<uapi::Timeouts>() as u32,
        reserved: 0,
        read_ns: ns(read),
        write_ns: ns(write),
    };
    // SAFETY: the descriptor is open for as long as `fd` is borrowed; `timeouts` is as large as the
    // request number says (asserted above) and only read.
    unsafe { raw::set_timeouts(fd.as_fd().as_raw_fd(), &timeouts) }.map(drop)
}

/// The limits that [`set_timeouts`] sets: for reads and for writes.
///
/// # Errors
/// `ENOTTY`: not a kpipe queue.
pub fn timeouts(fd: impl AsFd) -> nix::Result<(Option<Duration>, Option<Duration>)> {
    let mut timeouts = uapi::Timeouts {
        size: size_of::<uapi::Timeouts>() as u32,
        ..Default::default()
    };
    // SAFETY: as above; `timeouts` is exclusively ours, and every bit pattern is a valid one.
    unsafe { raw::get_timeouts(fd.as_fd().as_raw_fd(), &mut timeouts) }?;
    let limit = |ns| (ns != 0).then(|| Duration::from_nanos(ns));
    Ok((limit(timeouts.read_ns), limit(timeouts.write_ns)))
}

/// Says who carries the bytes of the queue behind `fd` ([`uapi::IOC_SET_TRANSPORT`], which lists the
/// errors). The size is filled in here.
pub fn set_transport(fd: impl AsFd, wanted: uapi::Transport) -> nix::Result<()> {
    let transport = uapi::Transport {
        size: size_of::<uapi::Transport>() as u32,
        ..wanted
    };
    // SAFETY: the descriptor is open for as long as `fd` is borrowed; `transport` is as large as the
    // request number says (asserted above) and only read.
    unsafe { raw::set_transport(fd.as_fd().as_raw_fd(), &transport) }.map(drop)
}

/// Who carries the bytes of the queue behind `fd` ([`uapi::IOC_GET_TRANSPORT`]).
///
/// # Errors
/// `ENOTTY`: not a kpipe queue.
pub fn transport(fd: impl AsFd) -> nix::Result<uapi::Transport> {
    let mut transport = uapi::Transport {
        size: size_of::<uapi::Transport>() as u32,
        ..Default::default()
    };
    // SAFETY: as above; `transport` is exclusively ours, and every bit pattern is a valid one.
    unsafe { raw::get_transport(fd.as_fd().as_raw_fd(), &mut transport) }?;
    Ok(transport)
}

/// Waits until all bytes written before have arrived ([`uapi::IOC_DRAIN`], which lists the errors).
pub fn drain(fd: impl AsFd) -> nix::Result<()> {
    call_with_word(fd, uapi::IOC_DRAIN, 0).map(drop)
}

/// How long the stages of the requests on the queue behind `fd` took ([`uapi::IOC_STAGES`]).
///
/// # Errors
/// `ENOTTY`: not a kpipe queue.
pub fn stages(fd: impl AsFd) -> nix::Result<Box<uapi::Stages>> {
    let mut stages = Box::new(uapi::Stages {
        size: size_of::<uapi::Stages>() as u32,
        ..Default::default()
    });
    // SAFETY: the descriptor is open for as long as `fd` is borrowed; `stages` is exclusively ours and
    // as large as the request number says (asserted above); every bit pattern is a valid one.
    unsafe { raw::stages(fd.as_fd().as_raw_fd(), &mut *stages) }?;
    Ok(stages)
}

/// ioctl(2) with its third argument passed by value, as a whole machine word.
///
/// nix's `ioctl_write_int_bad!` passes an `int`, which leaves the upper half of the word undefined
/// (and cannot carry 2^31 and more); its `ioctl_none!` passes nothing at all, where the driver
/// checks for 0.
fn call_with_word(fd: impl AsFd, request: u32, word: libc::c_ulong) -> nix::Result<u32> {
    // SAFETY: the descriptor is open for as long as `fd` is borrowed. The kpipe driver takes the
    // argument of these requests as a number, and no other driver knows the requests, so that
    // nobody dereferences it.
    let answer = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), request as ioctl_num_type, word) };
    Errno::result(answer).map(libc::c_int::unsigned_abs)
}

/// The calls as nix generates them.
mod raw {
    nix::ioctl_readwrite!(info, super::uapi::IOC_TYPE, 1, super::uapi::Info);
    nix::ioctl_readwrite!(pair, super::uapi::IOC_TYPE, 4, super::uapi::Pair);
    nix::ioctl_write_ptr!(
        set_timeouts,
        super::uapi::IOC_TYPE,
        6,
        super::uapi::Timeouts
    );
    nix::ioctl_readwrite!(
        get_timeouts,
        super::uapi::IOC_TYPE,
        7,
        super::uapi::Timeouts
    );
    nix::ioctl_write_ptr!(
        set_transport,
        super::uapi::IOC_TYPE,
        8,
        super::uapi::Transport
    );
    nix::ioctl_readwrite!(
        get_transport,
        super::uapi::IOC_TYPE,
        9,
        super::uapi::Transport
    );
    nix::ioctl_readwrite!(stages, super::uapi::IOC_TYPE, 11, super::uapi::Stages);
    nix::ioctl_read_bad!(fionread, nix::libc::FIONREAD, nix::libc::c_int);
}

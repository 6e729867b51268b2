// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The contract between the driver and user space: ioctl numbers, structures and limits.
//!
//! This one file is compiled by both sides: the module mounts it, and so does the user crate
//! `kpipe-abi`. It therefore uses nothing but `core`. The layouts are asserted below, at compile
//! time, wherever the file is compiled. C programs include `user/include/kpipe.h`, which a test
//! compares with this file.
//!
//! Every structure has a fixed layout without padding, the same for 32-bit and 64-bit programs, so
//! one handler serves `unlocked_ioctl` and `compat_ioctl`.

use core::mem::{offset_of, size_of};

/// The version of this interface, reported in [`Info::version`]. It grows with every addition;
/// existing numbers and layouts never change.
pub const VERSION: u32 = 1;

/// The type byte of all ioctl numbers. It is free in `Documentation/userspace-api/ioctl/ioctl-number.rst`.
pub const IOC_TYPE: u8 = 0xBE;

/// Name of the device class, and the prefix of the node names: `/dev/kpipe0`, `/dev/kpipe1`, ...
pub const NAME: &str = "kpipe";

/// A write of at most this many bytes is atomic (`PIPE_BUF`, see pipe(7)).
pub const PIPE_BUF_BYTES: usize = 4096;

/// Smallest capacity of a queue, in bytes: one page, as for `F_SETPIPE_SZ`.
pub const MIN_CAPACITY_BYTES: u64 = 4096;

/// Capacity of a queue that nobody resized, in bytes: what pipe(7) gives.
pub const DEFAULT_CAPACITY_BYTES: u64 = 65536;

/// Largest capacity that a caller without `CAP_SYS_RESOURCE` may ask for, in bytes: the default of
/// `/proc/sys/fs/pipe-max-size`.
pub const UNPRIVILEGED_CAPACITY_BYTES: u64 = 1 << 20;

/// Largest capacity of all, in bytes. Beyond it every caller gets `EINVAL`.
pub const MAX_CAPACITY_BYTES: u64 = 1 << 30;

/// What [`IOC_INFO`] tells about one queue.
///
/// The caller sets [`size`](Self::size) to the size of this structure and everything else to zero;
/// another size or a non-zero [`reserved`](Self::reserved) is `EINVAL`. The counters start at zero
/// when the module is loaded and after [`IOC_RESET_COUNTERS`], and they survive the last close.
/// Each is exact; together they are not one snapshot while the queue is in use.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// Size of this structure in bytes, set by the caller.
    pub size: u32,
    /// [`VERSION`] of the driver.
    pub version: u32,
    /// Which queue this is: the N of `/dev/kpipeN`.
    pub index: u32,
    /// Descriptions open for reading now (those open for both count here too).
    pub readers: u32,
    /// Descriptions open for writing now (those open for both count here too).
    pub writers: u32,
    /// Zero, in both directions.
    pub reserved: u32,
    /// Bytes that fit into the queue.
    pub capacity_bytes: u64,
    /// Bytes in the queue now: what `FIONREAD` gives.
    pub queued_bytes: u64,
    /// The work of the read end.
    pub read: Counters,
    /// The work of the write end.
    pub write: Counters,
}

/// What one side of a queue has done since the counters were last zero.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Bytes moved.
    pub bytes: u64,
    /// Operations (`read`, `readv`, splice, ...) that moved at least one byte.
    pub operations: u64,
    /// Times a task of this side went to sleep in an operation because the queue was empty (read)
    /// or full (write). Sleeping in open is not counted.
    pub sleeps: u64,
    /// Times such a sleeper was woken by the queue. A sleep that a signal ended is not counted.
    pub wakeups: u64,
}

// The C compilers of both widths lay the structures out like this; see user/include/kpipe.h.
const _: () = {
    assert!(size_of::<Counters>() == 32);
    assert!(size_of::<Info>() == 104);
    assert!(offset_of!(Info, size) == 0);
    assert!(offset_of!(Info, version) == 4);
    assert!(offset_of!(Info, index) == 8);
    assert!(offset_of!(Info, readers) == 12);
    assert!(offset_of!(Info, writers) == 16);
    assert!(offset_of!(Info, reserved) == 20);
    assert!(offset_of!(Info, capacity_bytes) == 24);
    assert!(offset_of!(Info, queued_bytes) == 32);
    assert!(offset_of!(Info, read) == 40);
    assert!(offset_of!(Info, write) == 72);
    assert!(offset_of!(Counters, bytes) == 0);
    assert!(offset_of!(Counters, operations) == 8);
    assert!(offset_of!(Counters, sleeps) == 16);
    assert!(offset_of!(Counters, wakeups) == 24);
};

/// `_IOWR(IOC_TYPE, 1, struct kpipe_info)`: fills in an [`Info`]. Any open end may ask.
pub const IOC_INFO: u32 = ioc(IOC_READ | IOC_WRITE, 1, size_of::<Info>());

/// `_IO(IOC_TYPE, 2)`, the argument is the wanted capacity in bytes, by value: what `F_SETPIPE_SZ`
/// does to a pipe. The capacity becomes at least [`MIN_CAPACITY_BYTES`] and is rounded up to a
/// power of two; queued bytes and their order survive. Returns the actual capacity.
///
/// `EBUSY`: more bytes are queued than would fit. `EPERM`: above [`UNPRIVILEGED_CAPACITY_BYTES`]
/// without `CAP_SYS_RESOURCE`. `EINVAL`: above [`MAX_CAPACITY_BYTES`]. `ENOMEM`: no memory; the
/// queue is as it was.
pub const IOC_RESIZE: u32 = ioc(IOC_NONE, 2, 0);

/// `_IO(IOC_TYPE, 3)`, the argument must be 0 (else `EINVAL`): sets all [`Counters`] of the queue to
/// zero.
pub const IOC_RESET_COUNTERS: u32 = ioc(IOC_NONE, 3, 0);

const IOC_NONE: u32 = 0;
const IOC_WRITE: u32 = 1;
const IOC_READ: u32 = 2;

/// The ioctl number as `include/uapi/asm-generic/ioctl.h` puts it together: direction in the top
/// two bits, then 14 bits of size, the type and the number. Both sides assert that their own
/// encoder agrees.
const fn ioc(direction: u32, number: u32, size_bytes: usize) -> u32 {
    assert!(size_bytes < 1 << 14);
    (direction << 30) | ((size_bytes as u32) << 16) | ((IOC_TYPE as u32) << 8) | number
}

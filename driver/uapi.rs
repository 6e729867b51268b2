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
pub const VERSION: u32 = 3;

/// The type byte of all ioctl numbers. It is free in `Documentation/userspace-api/ioctl/ioctl-number.rst`.
pub const IOC_TYPE: u8 = 0xBE;

/// Name of the device class, of the clone node (`/dev/kpipe`), and the prefix of the other nodes:
/// `/dev/kpipe0`, `/dev/kpipe1`, ...
pub const NAME: &str = "kpipe";

/// Most queues with a name. They have the minor numbers from 0 on.
pub const MAX_QUEUES: u32 = 1024;

/// Minor number of the clone node. Each open of it gives a private queue, and [`IOC_PAIR`].
pub const CLONE_MINOR: u32 = MAX_QUEUES;

/// [`Info::index`] of a private queue.
pub const PRIVATE_INDEX: u32 = u32::MAX;

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

/// Capacity of a new queue, in bytes, whose opener is above the soft limit on the queue memory of a
/// user (module parameter `user_soft_limit`) without `CAP_SYS_RESOURCE` and `CAP_SYS_ADMIN`: what a
/// pipe gets then. Also the smallest of a queue that packets were written to.
pub const SMALL_CAPACITY_BYTES: u64 = 8192;

/// Soft limit on the queue memory of a user, in bytes, that nobody changed: the default of
/// `/proc/sys/fs/pipe-user-pages-soft`. Pipes of the same user count too.
pub const DEFAULT_USER_SOFT_LIMIT_BYTES: u64 = 64 << 20;

/// A mode ([`IOC_SET_MODE`]): bytes without boundaries, except those written with `O_DIRECT`.
pub const MODE_STREAM: u32 = 0;

/// A mode ([`IOC_SET_MODE`]): every write is a packet, as on a pipe with `O_DIRECT` (pipe(2)). A
/// longer write is split after each [`PIPE_BUF_BYTES`]; a short read discards the rest of its packet.
/// Each packet takes 4 bytes of the capacity in addition.
pub const MODE_PACKET: u32 = 1;

/// A transport ([`Transport::transport`]): nobody carries the bytes, a reader finds what was written at
/// once. There is no interrupt and no bottom half.
pub const TRANSPORT_DIRECT: u32 = 0;

/// A transport: a soft line. A high-resolution timer is its interrupt, and each expiry carries at most
/// [`Transport::bytes_per_tick`] bytes.
pub const TRANSPORT_TIMER: u32 = 1;

/// A transport: the bytes wait in memory, and the raise register of a PCI device (QEMU's edu) gives
/// the interrupt that says they are there.
pub const TRANSPORT_DOORBELL: u32 = 2;

/// A transport: the bytes travel to the buffer of the PCI device by DMA and back, with an interrupt for
/// each way. QEMU's edu takes 100 ms for each.
pub const TRANSPORT_DMA: u32 = 3;

/// A bottom half ([`Transport::bottom_half`]): none, all is done in the hard interrupt handler.
pub const BOTTOM_HALF_HARD: u32 = 0;

/// A bottom half: a workqueue that runs in the soft interrupt. What a queue has that nobody changed.
pub const BOTTOM_HALF_BH: u32 = 1;

/// A bottom half: a workqueue of threads.
pub const BOTTOM_HALF_WORK: u32 = 2;

/// A bottom half: the interrupt's own thread. A timer has none.
pub const BOTTOM_HALF_THREAD: u32 = 3;

/// A flag ([`Transport::flags`]): a write returns when its bytes are on their way. Without it, a write
/// returns when they have arrived, unless io_uring(7) submits it, which must not sleep. [`IOC_DRAIN`] waits
/// for them.
pub const TRANSPORT_POSTED: u32 = 1;

/// A flag ([`Transport::flags`]): an interrupt of the doorbell carries at most
/// [`Transport::bytes_per_tick`] bytes, as one of the timer does. Without it, it carries all that was
/// written before it.
pub const TRANSPORT_LIMITED: u32 = 2;

/// [`Transport::tick_ns`] that nobody changed: 1 ms.
pub const DEFAULT_TICK_NS: u64 = 1_000_000;

/// Longest [`Transport::tick_ns`]: a minute.
pub const MAX_TICK_NS: u64 = 60_000_000_000;

/// Shortest [`Transport::tick_ns`] of a timer that a caller without `CAP_SYS_RESOURCE` may ask for: 50 us.
pub const UNPRIVILEGED_TICK_NS: u64 = 50_000;

/// Least [`Transport::bytes_per_tick`] that such a caller may ask for, where it has a meaning.
pub const UNPRIVILEGED_BYTES_PER_TICK: u32 = 64;

/// [`Transport::bytes_per_tick`] that nobody changed.
pub const DEFAULT_BYTES_PER_TICK: u32 = 4096;

/// The stages of a request, in the order of [`Stages::stages`].
pub const STAGES: usize = 6;

/// Buckets of a [`Histogram`].
pub const HISTOGRAM_BUCKETS: usize = 256;

/// What [`IOC_INFO`] tells about one queue.
///
/// The caller sets [`size`](Self::size) to the size of this structure and everything else to zero;
/// another size or a non-zero [`mode`](Self::mode) is `EINVAL`. The counters start at zero
/// when the module is loaded and after [`IOC_RESET_COUNTERS`], and they survive the last close.
/// Each is exact; together they are not one snapshot while the queue is in use.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// Size of this structure in bytes, set by the caller.
    pub size: u32,
    /// [`VERSION`] of the driver.
    pub version: u32,
    /// Which queue this is: the N of `/dev/kpipeN`, or [`PRIVATE_INDEX`].
    pub index: u32,
    /// Descriptions open for reading now (those open for both count here too).
    pub readers: u32,
    /// Descriptions open for writing now (those open for both count here too).
    pub writers: u32,
    /// [`MODE_STREAM`] or [`MODE_PACKET`]. (Zero in version 1.)
    pub mode: u32,
    /// Bytes that fit into the queue.
    pub capacity_bytes: u64,
    /// Bytes in the queue now: what `FIONREAD` gives. In a queue of packets with their headers while somebody copies:
    /// who asks does not wait for that.
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

/// What [`IOC_PAIR`] takes and gives.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pair {
    /// Size of this structure in bytes, set by the caller.
    pub size: u32,
    /// `O_CLOEXEC`, `O_NONBLOCK` (both for both ends) and `O_DIRECT` (the write end), as for pipe2(2).
    pub flags: u32,
    /// The wanted capacity in bytes, as for [`IOC_RESIZE`], or 0 for that of the module parameter; on
    /// return the actual one.
    pub capacity_bytes: u64,
    /// [`MODE_STREAM`] or [`MODE_PACKET`].
    pub mode: u32,
    /// Zero.
    pub reserved: u32,
    /// On return the descriptor of the read end.
    pub read_fd: i32,
    /// On return the descriptor of the write end.
    pub write_fd: i32,
}

/// What [`IOC_SET_TIMEOUTS`] and [`IOC_GET_TIMEOUTS`] carry.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// Size of this structure in bytes, set by the caller.
    pub size: u32,
    /// Zero, in both directions.
    pub reserved: u32,
    /// Longest time in nanoseconds that a read sleeps; 0: without a limit.
    pub read_ns: u64,
    /// Longest time in nanoseconds that a write sleeps, all its sleeps together; 0: without a limit.
    pub write_ns: u64,
}

/// What [`IOC_SET_TRANSPORT`] and [`IOC_GET_TRANSPORT`] carry: who brings written bytes to the reader.
///
/// Each field has to be valid for itself; what the transport has no use for (a tick without a timer) is
/// kept and does nothing, so that what was got can always be set.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transport {
    /// Size of this structure in bytes, set by the caller.
    pub size: u32,
    /// `TRANSPORT_...`
    pub transport: u32,
    /// `BOTTOM_HALF_...`
    pub bottom_half: u32,
    /// [`TRANSPORT_POSTED`] and [`TRANSPORT_LIMITED`], or 0.
    pub flags: u32,
    /// For [`TRANSPORT_TIMER`]: time from one interrupt to the next in nanoseconds, up to
    /// [`MAX_TICK_NS`]; 0: that of the module parameter.
    pub tick_ns: u64,
    /// For [`TRANSPORT_TIMER`], and with [`TRANSPORT_LIMITED`]: most bytes that one interrupt carries; 0: that
    /// of the module parameter.
    pub bytes_per_tick: u32,
    /// Zero.
    pub reserved: u32,
}

/// How long one stage of the requests took, since the counters of the queue were last zero.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Histogram {
    /// Times measured.
    pub count: u64,
    /// Their sum in nanoseconds.
    pub sum_ns: u64,
    /// The longest one in nanoseconds.
    pub max_ns: u64,
    /// How many times fell into each bucket: eight for each power of two, see
    /// `driver/model/histogram.rs`.
    pub buckets: [u32; HISTOGRAM_BUCKETS],
}

// Derived only for arrays of up to 32 elements.
impl Default for Histogram {
    fn default() -> Self {
        Self {
            count: 0,
            sum_ns: 0,
            max_ns: 0,
            buckets: [0; HISTOGRAM_BUCKETS],
        }
    }
}

/// What [`IOC_STAGES`] gives.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stages {
    /// Size of this structure in bytes, set by the caller.
    pub size: u32,
    /// Zero, in both directions.
    pub reserved: u32,
    /// Interrupts that the queue had.
    pub interrupts: u64,
    /// Transfers that were started. Several writes may go with one.
    pub transfers: u64,
    /// One for each stage of a request:
    /// 0 queued: from the write to the start of its transfer;
    /// 1 device: from there to the hard interrupt;
    /// 2 deferred: from there to the begin of the bottom half;
    /// 3 bottom half: from there to its end;
    /// 4 wakeup: from the wake of a reader until it runs;
    /// 5 awake: from the hard interrupt until the reader runs.
    pub stages: [Histogram; STAGES],
}

// The C compilers of both widths lay the structures out like this; see user/include/kpipe.h.
const _: () = {
    assert!(size_of::<Pair>() == 32);
    assert!(offset_of!(Pair, size) == 0);
    assert!(offset_of!(Pair, flags) == 4);
    assert!(offset_of!(Pair, capacity_bytes) == 8);
    assert!(offset_of!(Pair, mode) == 16);
    assert!(offset_of!(Pair, reserved) == 20);
    assert!(offset_of!(Pair, read_fd) == 24);
    assert!(offset_of!(Pair, write_fd) == 28);
    assert!(size_of::<Timeouts>() == 24);
    assert!(offset_of!(Timeouts, size) == 0);
    assert!(offset_of!(Timeouts, reserved) == 4);
    assert!(offset_of!(Timeouts, read_ns) == 8);
    assert!(offset_of!(Timeouts, write_ns) == 16);
    assert!(size_of::<Transport>() == 32);
    assert!(offset_of!(Transport, size) == 0);
    assert!(offset_of!(Transport, transport) == 4);
    assert!(offset_of!(Transport, bottom_half) == 8);
    assert!(offset_of!(Transport, flags) == 12);
    assert!(offset_of!(Transport, tick_ns) == 16);
    assert!(offset_of!(Transport, bytes_per_tick) == 24);
    assert!(offset_of!(Transport, reserved) == 28);
    assert!(size_of::<Histogram>() == 1048);
    assert!(offset_of!(Histogram, count) == 0);
    assert!(offset_of!(Histogram, sum_ns) == 8);
    assert!(offset_of!(Histogram, max_ns) == 16);
    assert!(offset_of!(Histogram, buckets) == 24);
    assert!(size_of::<Stages>() == 6312);
    assert!(offset_of!(Stages, size) == 0);
    assert!(offset_of!(Stages, reserved) == 4);
    assert!(offset_of!(Stages, interrupts) == 8);
    assert!(offset_of!(Stages, transfers) == 16);
    assert!(offset_of!(Stages, stages) == 24);
    assert!(size_of::<Counters>() == 32);
    assert!(size_of::<Info>() == 104);
    assert!(offset_of!(Info, size) == 0);
    assert!(offset_of!(Info, version) == 4);
    assert!(offset_of!(Info, index) == 8);
    assert!(offset_of!(Info, readers) == 12);
    assert!(offset_of!(Info, writers) == 16);
    assert!(offset_of!(Info, mode) == 20);
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
/// `EBUSY`: more bytes are queued than would fit, or more than 1 MiB are in flight. `EPERM`: above
/// [`UNPRIVILEGED_CAPACITY_BYTES`] without `CAP_SYS_RESOURCE`. `EINVAL`: above [`MAX_CAPACITY_BYTES`]. `ENOMEM`: no memory; the
/// queue is as it was.
pub const IOC_RESIZE: u32 = ioc(IOC_NONE, 2, 0);

/// `_IO(IOC_TYPE, 3)`, the argument must be 0 (else `EINVAL`): sets all [`Counters`] of the queue to
/// zero.
pub const IOC_RESET_COUNTERS: u32 = ioc(IOC_NONE, 3, 0);

/// `_IOWR(IOC_TYPE, 4, struct kpipe_pair)`, on the clone node only: two descriptors on a new private
/// queue, as pipe2(2) gives them. They are of type FIFO for fstat(2), and opening
/// `/proc/self/fd/N` gives the same queue and never waits.
///
/// `ENOTTY`: not the clone node. `EINVAL`: size, flags, mode, a non-zero reserved field, or a capacity
/// above [`MAX_CAPACITY_BYTES`]. `EPERM`: a capacity above [`UNPRIVILEGED_CAPACITY_BYTES`] without
/// `CAP_SYS_RESOURCE`. `EMFILE`, `ENFILE`: no free descriptor or file. `ENOMEM`. `EFAULT`: the
/// structure is not writable. After an error nothing is left.
pub const IOC_PAIR: u32 = ioc(IOC_READ | IOC_WRITE, 4, size_of::<Pair>());

/// `_IO(IOC_TYPE, 5)`, the argument is [`MODE_STREAM`] or [`MODE_PACKET`] by value, else `EINVAL`: the
/// mode of the queue for later writes, until the module is unloaded. What is queued stays as it is.
/// `EBADF`: the descriptor is open for reading only.
pub const IOC_SET_MODE: u32 = ioc(IOC_NONE, 5, 0);

/// `_IOW(IOC_TYPE, 6, struct kpipe_timeouts)`: how long calls on this open file description sleep, as
/// `SO_RCVTIMEO` and `SO_SNDTIMEO` do (socket(7)). A read whose time is over is `EAGAIN`; a write
/// returns what it wrote so far, or `EAGAIN`. A call with a limit that a signal interrupts is not
/// restarted (signal(7)). `EINVAL`: size, or a non-zero reserved field.
pub const IOC_SET_TIMEOUTS: u32 = ioc(IOC_WRITE, 6, size_of::<Timeouts>());

/// `_IOWR(IOC_TYPE, 7, struct kpipe_timeouts)`: the limits of this open file description. The caller
/// sets the size. `EINVAL` as above.
pub const IOC_GET_TIMEOUTS: u32 = ioc(IOC_READ | IOC_WRITE, 7, size_of::<Timeouts>());

/// `_IOW(IOC_TYPE, 8, struct kpipe_transport)`: who carries the bytes of this queue from now on, until
/// its next change or the end of the module. A write that waits for its bytes to arrive is in no
/// counter of sleeps.
///
/// `EBUSY`: the queue is not empty. `EBADF`: the descriptor is open for reading only. `EINVAL`: size, no
/// such transport, bottom half or flag, a tick above [`MAX_TICK_NS`], or a non-zero reserved field.
/// `EOPNOTSUPP`: [`TRANSPORT_TIMER`] with [`BOTTOM_HALF_THREAD`]. `EPERM`: without `CAP_SYS_RESOURCE`, because it
/// could take a processor from everybody else: [`BOTTOM_HALF_HARD`] or [`BOTTOM_HALF_THREAD`], a timer's
/// tick below [`UNPRIVILEGED_TICK_NS`], or a timer's or [`TRANSPORT_LIMITED`] doorbell's piece below
/// [`UNPRIVILEGED_BYTES_PER_TICK`]; not what the queue has already. `ENODEV`: there is no device for
/// [`TRANSPORT_DOORBELL`] or [`TRANSPORT_DMA`]. After an error the queue is as it was.
pub const IOC_SET_TRANSPORT: u32 = ioc(IOC_WRITE, 8, size_of::<Transport>());

/// `_IOWR(IOC_TYPE, 9, struct kpipe_transport)`: what [`IOC_SET_TRANSPORT`] sets, with the actual values
/// where 0 was given. The caller sets the size. `EINVAL`: size, or a non-zero reserved field.
pub const IOC_GET_TRANSPORT: u32 = ioc(IOC_READ | IOC_WRITE, 9, size_of::<Transport>());

/// `_IO(IOC_TYPE, 10)`, the argument must be 0 (else `EINVAL`): waits until all bytes written before have
/// arrived, as tcdrain(3) does for a terminal. Whether somebody reads them does not matter, nor does
/// `O_NONBLOCK`. Bytes that were written after it began may be waited for too.
///
/// `EINTR`: a signal; with `SA_RESTART` it goes on. `ENODEV`: the device is gone.
pub const IOC_DRAIN: u32 = ioc(IOC_NONE, 10, 0);

/// `_IOWR(IOC_TYPE, 11, struct kpipe_stages)`: fills in a [`Stages`]. The caller sets the size. `EINVAL`:
/// size, or a non-zero reserved field. [`IOC_RESET_COUNTERS`] sets these to zero too.
pub const IOC_STAGES: u32 = ioc(IOC_READ | IOC_WRITE, 11, size_of::<Stages>());

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

// SPDX-License-Identifier: MIT

//! The bare system calls, for arguments that no library would pass on.
//!
//! Addresses are always [`Span`]s: memory that Rust knows nothing of, or none at all. So the
//! functions here are safe whatever the kernel does with its argument.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use kpipe_abi::uapi::{self, Info, Transport};
use nix::errno::Errno;
use nix::libc;

use super::memory::Span;

/// Flags of preadv2(2) and pwritev2(2).
pub use nix::libc::RWF_NOWAIT;

/// `RWF_NOSIGNAL`: no SIGPIPE for this write (include/uapi/linux/fs.h, since 6.18).
pub const RWF_NOSIGNAL: i32 = 0x100;

/// Offset that stands for the current position in preadv2(2) and pwritev2(2).
const CURRENT_POSITION: i64 = -1;

/// fcntl(2) F_SETOWN: signals of the descriptor go to this process.
pub fn own(fd: BorrowedFd) -> nix::Result<()> {
    // SAFETY: only numbers are passed.
    let result = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETOWN, libc::getpid()) };
    Errno::result(result).map(drop)
}

/// read(2)
pub fn read(fd: BorrowedFd, span: Span) -> nix::Result<usize> {
    // SAFETY: a `Span` may be written to, and the kernel checks what it is.
    let result = unsafe { libc::read(fd.as_raw_fd(), span.pointer(), span.len()) };
    Errno::result(result).map(|len| len as usize)
}

/// write(2)
pub fn write(fd: BorrowedFd, span: Span) -> nix::Result<usize> {
    // SAFETY: the kernel reads from a `Span`, and checks what it is.
    let result = unsafe { libc::write(fd.as_raw_fd(), span.pointer(), span.len()) };
    Errno::result(result).map(|len| len as usize)
}

/// readv(2)
pub fn readv(fd: BorrowedFd, spans: &[Span]) -> nix::Result<usize> {
    let vector = iovec(spans);
    // SAFETY: as in `read`, for each; the vector has as many entries as it says.
    let result = unsafe { libc::readv(fd.as_raw_fd(), vector.as_ptr(), vector.len() as i32) };
    Errno::result(result).map(|len| len as usize)
}

/// writev(2)
pub fn writev(fd: BorrowedFd, spans: &[Span]) -> nix::Result<usize> {
    let vector = iovec(spans);
    // SAFETY: as in `write`, for each; the vector has as many entries as it says.
    let result = unsafe { libc::writev(fd.as_raw_fd(), vector.as_ptr(), vector.len() as i32) };
    Errno::result(result).map(|len| len as usize)
}

/// readv(2) with the vector itself somewhere else, and any number of entries.
pub fn readv_at(fd: BorrowedFd, vector: Span, entries: i32) -> nix::Result<usize> {
    // SAFETY: the kernel reads the vector from a `Span`. The tests only pass spans that hold none,
    // so there is no entry to follow.
    let result = unsafe { libc::readv(fd.as_raw_fd(), vector.pointer().cast(), entries) };
    Errno::result(result).map(|len| len as usize)
}

/// writev(2) with the vector itself somewhere else, and any number of entries.
pub fn writev_at(fd: BorrowedFd, vector: Span, entries: i32) -> nix::Result<usize> {
    // SAFETY: as in `readv_at`; and the kernel only reads.
    let result = unsafe { libc::writev(fd.as_raw_fd(), vector.pointer().cast(), entries) };
    Errno::result(result).map(|len| len as usize)
}

/// preadv2(2) at the current position.
pub fn read_with(fd: BorrowedFd, buffer: &mut [u8], flags: i32) -> nix::Result<usize> {
    let vector = [IoSliceMut::new(buffer)];
    // SAFETY: an `IoSliceMut` is laid out as an iovec, and there is one.
    let result = unsafe {
        libc::preadv2(
            fd.as_raw_fd(),
            vector.as_ptr().cast(),
            1,
            CURRENT_POSITION,
            flags,
        )
    };
    Errno::result(result).map(|len| len as usize)
}

/// pwritev2(2) at the current position.
pub fn write_with(fd: BorrowedFd, bytes: &[u8], flags: i32) -> nix::Result<usize> {
    let vector = [IoSlice::new(bytes)];
    // SAFETY: an `IoSlice` is laid out as an iovec, and there is one.
    let result = unsafe {
        libc::pwritev2(
            fd.as_raw_fd(),
            vector.as_ptr().cast(),
            1,
            CURRENT_POSITION,
            flags,
        )
    };
    Errno::result(result).map(|len| len as usize)
}

/// openat(2) with the path somewhere else.
pub fn open_at(path: Span) -> nix::Result<OwnedFd> {
    // SAFETY: the kernel reads a `Span`, and checks what it is.
    let fd = Errno::result(unsafe { libc::open(path.pointer().cast(), libc::O_RDONLY) })?;
    // SAFETY: a new descriptor that nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// splice(2) with both offsets at addresses of one's own; `Span::NULL` means none.
pub fn splice_at(
    (from, from_offset): (BorrowedFd, Span),
    (to, to_offset): (BorrowedFd, Span),
    len: usize,
) -> nix::Result<usize> {
    // SAFETY: the kernel may read and write `Span`s, and checks what they are.
    let result = unsafe {
        libc::splice(
            from.as_raw_fd(),
            from_offset.pointer().cast(),
            to.as_raw_fd(),
            to_offset.pointer().cast(),
            len,
            0,
        )
    };
    Errno::result(result).map(|len| len as usize)
}

/// pipe2(2) with the array of descriptors somewhere else, where it cannot be.
pub fn pipe2_at(descriptors: Span) -> nix::Result<()> {
    // SAFETY: the kernel writes to a `Span`, and checks what it is.
    let result = unsafe { libc::pipe2(descriptors.pointer().cast(), libc::O_CLOEXEC) };
    Errno::result(result).map(drop)
}

/// ioctl(2) with an address.
pub fn ioctl_at(fd: BorrowedFd, request: u32, argument: Span) -> nix::Result<i32> {
    // SAFETY: the kernel may read and write a `Span`, and checks what it is.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), request as _, argument.pointer()) };
    Errno::result(result)
}

/// ioctl(2) with a number as its argument. No ioctl that the kernel implements for a pipe or a
/// character device takes a number below 64 KiB for an address that is mapped.
pub fn ioctl_value(fd: BorrowedFd, request: u32, argument: usize) -> nix::Result<i32> {
    assert!(
        argument < 65536 || request == uapi::IOC_RESIZE || request == uapi::IOC_RESET_COUNTERS,
        "ioctl {request:#x} could take {argument:#x} for an address"
    );
    // SAFETY: the argument is no address of anything, see above.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), request as _, argument) };
    Errno::result(result)
}

/// `KPIPE_IOC_INFO` with whatever is in the structure.
pub fn info_with(fd: BorrowedFd, info: &mut Info) -> nix::Result<i32> {
    // SAFETY: the number says that this structure is read and written.
    let result = unsafe {
        libc::ioctl(
            fd.as_raw_fd(),
            uapi::IOC_INFO as _,
            std::ptr::from_mut(info),
        )
    };
    Errno::result(result)
}

/// `KPIPE_IOC_SET_TRANSPORT` or `KPIPE_IOC_GET_TRANSPORT` with whatever is in the structure.
pub fn transport(fd: BorrowedFd, request: u32, transport: &mut Transport) -> nix::Result<()> {
    use uapi::{IOC_GET_TRANSPORT, IOC_SET_TRANSPORT};
    assert!(matches!(request, IOC_SET_TRANSPORT | IOC_GET_TRANSPORT));
    // SAFETY: both numbers belong to this structure.
    let result =
        unsafe { libc::ioctl(fd.as_raw_fd(), request as _, std::ptr::from_mut(transport)) };
    Errno::result(result).map(drop)
}

/// sync_file_range(2) over everything.
pub fn sync_file_range(fd: BorrowedFd) -> nix::Result<()> {
    // SAFETY: numbers only.
    Errno::result(unsafe { libc::sync_file_range(fd.as_raw_fd(), 0, 0, 0) }).map(drop)
}

fn iovec(spans: &[Span]) -> Vec<libc::iovec> {
    let entry = |span: &Span| libc::iovec {
        iov_base: span.pointer(),
        iov_len: span.len(),
    };
    spans.iter().map(entry).collect()
}

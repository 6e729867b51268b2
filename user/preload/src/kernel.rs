// SPDX-License-Identifier: MIT

//! The system calls that this library makes for itself. Not by libc's functions of the same names:
//! some are defined here, some are cancellation points where the program expects none.

use core::ffi::{c_int, c_long, c_ulong, CStr};
use core::mem::MaybeUninit;

/// An error number.
pub type Errno = c_int;

/// The calling thread's `errno`.
pub fn errno() -> Errno {
    // SAFETY: __errno_location() takes nothing and gives the address of a live `int` of this thread.
    unsafe { *libc::__errno_location() }
}

/// Sets it.
pub fn set_errno(errno: Errno) {
    // SAFETY: as above; nobody else refers to this thread's errno.
    unsafe { *libc::__errno_location() = errno }
}

/// pipe2(2).
pub fn pipe2(flags: c_int) -> Result<[c_int; 2], Errno> {
    let mut fds = [-1; 2];
    // SAFETY: the kernel stores two ints, for which there is room.
    let answer = unsafe { libc::syscall(libc::SYS_pipe2, fds.as_mut_ptr(), flags) };
    result(answer).map(|_| fds)
}

/// openat(2) of an absolute path.
pub fn open(path: &CStr, flags: c_int) -> Result<c_int, Errno> {
    // SAFETY: the path ends with a zero and lives across the call.
    let answer =
        unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path.as_ptr(), flags, 0) };
    result(answer).map(|fd| fd as c_int)
}

/// close(2). Its errors say nothing that could be acted upon.
pub fn close(fd: c_int) {
    // SAFETY: the call takes a number; the caller gives one that is its own.
    unsafe { libc::syscall(libc::SYS_close, fd) };
}

/// A copy of the descriptor at `lowest` or above that is closed by execve(2).
pub fn duplicate(fd: c_int, lowest: c_int) -> Result<c_int, Errno> {
    // SAFETY: F_DUPFD_CLOEXEC takes two numbers.
    let answer = unsafe { libc::syscall(libc::SYS_fcntl, fd, libc::F_DUPFD_CLOEXEC, lowest) };
    result(answer).map(|fd| fd as c_int)
}

/// fstat(2).
pub fn fstat(fd: c_int) -> Result<libc::stat, Errno> {
    let mut status = MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: the kernel fills in a `struct stat`, which is what libc's type is on x86-64.
    let answer = unsafe { libc::syscall(libc::SYS_fstat, fd, status.as_mut_ptr()) };
    // SAFETY: all fields are integers, and zero before the call.
    result(answer).map(|_| unsafe { status.assume_init() })
}

/// stat(2), relative to a folder.
pub fn stat_at(folder: c_int, path: &CStr) -> Result<libc::stat, Errno> {
    let mut status = MaybeUninit::<libc::stat>::zeroed();
    let (path, place) = (path.as_ptr(), status.as_mut_ptr());
    // SAFETY: the path ends with a zero; for the rest see fstat().
    let answer = unsafe { libc::syscall(libc::SYS_newfstatat, folder, path, place, 0) };
    // SAFETY: all fields are integers, and zero before the call.
    result(answer).map(|_| unsafe { status.assume_init() })
}

/// getcwd(2): the path without the zero at its end.
pub fn working_folder(buffer: &mut [u8]) -> Option<usize> {
    // SAFETY: the kernel writes at most so many bytes.
    let answer = unsafe { libc::syscall(libc::SYS_getcwd, buffer.as_mut_ptr(), buffer.len()) };
    result(answer)
        .ok()
        .and_then(|len| (len as usize).checked_sub(1))
}

/// ioctl(2) with a number for its argument, for the requests of kpipe that take one.
pub fn ioctl_number(fd: c_int, request: u32, argument: c_ulong) -> Result<c_long, Errno> {
    // SAFETY: the driver takes the argument as a number, and no other driver knows the request.
    result(unsafe { libc::syscall(libc::SYS_ioctl, fd, c_ulong::from(request), argument) })
}

/// ioctl(2) with a structure of kpipe, whose size the request tells.
pub fn ioctl_structure<T>(fd: c_int, request: u32, argument: &mut T) -> Result<c_long, Errno> {
    assert!((request >> 16) & 0x3fff == size_of::<T>() as u32);
    let argument: *mut T = argument;
    // SAFETY: the kernel reads and writes as many bytes as the request says, which is the size of
    // `T` as was just seen; the structures of kpipe are integers only.
    result(unsafe { libc::syscall(libc::SYS_ioctl, fd, c_ulong::from(request), argument) })
}

/// What libc's syscall() has left in errno.
fn result(answer: c_long) -> Result<c_long, Errno> {
    if answer == -1 {
        Err(errno())
    } else {
        Ok(answer)
    }
}

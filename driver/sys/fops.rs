// SPDX-License-Identifier: GPL-2.0

//! File operations from a safe trait: [`OpenFile`], and the functions that translate the calls of the
//! VFS (`Documentation/filesystems/vfs.rst`). All run in process context.

use super::fasync::AsyncRequest;
use super::request::{flags_of_file, wait_of_file, Request, FMODE_CAN_ODIRECT, FMODE_NOWAIT};
use super::splice;
use super::user::Argument;
use super::wait::PollTable;
use crate::model::ends::Wait;
use kernel::bindings;
use kernel::fs::file::flags::O_DIRECT;
use kernel::iov::{IovIterDest, IovIterSource};
use kernel::prelude::*;
use kernel::seq_file::SeqFile;

/// An open file description. Dropped at its last close (`release`).
pub trait OpenFile: Send + Sync + 'static {
    /// read(2), readv(2), splice(2) and what else ends in `read_iter`.
    fn read(&self, request: Request<'_>, to: &mut IovIterDest<'_>) -> Result<usize>;

    /// write(2), writev(2), splice(2) and what else ends in `write_iter`.
    fn write(&self, request: Request<'_>, from: &mut IovIterSource<'_>) -> Result<usize>;

    /// Waits until a read would not have to wait: there is data, or end of file. For splice(2).
    fn await_data(&self, wait: Wait) -> Result;

    /// Waits until a write would not have to wait. Returns how many bytes it may have. For splice(2).
    fn await_room(&self, wait: Wait) -> Result<usize>;

    /// What a write does behind its bytes if [`Request::awaits_arrival`]. For splice(2).
    fn await_arrival(&self) -> Result;

    /// poll(2) and its relatives: registers with the wait queues, then returns what is ready.
    fn poll<'open>(&'open self, table: &PollTable<'open>) -> u32;

    /// fcntl(2) changed `O_ASYNC`: puts the file on the lists of those who get `SIGIO`, or takes it off.
    fn set_async<'open>(&'open self, request: &AsyncRequest<'open>) -> Result;

    /// ioctl(2), from 64-bit and 32-bit programs alike.
    fn ioctl(&self, command: u32, argument: Argument) -> Result<isize>;

    /// The lines that `/proc/PID/fdinfo/FD` shows beside the general ones.
    fn show_fdinfo(&self, out: &SeqFile);
}

/// The table for files whose private data [`attach`] sets. What is left to the caller is `open`, which
/// does that.
pub(super) fn operations<F: OpenFile>(module: &'static ThisModule) -> bindings::file_operations {
    bindings::file_operations {
        owner: module.as_ptr(),
        release: Some(release::<F>),
        read_iter: Some(read_iter::<F>),
        write_iter: Some(write_iter::<F>),
        poll: Some(poll::<F>),
        unlocked_ioctl: Some(unlocked_ioctl::<F>),
        compat_ioctl: Some(compat_ioctl::<F>),
        fasync: Some(fasync::<F>),
        show_fdinfo: Some(show_fdinfo::<F>),
        splice_read: Some(splice_read::<F>),
        splice_write: Some(splice_write::<F>),
        // No llseek: `stream_open` in `attach` makes lseek, pread and pwrite fail with ESPIPE.
        ..pin_init::zeroed()
    }
}

/// Makes `private` the private data of a file in the course of being opened, and the file a stream.
///
/// # Safety
///
/// Both are valid. The file is not shared yet, has the table of [`operations::<F>`](operations), and no
/// private data.
pub(super) unsafe fn attach<F: OpenFile>(
    inode: *mut bindings::inode,
    file: *mut bindings::file,
    private: KBox<F>,
) {
    // SAFETY: Both are valid. A stream has no position: reads and writes need no lock for it, and
    // seeking fails.
    unsafe { bindings::stream_open(inode, file) };
    // `RWF_NOWAIT` is honoured by `Request::wait`. `O_DIRECT` may be set later, as on a FIFO; open(2)
    // with it fails, as on a FIFO.
    let mut mode = FMODE_NOWAIT;
    // SAFETY: The file is valid.
    if unsafe { flags_of_file(file) } & O_DIRECT == 0 {
        mode |= FMODE_CAN_ODIRECT;
    }
    // SAFETY: The file is not shared. `release` takes the box back.
    unsafe {
        (*file).f_mode |= mode;
        (*file).private_data = KBox::into_raw(private).cast();
    }
}

/// # Safety
///
/// Called by the VFS at the last close of a file that [`attach`] was called on.
unsafe extern "C" fn release<F: OpenFile>(
    _inode: *mut bindings::inode,
    file: *mut bindings::file,
) -> c_int {
    // SAFETY: The file is valid, and nobody uses it any more.
    let private = unsafe { (*file).private_data.cast::<F>() };
    // Null: a file made by hand (`pairfs.rs`) that could not be opened.
    if !private.is_null() {
        // SAFETY: The box that `attach` put there.
        drop(unsafe { KBox::from_raw(private) });
    }
    0
}

/// The private data of an open file.
///
/// # Safety
///
/// [`attach`] was called on `file` for the same `F`, and is not released during `'open`.
unsafe fn private<'open, F: OpenFile>(file: *mut bindings::file) -> &'open F {
    // SAFETY: `private_data` is the box that `attach` put there; only `release` takes it away.
    unsafe { &*(*file).private_data.cast::<F>() }
}

/// # Safety
///
/// Called by the VFS with a valid kiocb of a file that [`attach`] was called on, and an iterator to write to.
unsafe extern "C" fn read_iter<F: OpenFile>(
    kiocb: *mut bindings::kiocb,
    iter: *mut bindings::iov_iter,
) -> isize {
    // SAFETY: The kiocb holds the file open during the call.
    let file = unsafe { private::<F>((*kiocb).ki_filp) };
    // SAFETY: Valid during the call.
    let request = unsafe { Request::from_raw(kiocb) };
    // SAFETY: The VFS passes a destination, for this call alone.
    let to = unsafe { IovIterDest::from_raw(iter) };
    size_or_errno(file.read(request, to))
}

/// # Safety
///
/// Called by the VFS with a valid kiocb of a file that [`attach`] was called on, and an iterator to read from.
unsafe extern "C" fn write_iter<F: OpenFile>(
    kiocb: *mut bindings::kiocb,
    iter: *mut bindings::iov_iter,
) -> isize {
    // SAFETY: The kiocb holds the file open during the call.
    let file = unsafe { private::<F>((*kiocb).ki_filp) };
    // SAFETY: Valid during the call.
    let request = unsafe { Request::from_raw(kiocb) };
    // SAFETY: The VFS passes a source, for this call alone.
    let from = unsafe { IovIterSource::from_raw(iter) };
    size_or_errno(file.write(request, from))
}

/// # Safety
///
/// Called by `fs/splice.c` for a file that [`attach`] was called on, with a locked pipe.
unsafe extern "C" fn splice_read<F: OpenFile>(
    file: *mut bindings::file,
    position: *mut bindings::loff_t,
    pipe: *mut bindings::pipe_inode_info,
    len_bytes: usize,
    flags: c_uint,
) -> isize {
    // SAFETY: The caller holds the file open.
    let private = unsafe { private::<F>(file) };
    // SAFETY: The file is valid.
    let wait = unsafe { wait_of_file(file) };
    // SAFETY: The caller's contract.
    let result = unsafe { splice::read(private, file, position, pipe, len_bytes, flags, wait) };
    size_or_errno(result)
}

/// # Safety
///
/// Called by `fs/splice.c` for a file that [`attach`] was called on, with a pipe that is not locked.
unsafe extern "C" fn splice_write<F: OpenFile>(
    pipe: *mut bindings::pipe_inode_info,
    file: *mut bindings::file,
    position: *mut bindings::loff_t,
    len_bytes: usize,
    flags: c_uint,
) -> isize {
    // SAFETY: The caller holds the file open.
    let private = unsafe { private::<F>(file) };
    // SAFETY: The file is valid.
    let wait = unsafe { wait_of_file(file) };
    // SAFETY: The caller's contract.
    let result = unsafe { splice::write(private, pipe, file, position, len_bytes, flags, wait) };
    size_or_errno(result)
}

/// # Safety
///
/// Called by the VFS for a file that [`attach`] was called on, with a poll table or null.
unsafe extern "C" fn poll<F: OpenFile>(
    file: *mut bindings::file,
    table: *mut bindings::poll_table,
) -> bindings::__poll_t {
    // SAFETY: The caller holds the file open; `'open` ends with its release.
    let private = unsafe { private::<F>(file) };
    // SAFETY: Both are valid during the call.
    let table = unsafe { PollTable::from_raw(file, table) };
    private.poll(&table)
}

/// # Safety
///
/// Called by the VFS for a file that [`attach`] was called on.
unsafe extern "C" fn unlocked_ioctl<F: OpenFile>(
    file: *mut bindings::file,
    command: c_uint,
    argument: c_ulong,
) -> c_long {
    // SAFETY: The caller holds the file open.
    let private = unsafe { private::<F>(file) };
    size_or_errno(private.ioctl(command, Argument(argument)))
}

/// # Safety
///
/// Called by the VFS for a file that [`attach`] was called on.
unsafe extern "C" fn compat_ioctl<F: OpenFile>(
    file: *mut bindings::file,
    command: c_uint,
    argument: c_ulong,
) -> c_long {
    // The structures are the same for both widths; only the upper half of the argument means
    // nothing (`compat_ptr()`).
    let argument = argument as u32 as c_ulong;
    // SAFETY: The same contract.
    unsafe { unlocked_ioctl::<F>(file, command, argument) }
}

/// # Safety
///
/// Called by the VFS for a file that [`attach`] was called on, when `O_ASYNC` changes and before `release`.
unsafe extern "C" fn fasync<F: OpenFile>(fd: c_int, file: *mut bindings::file, on: c_int) -> c_int {
    // SAFETY: The caller holds the file open; `'open` ends with its release.
    let private = unsafe { private::<F>(file) };
    // SAFETY: The arguments are what the VFS passes.
    let request = unsafe { AsyncRequest::from_raw(fd, file, on) };
    match private.set_async(&request) {
        Ok(()) => 0,
        Err(error) => error.to_errno(),
    }
}

/// # Safety
///
/// Called by procfs with a valid `seq_file`, for a file that [`attach`] was called on.
unsafe extern "C" fn show_fdinfo<F: OpenFile>(
    out: *mut bindings::seq_file,
    file: *mut bindings::file,
) {
    // SAFETY: The caller holds the file open.
    let private = unsafe { private::<F>(file) };
    // SAFETY: Valid, and used by this call alone.
    private.show_fdinfo(unsafe { SeqFile::from_raw(out) });
}

fn size_or_errno<N: TryInto<isize>>(result: Result<N>) -> isize {
    match result {
        // No size in the kernel exceeds isize::MAX (`MAX_RW_COUNT` bounds reads and writes).
        Ok(size) => size.try_into().unwrap_or(isize::MAX),
        Err(error) => error.to_errno() as isize,
    }
}

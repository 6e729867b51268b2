// SPDX-License-Identifier: GPL-2.0

//! splice(2) and sendfile(2) between a device file and a real pipe.
//!
//! The generic functions do the copying, but they call the driver's read and write with the *pipe's*
//! mutex held. A driver that sleeps there makes every other user of that pipe hang, uninterruptibly.
//! A FIFO waits without it, and so do these: they wait first, copy when there is something to copy, and
//! wait for its arrival afterwards. The copying itself never waits for the device: the position, which a stream
//! has no use for, tells [`Request`](super::request::Request) so. If another reader or writer is quicker in
//! between, all begins anew.
//!
//! Process context; called by `fs/splice.c`.

use super::fops::OpenFile;
use super::request::{flags_of_file, UNDER_PIPE_LOCK};
use super::task;
use super::wait::{sleep_on, Deadline, Exclusive, Sleep};
use crate::model::ends::Wait;
use crate::uapi::PIPE_BUF_BYTES;
use kernel::bindings::{self, pipe_inode_info};
use kernel::fs::file::flags::O_DIRECT;
use kernel::prelude::*;

/// `SPLICE_F_NONBLOCK`, compared with the header in helpers.c.
const NONBLOCK: c_uint = 0x2;

extern "C" {
    // include/linux/pipe_fs_i.h
    fn pipe_lock(pipe: *mut pipe_inode_info);
    fn pipe_unlock(pipe: *mut pipe_inode_info);
    // helpers.c
    fn kpipe_target_is_full(pipe: *mut pipe_inode_info) -> bool;
    fn kpipe_target_is_broken(pipe: *mut pipe_inode_info) -> bool;
    fn kpipe_target_wait(pipe: *mut pipe_inode_info) -> *mut bindings::wait_queue_head;
    fn kpipe_source_is_empty(pipe: *mut pipe_inode_info) -> bool;
    fn kpipe_source_is_ended(pipe: *mut pipe_inode_info) -> bool;
    fn kpipe_source_wait(pipe: *mut pipe_inode_info) -> *mut bindings::wait_queue_head;
}

/// From the device into a pipe.
///
/// # Safety
///
/// Arguments as for `splice_read` of `struct file_operations`: all valid, `pipe` locked. `private` is
/// the private data of `file`.
pub(super) unsafe fn read<F: OpenFile>(
    private: &F,
    file: *mut bindings::file,
    position: *mut bindings::loff_t,
    pipe: *mut pipe_inode_info,
    len_bytes: usize,
    flags: c_uint,
    wait: Wait,
) -> Result<isize> {
    loop {
        // SAFETY: The caller passes a valid, locked pipe; it stays valid, because the caller's file
        // descriptor holds it.
        let is_full = unsafe { kpipe_target_is_full(pipe) };
        if !is_full && private.await_data(Wait::Never) != Err(EAGAIN) {
            let copy = || {
                // SAFETY: The caller's contract, and the pipe is locked as it was.
                unsafe { bindings::copy_splice_read(file, position, pipe, len_bytes, flags) }
            };
            // SAFETY: The position is valid, and the caller's own.
            let moved = unsafe { under_pipe_lock(position, copy) };
            if moved != EAGAIN.to_errno() as isize {
                return Ok(moved);
            }
            // Another reader was quicker.
        }
        if flags & NONBLOCK != 0 || wait == Wait::Never {
            return Err(EAGAIN);
        }
        // SAFETY: The lock is held, and is taken again before anything else is done with the pipe.
        unsafe { pipe_unlock(pipe) };
        let waited = private
            .await_data(Wait::Block)
            // SAFETY: The pipe is valid, and its lock is not held.
            .and_then(|()| unsafe { await_space(pipe) });
        // SAFETY: As above.
        unsafe { pipe_lock(pipe) };
        waited?;
        // SAFETY: The pipe is valid and locked.
        if unsafe { kpipe_target_is_broken(pipe) } {
            task::send_sigpipe();
            return Err(EPIPE);
        }
    }
}

/// Calls a function of `fs/splice.c` that calls the driver with the pipe locked, and marks those calls.
///
/// # Safety
///
/// `position` must be valid, and nobody else's until this returns: in `fs/splice.c` it is a variable of the
/// caller.
unsafe fn under_pipe_lock(position: *mut bindings::loff_t, call: impl FnOnce() -> isize) -> isize {
    // SAFETY: The caller's contract.
    let before = unsafe { position.replace(UNDER_PIPE_LOCK) };
    let result = call();
    // SAFETY: As above.
    unsafe { position.write(before) };
    result
}

/// Waits until a pipe has a free slot, or no readers.
///
/// # Safety
///
/// `pipe` must be valid and not locked by the calling task.
unsafe fn await_space(pipe: *mut pipe_inode_info) -> Result {
    // SAFETY: The caller's contract; both look at single fields.
    let is_over = || unsafe { !kpipe_target_is_full(pipe) || kpipe_target_is_broken(pipe) };
    while !is_over() {
        // SAFETY: The wait queue is part of the pipe.
        unsafe { sleep_for_pipe(kpipe_target_wait(pipe), is_over) }?;
    }
    Ok(())
}

/// From a pipe into the device. Short when the device is full, as for a FIFO.
///
/// # Safety
///
/// Arguments as for `splice_write` of `struct file_operations`: all valid, `pipe` not locked.
/// `private` is the private data of `file`.
pub(super) unsafe fn write<F: OpenFile>(
    private: &F,
    pipe: *mut pipe_inode_info,
    file: *mut bindings::file,
    position: *mut bindings::loff_t,
    len_bytes: usize,
    flags: c_uint,
    wait: Wait,
) -> Result<isize> {
    let wait = if flags & NONBLOCK != 0 {
        Wait::Never
    } else {
        wait
    };
    let mut done_bytes = 0;
    while done_bytes < len_bytes {
        // Once something has moved, nothing is waited for: the caller wants to know.
        let wait = if done_bytes > 0 { Wait::Never } else { wait };
        let room_bytes = match private.await_room(wait) {
            Ok(room_bytes) => room_bytes,
            Err(_) if done_bytes > 0 => break,
            // `EAGAIN` also when the time limit of the file is over.
            Err(error) => return Err(error),
        };
        // SAFETY: The file is valid.
        let most_bytes = if unsafe { flags_of_file(file) } & O_DIRECT != 0 {
            // One packet at a time, for which there is room.
            PIPE_BUF_BYTES
        } else {
            len_bytes
        };
        let now_bytes = room_bytes.min(len_bytes - done_bytes).min(most_bytes);
        let copy = || {
            // SAFETY: The caller's contract. It never waits for the pipe: that would be with a room that is
            // no longer what it was.
            unsafe {
                bindings::iter_file_splice_write(pipe, file, position, now_bytes, flags | NONBLOCK)
            }
        };
        // SAFETY: The position is valid, and the caller's own.
        let moved = unsafe { under_pipe_lock(position, copy) };
        match usize::try_from(moved).map_err(|_| Error::from_errno(moved as c_int)) {
            // The pipe is empty and has no writers.
            Ok(0) => break,
            Ok(moved_bytes) => done_bytes += moved_bytes,
            Err(_) if done_bytes > 0 => break,
            // The pipe is empty, or another writer to the device was quicker.
            // SAFETY: The pipe is valid, and its lock is not held.
            Err(EAGAIN) if wait == Wait::Block => unsafe { await_content(pipe) }?,
            Err(error) => return Err(error),
        }
    }
    if done_bytes > 0 {
        private.await_arrival()?;
    }
    Ok(done_bytes as isize)
}

/// Waits until a pipe has data, or no writers.
///
/// # Safety
///
/// `pipe` must be valid and not locked by the calling task.
unsafe fn await_content(pipe: *mut pipe_inode_info) -> Result {
    // SAFETY: The caller's contract; both look at single fields.
    let is_over = || unsafe { !kpipe_source_is_empty(pipe) || kpipe_source_is_ended(pipe) };
    while !is_over() {
        // SAFETY: The wait queue is part of the pipe.
        unsafe { sleep_for_pipe(kpipe_source_wait(pipe), is_over) }?;
    }
    Ok(())
}

/// Sleeps on a wait queue of a pipe. Not exclusive: this is not the reader or writer who would pass a
/// wakeup on, as `fs/pipe.c` wants it. The time limits of the device file are not for the pipe.
///
/// # Safety
///
/// `head` must be initialised and live until this returns.
unsafe fn sleep_for_pipe(
    head: *mut bindings::wait_queue_head,
    is_over: impl Fn() -> bool,
) -> Result {
    // SAFETY: The caller's contract.
    match unsafe {
        sleep_on(
            head,
            Exclusive::No,
            &mut { Deadline::NEVER },
            is_over,
            || (),
        )
    } {
        Sleep::Interrupted => Err(ERESTARTSYS),
        Sleep::Woken | Sleep::NotNeeded | Sleep::TimedOut => Ok(()),
    }
}

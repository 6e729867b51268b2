// SPDX-License-Identifier: MIT

//! Copies bytes between the ports and the command.
//!
//! The command gets pipes (or a terminal) and not the ports themselves: a port cannot be opened a
//! second time (`/dev/stdout`), gives no `SIGPIPE` and knows no end of file.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::poll::{poll, PollFd, PollFlags, PollTimeout};

/// The largest write that the port's driver takes at once (`port_fops_write`).
const CHUNK_BYTES: usize = 32 * 1024;

/// How the command learns that its input has ended.
pub enum InputEnd {
    /// The pipe is closed.
    Close,
    /// The terminal is sent the character that means end of file (`VEOF`), Ctrl-D.
    Type,
}

/// Copies the host's input to the command until it ends there, or until the command reads no more.
/// `end` delivers the number of bytes when the host knows it: eight bytes, native order.
pub fn copy_input(mut port: File, mut command: File, mut end: File, how: InputEnd) {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut copied_bytes = 0;
    let mut expected_bytes = None;
    while expected_bytes != Some(copied_bytes) {
        let [has_data, has_end] = wait_for([port.as_fd(), end.as_fd()]);
        if has_data {
            let Ok(length) = port.read(&mut chunk) else {
                return;
            };
            if command.write_all(&chunk[..length]).is_err() {
                return;
            }
            copied_bytes += length as u64;
        }
        if has_end && expected_bytes.is_none() {
            let mut bytes = [0; 8];
            if end.read_exact(&mut bytes).is_err() {
                return;
            }
            expected_bytes = Some(u64::from_ne_bytes(bytes));
        }
    }
    if let InputEnd::Type = how {
        let _ = command.write_all(&[0x04]);
    }
}

/// Copies what the command writes to the host until nobody can write any more, until `close` hangs
/// up, or until `ended` hangs up and nothing is left. Returns the number of bytes.
///
/// `ended` is there because a background process may hold the stream open for ever.
pub fn copy_output(mut command: File, mut port: File, ended: OwnedFd, close: OwnedFd) -> u64 {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut copied_bytes = 0;
    loop {
        let [has_data, has_ended, is_closed] =
            wait_for([command.as_fd(), ended.as_fd(), close.as_fd()]);
        if is_closed || (!has_data && has_ended) {
            return copied_bytes;
        }
        if !has_data {
            continue;
        }
        match command.read(&mut chunk) {
            Ok(0) => return copied_bytes,
            Ok(length) => {
                if port.write_all(&chunk[..length]).is_err() {
                    return copied_bytes;
                }
                copied_bytes += length as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // A terminal whose last user has gone gives EIO.
            Err(_) => return copied_bytes,
        }
    }
}

/// Waits until at least one of the descriptors can be read or has hung up, and says which.
fn wait_for<const N: usize>(fds: [BorrowedFd<'_>; N]) -> [bool; N] {
    let mut polled = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
    // The error is EINTR at most; then nothing is ready and the caller comes back.
    let _ = poll(&mut polled, PollTimeout::NONE);
    polled.map(|fd| fd.any().unwrap_or(false))
}

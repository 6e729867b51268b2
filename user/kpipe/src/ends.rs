// SPDX-License-Identifier: MIT

//! [`Reader`] and [`Writer`]: the ends of a queue, as std's I/O traits see them.

use crate::{Control, Queue};
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

// Both keep a `File`, because it is std's safe owner of read(2), readv(2), write(2) and writev(2)
// on any descriptor: nothing about a queue needs a call of our own here.

/// The read end of a queue. [`Read::read`] returns what is there, at least one byte; 0 is end of
/// file: the queue is empty and no writer is left (a new one revives it).
#[derive(Debug)]
pub struct Reader {
    queue: Queue,
    file: File,
}

impl Reader {
    pub(crate) fn new(queue: Queue, fd: OwnedFd) -> Self {
        Self {
            queue,
            file: fd.into(),
        }
    }
}

impl Read for Reader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.file.read(buf)
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.file.read_vectored(bufs)
    }
}

/// The write end of a queue. Up to [`crate::PIPE_BUF_BYTES`] in one [`Write::write`] arrive in one
/// piece, whatever other writers do.
///
/// Without a reader, [`io::ErrorKind::BrokenPipe`]; a program that has not kept Rust's default of
/// ignoring `SIGPIPE` is ended by that signal instead.
#[derive(Debug)]
pub struct Writer {
    queue: Queue,
    file: File,
}

impl Writer {
    pub(crate) fn new(queue: Queue, fd: OwnedFd) -> Self {
        Self {
            queue,
            file: fd.into(),
        }
    }
}

impl Write for Writer {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.file.write(buf)
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.file.write_vectored(bufs)
    }

    /// Nothing to do: what was written is in the queue.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Control for Reader {
    fn queue(&self) -> &Queue {
        &self.queue
    }
}

impl Control for Writer {
    fn queue(&self) -> &Queue {
        &self.queue
    }
}

impl AsFd for Reader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl AsFd for Writer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

// Event loops such as tokio's ask for the number.
impl AsRawFd for Reader {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

impl AsRawFd for Writer {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

impl From<Reader> for OwnedFd {
    fn from(reader: Reader) -> Self {
        reader.file.into()
    }
}

impl From<Writer> for OwnedFd {
    fn from(writer: Writer) -> Self {
        writer.file.into()
    }
}

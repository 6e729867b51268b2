// SPDX-License-Identifier: MIT

//! Row 1: read(2) and write(2) enter the kernel each time; a buffered stream (stdio in C, `BufReader`
//! and `BufWriter` here) enters it once for each buffer. The same 64 KiB, four bytes at a time, with
//! and without a buffer, and the calls that the kernel counted (proc_pid_io(5)).

use crate::stage::{errno, Fork, IO_READS, IO_WRITES};
use crate::{Notes, Over, Result};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};

/// What goes through: as much as the queue holds, so that nobody sleeps.
const BYTES: usize = 65_536;
/// What the program asks for at a time.
const PIECE_BYTES: usize = 4;
/// The size of a stream's buffer.
const BUFFER_BYTES: usize = 8_192;

pub fn play(over: Over, notes: &mut Notes) -> Result<()> {
    notes.step("read(2) and write(2) for each 4 bytes");
    transfer(over, notes, put, take)?;
    notes.step("the same program on streams with buffers of 8 KiB");
    let buffered_put = |tx| put(BufWriter::with_capacity(BUFFER_BYTES, tx));
    let buffered_take = |rx| take(BufReader::with_capacity(BUFFER_BYTES, rx));
    transfer(over, notes, buffered_put, buffered_take)
}

/// The writing program. `stream` is the descriptor itself, or a buffer in front of it.
fn put(mut stream: impl Write) -> io::Result<usize> {
    for _ in 0..BYTES / PIECE_BYTES {
        stream.write_all(&[0; PIECE_BYTES])?;
    }
    stream.flush()?;
    Ok(BYTES)
}

/// The reading program.
fn take(mut stream: impl Read) -> io::Result<usize> {
    let mut taken_bytes = 0;
    loop {
        match stream.read(&mut [0; PIECE_BYTES])? {
            0 => return Ok(taken_bytes),
            len => taken_bytes += len,
        }
    }
}

/// Each program in a process of its own, one after the other.
fn transfer(
    over: Over,
    notes: &mut Notes,
    put: impl Fn(File) -> io::Result<usize>,
    take: impl Fn(File) -> io::Result<usize>,
) -> Result<()> {
    let (rx, tx) = over.queue(notes)?;
    let (rx, tx) = (File::from(rx), File::from(tx));

    let mut writer = match notes.fork("writer")? {
        Fork::Child(me) => me.play(|me| {
            me.call_counted("bytes put", || put(tx).map_err(errno))??;
            Ok(())
        }),
        Fork::Parent(writer) => writer,
    };
    let [writes] = writer.count([IO_WRITES], notes)?;
    notes.saw_of("writer", "system calls for that", writes);
    writer.end(notes)?;
    drop(tx);

    let mut reader = match notes.fork("reader")? {
        Fork::Child(me) => me.play(|me| {
            me.call_counted("bytes taken, and the end", || take(rx).map_err(errno))??;
            Ok(())
        }),
        Fork::Parent(reader) => reader,
    };
    let [reads] = reader.count([IO_READS], notes)?;
    notes.saw_of("reader", "system calls for that", reads);
    reader.end(notes)
}

// SPDX-License-Identifier: MIT

//! Row 8: two processes can talk through a file. Then a reader that is faster sees the end of the file instead of
//! sleeping, so it must ask again and again, and be told otherwise when all is there; and what was read
//! stays and takes up memory. A queue does neither.

use crate::over::capacity_bytes;
use crate::stage::{Call, Fork, IO_READS};
use crate::{Notes, Over, Result};
use nix::fcntl::{open, OFlag};
use nix::sys::memfd::{memfd_create, MFdFlags};
use nix::sys::stat::{fstat, Mode};
use nix::unistd::{read, write};
use std::os::fd::{AsFd, AsRawFd};

/// What is sent: much more than the queue holds.
const BYTES: usize = 1 << 20;
/// By one read or write.
const BLOCK_BYTES: usize = 4_096;

pub fn play(over: Over, notes: &mut Notes) -> Result<()> {
    through_a_file(notes)?;
    through_the_queue(over, notes)
}

fn through_a_file(notes: &mut Notes) -> Result<()> {
    notes.step("1 MiB through a file in memory");
    let writing = notes.call("memfd_create(file)", || {
        memfd_create("file", MFdFlags::MFD_CLOEXEC)
    })?;
    // A description of its own, so that reading has an offset of its own.
    let path = format!("/proc/self/fd/{}", writing.as_raw_fd());
    let reading = notes.call("open(file, O_RDONLY)", || {
        open(
            path.as_str(),
            OFlag::O_RDONLY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )
    })?;
    let mut reader = match notes.fork("reader")? {
        Fork::Child(me) => me.play(|me| {
            // The reader is the faster one.
            me.read("file", &reading, BLOCK_BYTES)?;
            let mut taken = Taken::default();
            me.call("bytes taken by asking again and again", || {
                // It has to know how much will come: the file does not say.
                while taken.bytes < BYTES {
                    taken.take_from(&reading)?;
                }
                Ok(taken.bytes)
            })?;
            me.saw("reads that got nothing", taken.empty_reads);
            Ok(())
        }),
        Fork::Parent(reader) => reader,
    };
    reader.hear(notes)?;
    let reads = reader.until_counted(IO_READS, 1_000)?;
    notes.saw_of("reader", "reads while nothing was written", reads);
    notes.call("bytes put", || put_all(&writing))?;
    reader.end(notes)?;
    notes.saw("bytes that the file still holds", fstat(&writing)?.st_size);
    Ok(())
}

fn through_the_queue(over: Over, notes: &mut Notes) -> Result<()> {
    notes.step("1 MiB through the queue");
    let (rx, tx) = over.queue(notes)?;
    let reader = match notes.fork("reader")? {
        Fork::Child(me) => me.play(|me| {
            drop(tx);
            let mut taken = Taken::default();
            me.call("bytes taken until the end of file", || {
                while taken.empty_reads == 0 {
                    taken.take_from(&rx)?;
                }
                Ok(taken.bytes)
            })?;
            me.saw("reads that got nothing, the end of file", taken.empty_reads);
            Ok(())
        }),
        Fork::Parent(reader) => reader,
    };
    // The reader is the faster one here too, and sleeps.
    reader.until_asleep_in(Call::READ, notes)?;
    notes.call("bytes put", || put_all(&tx))?;
    notes.close("tx", tx)?;
    reader.end(notes)?;
    notes.saw("bytes that the queue can hold", capacity_bytes(&rx)?);
    notes.call("ioctl(rx, FIONREAD)", || kpipe_abi::queued_bytes(&rx))?;
    Ok(())
}

/// What a reader got.
#[derive(Default)]
struct Taken {
    bytes: usize,
    empty_reads: usize,
}

impl Taken {
    fn take_from(&mut self, fd: impl AsFd) -> nix::Result<()> {
        match read(fd, &mut [0; BLOCK_BYTES])? {
            0 => self.empty_reads += 1,
            len => self.bytes += len,
        }
        Ok(())
    }
}

fn put_all(fd: impl AsFd) -> nix::Result<usize> {
    let mut put_bytes = 0;
    while put_bytes < BYTES {
        put_bytes += write(&fd, &[0; BLOCK_BYTES])?;
    }
    Ok(put_bytes)
}

// SPDX-License-Identifier: MIT

//! What a pipe does at its limits, seen on the queue: each function makes it happen between two
//! processes, checks every step, and returns what was seen as a sentence.

use crate::channel::block;
use crate::demo::observe::{is_asleep_in, until, PATIENCE};
use crate::failure::{Failure, Result};
use crate::process::Child;
use crate::units::thousands;
use kpipe::{Control, Counters, Error, Info, Queue, Wait, Writer, PIPE_BUF_BYTES};
use nix::errno::Errno;
use nix::fcntl::{fcntl, FcntlArg};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{read, write};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;

/// Makes one behaviour happen on the queue and says what was seen.
type Show = fn(&Queue) -> Result<String>;

/// All, with the name that the user sees.
pub const ALL: [(&str, Show); 4] = [
    ("full queue", full_queue_blocks_writer),
    ("empty queue", empty_queue_blocks_reader),
    ("end of file", end_of_file_after_last_writer_closes),
    ("broken pipe", broken_pipe_after_last_reader_closes),
];

const GREETING: &[u8] = b"hello";

fn full_queue_blocks_writer(queue: &Queue) -> Result<String> {
    let mut reader = queue.reader(Wait::Never)?;
    let capacity_bytes = capacity_bytes(&reader)?;
    let before = Count::of(&reader)?;
    let mut child: Child<u64> = Child::spawn("writer", |gate| {
        let writer: OwnedFd = queue.writer(Wait::Block)?.into();
        gate.pass()?;
        let mut written_bytes = 0;
        // One block more than there is room for.
        while written_bytes <= capacity_bytes {
            let len_bytes =
                write(&writer, &[0x55; PIPE_BUF_BYTES]).map_err(Failure::io("write"))?;
            written_bytes += len_bytes as u64;
        }
        Ok(written_bytes)
    })?;
    child.wait_ready(PATIENCE)?;
    child.go()?;
    until("the writer sleeps on a full queue", || {
        let is_full = reader.queued_bytes()? == capacity_bytes;
        let slept = Count::of(&reader)?.is_asleep(&before, |info| info.write);
        Ok(is_full && slept && is_asleep_in(child.pid(), libc::SYS_write)?)
    })?;

    reader
        .read_exact(&mut [0; PIPE_BUF_BYTES])
        .map_err(Failure::io(queue))?;
    let written_bytes = child.finish(PATIENCE)?;
    expect(
        "bytes written",
        written_bytes,
        capacity_bytes + PIPE_BUF_BYTES as u64,
    )?;
    // Taken out, so that the next behaviour starts from an empty queue whoever else has it open.
    let rest_bytes =
        std::io::copy(&mut reader, &mut std::io::sink()).map_err(Failure::io(queue))?;
    expect("bytes read after that", rest_bytes, capacity_bytes)?;
    Ok(format!(
        "writer slept on {} queued bytes until {} were read",
        thousands(capacity_bytes),
        thousands(PIPE_BUF_BYTES as u64)
    ) + &Count::of(&reader)?.seen(&before, |info| info.write)?)
}

fn empty_queue_blocks_reader(queue: &Queue) -> Result<String> {
    let (mut child, mut writer) = start_reader(queue, 1)?;
    let before = Count::of(&writer)?;
    child.go()?;
    until("the reader sleeps on an empty queue", || {
        let slept = Count::of(&writer)?.is_asleep(&before, |info| info.read);
        Ok(slept && is_asleep_in(child.pid(), libc::SYS_read)?)
    })?;

    writer.write_all(GREETING).map_err(Failure::io(queue))?;
    expect(
        "bytes read",
        child.finish(PATIENCE)?,
        vec![GREETING.to_vec()],
    )?;
    Ok(
        format!("reader slept until {} bytes were written", GREETING.len())
            + &Count::of(&writer)?.seen(&before, |info| info.read)?,
    )
}

fn end_of_file_after_last_writer_closes(queue: &Queue) -> Result<String> {
    let (mut child, mut writer) = start_reader(queue, 3)?;
    writer.write_all(GREETING).map_err(Failure::io(queue))?;
    child.go()?;
    until("the reader has taken all and sleeps", || {
        Ok(writer.queued_bytes()? == 0 && is_asleep_in(child.pid(), libc::SYS_read)?)
    })?;

    drop(writer);
    expect(
        "reads",
        child.finish(PATIENCE)?,
        vec![GREETING.to_vec(), vec![], vec![]],
    )?;
    Ok("last writer closed: reader got what was queued, then end of file, twice".into())
}

fn broken_pipe_after_last_reader_closes(queue: &Queue) -> Result<String> {
    for signal in [Disposition::Default, Disposition::Blocked] {
        let mut reader = Some(queue.reader(Wait::Never)?);
        let mut child: Child<String> = Child::spawn("writer", |gate| {
            let writer: OwnedFd = queue.writer(Wait::Block)?.into();
            drop(reader.take()); // Else the writer would itself be the last reader.
            if signal == Disposition::Blocked {
                SigSet::from(Signal::SIGPIPE)
                    .thread_block()
                    .map_err(Failure::io("sigprocmask(2)"))?;
            }
            gate.pass()?;
            Ok(format!("{:?}", write(&writer, GREETING)))
        })?;
        child.wait_ready(PATIENCE)?;
        drop(reader);
        child.go()?;
        match signal {
            Disposition::Default => {
                expect("the signal", child.died_of(PATIENCE)?, Signal::SIGPIPE)?
            }
            Disposition::Blocked => {
                let epipe: nix::Result<usize> = Err(Errno::EPIPE);
                expect("write(2)", child.finish(PATIENCE)?, format!("{epipe:?}"))?;
            }
        }
    }
    Ok("last reader closed: SIGPIPE ended the writer; one that blocks SIGPIPE got EPIPE".into())
}

/// What a writer does with `SIGPIPE`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Disposition {
    Default,
    Blocked,
}

/// How many bytes fit: by the driver, or for a FIFO by `F_GETPIPE_SZ`.
fn capacity_bytes(end: &impl Control) -> Result<u64> {
    match end.info() {
        Ok(info) => Ok(info.capacity_bytes),
        Err(Error::NotAQueue { .. }) => {
            let size = fcntl(end, FcntlArg::F_GETPIPE_SZ).map_err(Failure::io(end.queue()))?;
            Ok(size.unsigned_abs().into())
        }
        Err(error) => Err(error.into()),
    }
}

/// What the driver has counted so far; nothing for a FIFO, of which only the process state tells.
struct Count(Option<Info>);

impl Count {
    fn of(end: &impl Control) -> Result<Self> {
        match end.info() {
            Ok(info) => Ok(Self(Some(info))),
            Err(Error::NotAQueue { .. }) => Ok(Self(None)),
            Err(error) => Err(error.into()),
        }
    }

    /// Sleeps and wakeups of one side from `before` to `self`.
    fn since(&self, before: &Self, side: fn(&Info) -> Counters) -> Option<(u64, u64)> {
        let (now, before) = (side(self.0.as_ref()?), side(before.0.as_ref()?));
        Some((
            now.sleeps.wrapping_sub(before.sleeps),
            now.wakeups.wrapping_sub(before.wakeups),
        ))
    }

    /// Has the driver put somebody of that side to sleep, and not woken him?
    fn is_asleep(&self, before: &Self, side: fn(&Info) -> Counters) -> bool {
        self.since(before, side)
            .is_none_or(|(sleeps, wakeups)| sleeps == wakeups + 1)
    }

    /// The end of the sentence: what the driver counted. Fails if it missed the sleep.
    fn seen(&self, before: &Self, side: fn(&Info) -> Counters) -> Result<String> {
        match self.since(before, side) {
            None => Ok(String::new()),
            Some((sleeps, wakeups)) if sleeps > 0 && sleeps == wakeups => {
                Ok(format!(" (driver: slept {sleeps}, woken {wakeups})"))
            }
            Some((sleeps, wakeups)) => Err(Failure::Differs(format!(
                "the driver counted {sleeps} sleeps and {wakeups} wakeups"
            ))),
        }
    }
}

/// A process that will do `reads` reads and report what each gave, and the only write end.
fn start_reader(queue: &Queue, reads: usize) -> Result<(Child<Vec<Vec<u8>>>, Writer)> {
    // Lets the writer open without waiting, and goes when the child has its own end.
    let first_reader = queue.reader(Wait::Never)?;
    let writer = queue.writer(Wait::Block)?;
    let mut theirs = Some(writer);
    let mut child = Child::spawn("reader", |gate| {
        let reader = queue.reader(Wait::Never)?;
        drop(theirs.take()); // Else the reader would itself be the last writer.
        block(&reader, queue)?;
        gate.pass()?;
        let reader: OwnedFd = reader.into();
        let one_read = |_| {
            let mut block = [0; 64];
            let len_bytes = read(&reader, &mut block).map_err(Failure::io("read"))?;
            Ok(block[..len_bytes].to_vec())
        };
        (0..reads).map(one_read).collect()
    })?;
    child.wait_ready(PATIENCE)?;
    drop(first_reader);
    theirs
        .map(|writer| (child, writer))
        .ok_or_else(|| Failure::Differs("no write end".into()))
}

fn expect<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Failure::Differs(format!(
        "{what}: {found:?} instead of {expected:?}"
    )))
}

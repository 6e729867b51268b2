// SPDX-License-Identifier: MIT

//! [`Workload`]: what is measured, and [`time`]: one measurement, by two processes.

use crate::channel::{Channel, Side, Stream};
use crate::failure::{Failure, Result};
use crate::process::{now_ns, Child, Gate};
use crate::sys;
use kpipe::Queue;
use nix::unistd::{read, write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// What two processes do with a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// One writes blocks of this many bytes, the other reads with a buffer of the same size.
    Stream {
        /// Bytes per write, and at most per read.
        block_bytes: usize,
    },
    /// One byte there, one byte back.
    PingPong,
}

/// Where and how much.
pub struct Setting<'a> {
    /// For the device: there, and back.
    pub queues: &'a [Queue; 2],
    /// Factor on the amounts of work.
    pub scale: f64,
    /// What the processes take turns by.
    pub turns: Turns,
}

/// When the two processes change places on one CPU.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Turns {
    /// When the scheduler finds it fair: what programs meet.
    Fair,
    /// Only when one has to wait: the same in every run, so that instructions can be counted.
    WhenBlocked,
}

/// The longest that one measurement may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// Sent and compared before the timing: four times what fits, so that the ring wraps.
const VERIFIED_BYTES: usize = 1 << 18;
const VERIFIED_ROUND_TRIPS: u64 = 300;

impl Workload {
    /// In the order of the report.
    pub const ALL: [Self; 4] = [
        Self::Stream { block_bytes: 64 },
        Self::Stream { block_bytes: 4096 },
        Self::Stream { block_bytes: 65536 },
        Self::PingPong,
    ];

    /// The name for people.
    pub fn label(self) -> &'static str {
        match self {
            Self::Stream { block_bytes: 64 } => "64 B blocks",
            Self::Stream { block_bytes: 4096 } => "4 KiB blocks",
            Self::Stream { .. } => "64 KiB blocks",
            Self::PingPong => "1 B ping-pong",
        }
    }

    /// The name for scripts and `--only`.
    pub fn id(self) -> &'static str {
        match self {
            Self::Stream { block_bytes: 64 } => "stream-64",
            Self::Stream { block_bytes: 4096 } => "stream-4K",
            Self::Stream { .. } => "stream-64K",
            Self::PingPong => "ping-pong",
        }
    }

    /// Blocks or round trips of one measurement: 0.1 to 0.2 s on an emulated machine with two CPUs.
    pub fn operations(self, scale: f64) -> u64 {
        let operations = match self {
            Self::Stream { block_bytes: 64 } => 150_000.0,
            Self::Stream { block_bytes: 4096 } => 8_192.0,
            Self::Stream { .. } => 512.0,
            Self::PingPong => 2_500.0,
        };
        f64::max(operations * scale, 1.0) as u64
    }

    /// Bytes that one operation carries, one way.
    pub fn block_bytes(self) -> usize {
        match self {
            Self::Stream { block_bytes } => block_bytes,
            Self::PingPong => 1,
        }
    }
}

/// Does the work once and returns how long it took in nanoseconds: until the reader had all, or the
/// first player the last answer.
///
/// Both processes go through two gates. Between them known bytes are sent and compared, which also
/// brings the processes' memory and the channel's buffers into being; after them comes what is timed.
pub fn time(channel: Channel, workload: Workload, setting: &Setting) -> Result<u64> {
    let operations = workload.operations(setting.scale);
    match workload {
        Workload::Stream { block_bytes } => {
            let known = noise(VERIFIED_BYTES);
            let (started_ns, done_ns) = over_stream(
                channel,
                setting,
                |tx, gate| write_stream(tx, gate, &known, block_bytes, operations),
                |rx, gate| read_stream(rx, gate, &known, block_bytes, operations),
            )?;
            Ok(done_ns.saturating_sub(started_ns).max(1))
        }
        Workload::PingPong => {
            let (duration_ns, _) = over_duplex(
                channel,
                setting,
                |side, gate| first_player(side, gate, operations),
                |side, gate| second_player(side, gate, operations),
            )?;
            Ok(duration_ns.max(1))
        }
    }
}

/// Returns when the first timed write began.
fn write_stream(
    tx: &OwnedFd,
    gate: &mut Gate,
    known: &[u8],
    block_bytes: usize,
    operations: u64,
) -> Result<u64> {
    let block = vec![0x55; block_bytes];
    gate.pass()?;
    for block in known.chunks(block_bytes) {
        write_block(tx, block)?;
    }
    gate.pass()?;
    let started_ns = now_ns()?;
    for _ in 0..operations {
        write_block(tx, &block)?;
    }
    gate.pass()?;
    Ok(started_ns)
}

/// Returns when the last byte was there.
fn read_stream(
    rx: &OwnedFd,
    gate: &mut Gate,
    known: &[u8],
    block_bytes: usize,
    operations: u64,
) -> Result<u64> {
    let mut block = vec![0xAA; block_bytes];
    gate.pass()?;
    let mut expected = known;
    while !expected.is_empty() {
        let len_bytes = read_some(rx, &mut block)?;
        if expected.get(..len_bytes) != Some(&block[..len_bytes]) {
            let offset = known.len() - expected.len();
            return Err(Failure::Differs(format!(
                "other bytes arrived than were sent, near byte {offset}"
            )));
        }
        expected = &expected[len_bytes..];
    }
    gate.pass()?;
    let mut missing_bytes = operations * block_bytes as u64;
    while missing_bytes > 0 {
        missing_bytes = missing_bytes.saturating_sub(read_some(rx, &mut block)? as u64);
    }
    now_ns()
}

/// Returns how long the timed round trips took.
fn first_player(side: &Side, gate: &mut Gate, round_trips: u64) -> Result<u64> {
    gate.pass()?;
    ping(side, VERIFIED_ROUND_TRIPS)?;
    gate.pass()?;
    let started_ns = now_ns()?;
    ping(side, round_trips)?;
    let duration_ns = now_ns()? - started_ns;
    gate.pass()?;
    Ok(duration_ns)
}

fn second_player(side: &Side, gate: &mut Gate, round_trips: u64) -> Result<u64> {
    gate.pass()?;
    pong(side, VERIFIED_ROUND_TRIPS)?;
    gate.pass()?;
    pong(side, round_trips)?;
    Ok(0)
}

/// The bytes count up, so that a lost or doubled one shows.
fn ping(side: &Side, round_trips: u64) -> Result<()> {
    let mut answer = [0];
    for round_trip in 0..round_trips {
        let question = [round_trip as u8];
        write_block(&side.tx, &question)?;
        read_some(&side.rx, &mut answer)?;
        if answer != question {
            return Err(Failure::Differs(format!(
                "round trip {round_trip}: sent {question:?}, got {answer:?}"
            )));
        }
    }
    Ok(())
}

fn pong(side: &Side, round_trips: u64) -> Result<()> {
    let mut question = [0];
    for _ in 0..round_trips {
        read_some(&side.rx, &mut question)?;
        write_block(&side.tx, &question)?;
    }
    Ok(())
}

/// Runs a writing and a reading process on a stream and returns what they report.
fn over_stream(
    channel: Channel,
    setting: &Setting,
    write: impl FnOnce(&OwnedFd, &mut Gate) -> Result<u64>,
    read: impl FnOnce(&OwnedFd, &mut Gate) -> Result<u64>,
) -> Result<(u64, u64)> {
    let Stream { tx, rx } = channel.stream(&setting.queues[0])?;
    let mut rx = Some(rx);
    let writer = Child::spawn("writing process", |gate| {
        drop(rx.take()); // So that the reader's death is a broken pipe and no endless wait.
        prepare(setting)?;
        write(&tx, gate)
    })?;
    drop(tx);
    let reader = Child::spawn("reading process", |gate| {
        prepare(setting)?;
        rx.as_ref().map_or(Ok(0), |rx| read(rx, gate))
    })?;
    drop(rx);
    run(writer, reader)
}

/// The same for the two players of a ping-pong.
fn over_duplex(
    channel: Channel,
    setting: &Setting,
    near_part: impl FnOnce(&Side, &mut Gate) -> Result<u64>,
    far_part: impl FnOnce(&Side, &mut Gate) -> Result<u64>,
) -> Result<(u64, u64)> {
    let (near, far) = channel.duplex(setting.queues)?;
    let mut far = Some(far);
    let first = Child::spawn("first player", |gate| {
        drop(far.take());
        prepare(setting)?;
        near_part(&near, gate)
    })?;
    drop(near);
    let second = Child::spawn("second player", |gate| {
        prepare(setting)?;
        far.as_ref().map_or(Ok(0), |far| far_part(far, gate))
    })?;
    drop(far);
    run(first, second)
}

/// Takes both through their gates, the second one first: it is to be waiting when the first one
/// starts. The first has one gate more, so that it does not end while the other is being timed: the
/// end of a process costs as much as a hundred messages.
fn run(mut first: Child<u64>, mut second: Child<u64>) -> Result<(u64, u64)> {
    for _gate in 0..2 {
        second.wait_ready(PATIENCE)?;
        first.wait_ready(PATIENCE)?;
        second.go()?;
        first.go()?;
    }
    let second_result = second.finish(PATIENCE)?;
    first.wait_ready(PATIENCE)?;
    first.go()?;
    Ok((first.finish(PATIENCE)?, second_result))
}

/// Sets up a process that has just been started.
fn prepare(setting: &Setting) -> Result<()> {
    match setting.turns {
        Turns::Fair => Ok(()),
        Turns::WhenBlocked => sys::run_until_blocked().map_err(Failure::io("--icount: SCHED_FIFO")),
    }
}

/// write(2) until all of `block` is in the channel: a socket may take less.
fn write_block(tx: impl AsFd, block: &[u8]) -> Result<()> {
    let mut rest = block;
    while !rest.is_empty() {
        let len_bytes = write(&tx, rest).map_err(Failure::io("write"))?;
        rest = &rest[len_bytes..];
    }
    Ok(())
}

/// read(2); end of file is an error here.
fn read_some(rx: impl AsFd, block: &mut [u8]) -> Result<usize> {
    match read(rx, block).map_err(Failure::io("read"))? {
        0 => Err(Failure::Differs(
            "end of file before all had arrived".into(),
        )),
        len_bytes => Ok(len_bytes),
    }
}

/// Bytes without a pattern that a lost or swapped block could keep: Marsaglia's xorshift64.
fn noise(len_bytes: usize) -> Vec<u8> {
    let mut state: u64 = 0x9E37_79B9_7F4A_7C15;
    let next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    std::iter::repeat_with(next).take(len_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_scale_and_never_become_nothing() {
        let stream = Workload::Stream { block_bytes: 4096 };
        assert_eq!(stream.operations(1.0), 8_192);
        assert_eq!(stream.operations(0.5), 4_096);
        assert_eq!(stream.operations(0.0000001), 1);
    }

    #[test]
    fn noise_does_not_repeat_from_block_to_block() {
        let noise = noise(1 << 16);
        let mut blocks: Vec<&[u8]> = noise.chunks(64).collect();
        blocks.sort_unstable();
        blocks.dedup();
        assert_eq!(blocks.len(), 1 << 10);
    }
}

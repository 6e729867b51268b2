// SPDX-License-Identifier: MIT

//! [`run`]: one file, from a sending to a receiving process, over one channel.

use crate::channel::{Channel, Stream};
use crate::demo::sha256;
use crate::failure::{Failure, Result};
use crate::process::{now_ns, Child, Gate};
use kpipe::{Info, Queue};
use nix::sys::resource::{getrusage, UsageWho};
use nix::unistd::{read, write};
use serde::{Deserialize, Serialize};
use std::os::fd::AsFd;
use std::time::Duration;

/// Bytes per read(2) and write(2), on every channel.
const BLOCK_BYTES: usize = kpipe::DEFAULT_CAPACITY_BYTES as usize;

/// How a transfer went.
pub struct Transfer {
    /// Bytes that arrived.
    pub len_bytes: u64,
    /// From the first write until the receiver had all of them.
    pub seconds: f64,
    /// Voluntary context switches of the sender.
    pub writer_sleeps: u64,
    /// Voluntary context switches of the receiver.
    pub reader_sleeps: u64,
    /// SHA-256 of what arrived, computed by the receiver.
    pub sha256: String,
    /// What the driver counted meanwhile, if the channel has one.
    pub driver: Option<DriverCount>,
}

/// The driver's counters, as far as they concern sleeping.
#[derive(Serialize, Deserialize)]
pub struct DriverCount {
    /// Times a writer slept in an operation.
    pub writer_sleeps: u64,
    /// Times a sleeping writer was woken.
    pub writer_wakeups: u64,
    /// Times a reader slept in an operation.
    pub reader_sleeps: u64,
    /// Times a sleeping reader was woken.
    pub reader_wakeups: u64,
}

/// What each process reports.
#[derive(Serialize, Deserialize)]
struct Sent {
    started_ns: u64,
    sleeps: u64,
}

/// What each process reports.
#[derive(Serialize, Deserialize)]
struct Received {
    done_ns: u64,
    sleeps: u64,
    len_bytes: u64,
    sha256: String,
    driver: Option<DriverCount>,
}

/// Sends `file` over `channel` (through `queue` if that is the device).
pub fn run(channel: Channel, queue: &Queue, file: &[u8]) -> Result<Transfer> {
    // 1 MB/s is far below what the slowest emulated machine has shown.
    let patience = Duration::from_secs(60 + file.len() as u64 / 1_000_000);
    let Stream { tx, rx } = channel.stream(queue)?;
    let mut rx = Some(rx);

    let mut writer = Child::spawn("sending process", |gate| {
        drop(rx.take()); // Else this process would hold open the end whose closing it must notice.
        send(&tx, file, gate)
    })?;
    drop(tx); // Only the sender has it now: its end will be the end of the file.
    let mut reader = Child::spawn("receiving process", |gate| {
        let no_end = || Failure::Differs("no read end".into());
        receive(&rx.take().ok_or_else(no_end)?, file.len(), gate)
    })?;
    drop(rx);

    writer.wait_ready(patience)?;
    reader.wait_ready(patience)?;
    reader.go()?;
    writer.go()?;
    let sent = writer.finish(patience)?;
    let received = reader.finish(patience)?;
    Ok(Transfer {
        len_bytes: received.len_bytes,
        seconds: received.done_ns.saturating_sub(sent.started_ns).max(1) as f64 / 1e9,
        writer_sleeps: sent.sleeps,
        reader_sleeps: received.sleeps,
        sha256: received.sha256,
        driver: received.driver,
    })
}

fn send(tx: impl AsFd, file: &[u8], gate: &mut Gate) -> Result<Sent> {
    gate.pass()?;
    let sleeps_before = voluntary_switches()?;
    let started_ns = now_ns()?;
    for block in file.chunks(BLOCK_BYTES) {
        let mut rest = block;
        while !rest.is_empty() {
            let len_bytes = write(&tx, rest).map_err(Failure::io("write"))?;
            rest = &rest[len_bytes..];
        }
    }
    Ok(Sent {
        started_ns,
        sleeps: voluntary_switches()? - sleeps_before,
    })
}

fn receive(rx: impl AsFd, expected_bytes: usize, gate: &mut Gate) -> Result<Received> {
    // Not zero, so that its memory is there already; one byte more than should come.
    let mut buffer = vec![1; expected_bytes + 1];
    // Before the gate: behind it the sender may be asleep already.
    let driver_before = kpipe_abi::info(&rx).ok();
    gate.pass()?;
    let sleeps_before = voluntary_switches()?;
    let mut len_bytes = 0;
    // The clock stops when all is here. End of file comes later: when the sender has ended.
    while len_bytes < expected_bytes {
        let end = expected_bytes.min(len_bytes + BLOCK_BYTES);
        match read(&rx, &mut buffer[len_bytes..end]).map_err(Failure::io("read"))? {
            0 => break,
            n => len_bytes += n,
        }
    }
    let done_ns = now_ns()?;
    let sleeps = voluntary_switches()? - sleeps_before;
    let driver_after = kpipe_abi::info(&rx).ok();
    len_bytes += read(&rx, &mut buffer[len_bytes..]).map_err(Failure::io("read"))?;
    Ok(Received {
        done_ns,
        sleeps,
        len_bytes: len_bytes as u64,
        sha256: sha256(&buffer[..len_bytes]),
        driver: driver_before
            .zip(driver_after)
            .map(|(before, after)| DriverCount::between(&before, &after)),
    })
}

impl DriverCount {
    fn between(before: &Info, after: &Info) -> Self {
        Self {
            writer_sleeps: after.write.sleeps.wrapping_sub(before.write.sleeps),
            writer_wakeups: after.write.wakeups.wrapping_sub(before.write.wakeups),
            reader_sleeps: after.read.sleeps.wrapping_sub(before.read.sleeps),
            reader_wakeups: after.read.wakeups.wrapping_sub(before.read.wakeups),
        }
    }
}

/// How often this process has given up the CPU to wait.
fn voluntary_switches() -> Result<u64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).map_err(Failure::io("getrusage(2)"))?;
    Ok(usage.voluntary_context_switches() as u64)
}

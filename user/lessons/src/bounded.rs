// SPDX-License-Identifier: MIT

//! Row 9: a pipe is a bounded queue. Who reads an empty one sleeps until something is written; who
//! writes to a full one sleeps until something is read.

use crate::over::{capacity_bytes, info, Over};
use crate::stage::{Call, Fork};
use crate::{Notes, Result};
use nix::unistd::write;
use std::os::fd::AsFd;

/// PIPE_BUF, pipe(7): what one write puts in as a whole or not at all.
const BLOCK: [u8; 4096] = [0; 4096];

pub fn play(over: Over, notes: &mut Notes) -> Result<()> {
    an_empty_queue_blocks_its_reader(over, notes)?;
    a_full_queue_blocks_its_writer(over, notes)
}

fn an_empty_queue_blocks_its_reader(over: Over, notes: &mut Notes) -> Result<()> {
    notes.step("an empty queue blocks its reader");
    let (rx, tx) = over.queue(notes)?;
    let reader = match notes.fork("reader")? {
        Fork::Child(me) => me.play(|me| {
            me.close("tx", tx)?;
            me.read("rx", &rx, 64)?;
            Ok(())
        }),
        Fork::Parent(mut reader) => {
            reader.hear(notes)?;
            reader
        }
    };
    reader.until_asleep_in(Call::READ, notes)?;
    show_queued(&rx, notes)?;
    notes.write("tx", &tx, b"hello")?;
    // Its read took as long as it slept.
    reader.end(notes)?;
    if let Some(info) = info(&rx) {
        notes.saw("readers put to sleep by the driver", info.read.sleeps);
        notes.saw("readers woken by the driver", info.read.wakeups);
    }
    Ok(())
}

fn a_full_queue_blocks_its_writer(over: Over, notes: &mut Notes) -> Result<()> {
    notes.step("a full queue blocks its writer");
    let (rx, tx) = over.queue(notes)?;
    let capacity_bytes = capacity_bytes(&rx)?;
    notes.saw("bytes that fit into the queue", capacity_bytes);
    let mut writer = match notes.fork("writer")? {
        Fork::Child(me) => me.play(|me| {
            me.close("rx", rx)?;
            let mut written_bytes = 0;
            while written_bytes < capacity_bytes {
                written_bytes += write(&tx, &BLOCK)?;
            }
            me.saw("bytes written so far", written_bytes);
            me.write("tx", &tx, &BLOCK)?;
            Ok(())
        }),
        Fork::Parent(writer) => writer,
    };
    writer.hear(notes)?;
    writer.hear(notes)?;
    writer.until_asleep_in(Call::WRITE, notes)?;
    show_queued(&rx, notes)?;
    // As much room as the writer waits for.
    notes.read("rx", &rx, BLOCK.len())?;
    writer.end(notes)?;
    show_queued(&rx, notes)?;
    if let Some(info) = info(&rx) {
        notes.saw("writers put to sleep by the driver", info.write.sleeps);
        notes.saw("writers woken by the driver", info.write.wakeups);
    }
    Ok(())
}

fn show_queued(rx: impl AsFd, notes: &mut Notes) -> Result<()> {
    notes.call("ioctl(rx, FIONREAD)", || kpipe_abi::queued_bytes(&rx))?;
    Ok(())
}

// SPDX-License-Identifier: MIT

//! Row 11: what the last close of an end does to those at the other end, and what happens if somebody has
//! forgotten to close one.

use crate::over::info;
use crate::stage::ffi::{on_signal, On};
use crate::stage::{Call, Fork, Part};
use crate::{Notes, Over, Result};
use nix::sys::signal::Signal;

pub fn play(over: Over, notes: &mut Notes) -> Result<()> {
    end_of_file_after_the_last_writer(over, notes)?;
    a_forgotten_write_end_hides_the_end_of_file(over, notes)?;
    a_write_without_readers(On::Default, over, notes)?;
    a_write_without_readers(On::Ignore, over, notes)?;
    a_forgotten_read_end_hides_that_nobody_reads(over, notes)
}

fn end_of_file_after_the_last_writer(over: Over, notes: &mut Notes) -> Result<()> {
    notes.step("the last writer closes: what is queued, then end of file");
    let (rx, tx) = over.queue(notes)?;
    notes.write("tx", &tx, b"hello")?;
    notes.close("tx", tx)?;
    notes.read("rx", &rx, 64)?;
    notes.read("rx", &rx, 64)?;
    // It stays so: a queue without a name gets no new writer.
    notes.read("rx", &rx, 64)?;
    Ok(())
}

fn a_forgotten_write_end_hides_the_end_of_file(over: Over, notes: &mut Notes) -> Result<()> {
    notes.step("the reader has forgotten to close its copy of tx");
    let (rx, tx) = over.queue(notes)?;
    let mut reader = match notes.fork("reader")? {
        Fork::Child(me) => me.play(|me| {
            while !me.read("rx", &rx, 64)?.is_empty() {}
            Ok(())
        }),
        Fork::Parent(reader) => reader,
    };
    notes.write("tx", &tx, b"hello")?;
    notes.close("tx", tx)?;
    reader.hear(notes)?;
    // Nobody but itself could write what it waits for.
    reader.until_asleep_in(Call::READ, notes)?;
    if let Some(info) = info(&rx) {
        notes.saw("write ends that the driver counts", info.writers);
    }
    reader.signal(Signal::SIGTERM, notes)?;
    reader.end(notes)
}

fn a_write_without_readers(on_sigpipe: On, over: Over, notes: &mut Notes) -> Result<()> {
    notes.step(match on_sigpipe {
        On::Ignore => "the last reader closes, the writer ignores SIGPIPE",
        _ => "the last reader closes, the writer does nothing about SIGPIPE",
    });
    let (rx, tx) = over.queue(notes)?;
    notes.close("rx", rx)?;
    let writer: Part = match notes.fork("writer")? {
        Fork::Child(me) => me.play(|me| {
            on_signal(Signal::SIGPIPE, on_sigpipe)?;
            // With SIGPIPE as it was, this does not return.
            let _ = me.write("tx", &tx, b"hello");
            Ok(())
        }),
        Fork::Parent(writer) => writer,
    };
    writer.end(notes)
}

fn a_forgotten_read_end_hides_that_nobody_reads(over: Over, notes: &mut Notes) -> Result<()> {
    notes.step("the writer has forgotten to close its copy of rx");
    let (rx, tx) = over.queue(notes)?;
    let writer = match notes.fork("writer")? {
        Fork::Child(me) => me.play(|me| {
            me.await_cue()?;
            // It succeeds, and the bytes wait for nobody.
            me.write("tx", &tx, b"hello")?;
            me.call("ioctl(rx, FIONREAD)", || kpipe_abi::queued_bytes(&rx))?;
            Ok(())
        }),
        Fork::Parent(mut writer) => {
            notes.close("rx", rx)?;
            writer.cue()?;
            writer
        }
    };
    writer.end(notes)
}

// SPDX-License-Identifier: MIT

//! Row 21: a signal that comes while it is blocked is pending, once per kind however often it was sent; when it is
//! delivered its handler runs, and the call that it interrupts fails with EINTR or is made again (SA_RESTART),
//! unless it has moved bytes already.

use crate::over::{info, Over};
use crate::stage::ffi::{handled, on_signal, On};
use crate::stage::{Call, Fork, SLEEPS};
use crate::{Notes, Result};
use nix::errno::Errno;
use nix::sys::signal::{raise, SigSet, Signal};

/// The signal of this lesson. It means what a program wants it to mean.
const SIGNAL: Signal = Signal::SIGUSR1;

/// More than any queue of this lesson holds.
const MUCH_BYTES: usize = 16 << 20;

pub fn play(over: Over, notes: &mut Notes) -> Result<()> {
    a_blocked_signal_is_pending_once(notes)?;
    an_interrupted_read(On::Count, over, notes)?;
    an_interrupted_read(On::CountAndRestart, over, notes)?;
    an_interrupted_write_tells_what_it_has_moved(over, notes)
}

fn a_blocked_signal_is_pending_once(notes: &mut Notes) -> Result<()> {
    notes.step("three signals while they are blocked");
    let child = match notes.fork("child")? {
        Fork::Child(me) => me.play(|me| {
            me.call("sigaction(SIGUSR1, count it)", || {
                on_signal(SIGNAL, On::Count)
            })?;
            let set = SigSet::from(SIGNAL);
            me.call("sigprocmask(SIG_BLOCK, SIGUSR1)", || set.thread_block())?;
            for _ in 0..3 {
                me.call("raise(SIGUSR1)", || raise(SIGNAL))?;
            }
            me.saw("SigPnd of /proc/self/status", pending()?);
            me.saw("times the handler has run", handled());
            me.call("sigprocmask(SIG_UNBLOCK, SIGUSR1)", || set.thread_unblock())?;
            me.saw("SigPnd of /proc/self/status", pending()?);
            me.saw("times the handler has run", handled());
            Ok(())
        }),
        Fork::Parent(child) => child,
    };
    child.end(notes)
}

fn an_interrupted_read(on: On, over: Over, notes: &mut Notes) -> Result<()> {
    notes.step(match on {
        On::CountAndRestart => "a signal for a reader that sleeps, its handler with SA_RESTART",
        _ => "a signal for a reader that sleeps, its handler without SA_RESTART",
    });
    let (rx, tx) = over.queue(notes)?;
    let mut reader = match notes.fork("reader")? {
        Fork::Child(me) => me.play(|me| {
            me.call(format_args!("sigaction(SIGUSR1, {on:?})"), || {
                on_signal(SIGNAL, on)
            })?;
            if me.read("rx", &rx, 64) == Err(Errno::EINTR) {
                // Nothing is lost: it may ask again.
                me.read("rx", &rx, 64)?;
            }
            me.saw("times the handler has run", handled());
            Ok(())
        }),
        Fork::Parent(reader) => reader,
    };
    reader.hear(notes)?;
    reader.until_asleep_in(Call::READ, notes)?;
    let slept = reader.counter(SLEEPS)?;
    reader.signal(SIGNAL, notes)?;
    if on == On::Count {
        reader.hear(notes)?;
    }
    reader.until_asleep_again(slept, Call::READ, notes)?;
    notes.write("tx", &tx, b"hello")?;
    reader.end(notes)?;
    if let Some(info) = info(&rx) {
        notes.saw("readers put to sleep by the driver", info.read.sleeps);
        notes.saw(
            "readers woken by the driver, not by a signal",
            info.read.wakeups,
        );
    }
    Ok(())
}

fn an_interrupted_write_tells_what_it_has_moved(over: Over, notes: &mut Notes) -> Result<()> {
    notes.step("a signal for a writer that has moved a part, with SA_RESTART or not");
    let (rx, tx) = over.queue(notes)?;
    let writer = match notes.fork("writer")? {
        Fork::Child(me) => me.play(|me| {
            on_signal(SIGNAL, On::CountAndRestart)?;
            // It cannot be made again: then the part would come twice.
            me.write("tx", &tx, &vec![0; MUCH_BYTES])?;
            me.saw("times the handler has run", handled());
            Ok(())
        }),
        Fork::Parent(writer) => writer,
    };
    writer.until_asleep_in(Call::WRITE, notes)?;
    writer.signal(SIGNAL, notes)?;
    writer.end(notes)?;
    if over != Over::Tcp {
        // A part of TCP's is still with the sender.
        notes.call("ioctl(rx, FIONREAD)", || kpipe_abi::queued_bytes(&rx))?;
    }
    Ok(())
}

/// The signals that wait for this thread, as a hexadecimal set: proc_pid_status(5).
fn pending() -> Result<String> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("SigPnd:"));
    Ok(line.unwrap_or("not told").trim().to_owned())
}

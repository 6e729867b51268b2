// SPDX-License-Identifier: MIT

//! Row 7: fork(2) copies the descriptors of a process; both copies name one open file description. execve(2)
//! keeps 0, 1 and 2, so whoever puts a queue there before it redirects a program that knows nothing of it.

use crate::stage::ffi::dup2;
use crate::stage::{Fork, Part};
use crate::{Notes, Over, Result};
use nix::fcntl::{fcntl, FcntlArg, OFlag};
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::memfd::{memfd_create, MFdFlags};
use nix::unistd::{execvp, lseek, Whence};
use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

pub fn play(over: Over, notes: &mut Notes) -> Result<()> {
    a_description_is_shared(over, notes)?;
    an_inherited_end_keeps_the_queue_open(over, notes)?;
    a_pipeline(over, notes)
}

fn a_description_is_shared(over: Over, notes: &mut Notes) -> Result<()> {
    notes.step("what a child does to a description, its parent sees");
    let (rx, _tx) = over.queue(notes)?;
    let file = notes.call("memfd_create(file)", || {
        memfd_create("file", MFdFlags::MFD_CLOEXEC)
    })?;
    notes.write("file", &file, b"abcdefgh")?;
    notes.call("lseek(file, 0, SEEK_SET)", || {
        lseek(&file, 0, Whence::SeekSet)
    })?;
    let child = match notes.fork("child")? {
        Fork::Child(me) => me.play(|me| {
            me.read("file", &file, 4)?;
            me.call("fcntl(rx, F_SETFL, O_NONBLOCK)", || {
                fcntl(&rx, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))
            })?;
            Ok(())
        }),
        Fork::Parent(child) => child,
    };
    child.end(notes)?;
    notes.call("lseek(file, 0, SEEK_CUR)", || {
        lseek(&file, 0, Whence::SeekCur)
    })?;
    // It would sleep without the flag.
    let _ = notes.read("rx", &rx, 64);
    Ok(())
}

fn an_inherited_end_keeps_the_queue_open(over: Over, notes: &mut Notes) -> Result<()> {
    notes.step("an end is closed when its last copy is");
    let (rx, tx) = over.queue(notes)?;
    let mut child = match notes.fork("child")? {
        Fork::Child(me) => me.play(|me| me.await_cue()),
        Fork::Parent(child) => child,
    };
    notes.close("tx", tx)?;
    notes.call("poll(rx)", || look_at(&rx))?;
    child.cue()?;
    child.end(notes)?;
    notes.call("poll(rx)", || look_at(&rx))?;
    notes.read("rx", &rx, 64)?;
    Ok(())
}

/// What poll(2) says now.
fn look_at(fd: impl AsFd) -> nix::Result<String> {
    let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    let ready = poll(&mut fds, PollTimeout::ZERO)?;
    let events = fds[0].revents().unwrap_or(PollFlags::empty());
    Ok(match ready {
        0 => "0".to_owned(),
        ready => format!(
            "{ready}: {}",
            events
                .iter_names()
                .map(|(name, _)| name)
                .collect::<Vec<_>>()
                .join(" ")
        ),
    })
}

/// What a shell does for `echo hello | sh -c "..." >queue 2>&1`.
fn a_pipeline(over: Over, notes: &mut Notes) -> Result<()> {
    notes.step("a pipeline by hand: echo hello | sh -c 'tr a-z A-Z; echo done >&2' >queue 2>&1");
    let (first_rx, first_tx) = over.queue(notes)?;
    let (rx, tx) = over.queue(notes)?;
    let echo = start(notes, "echo", &[c"echo", c"hello"], |me| {
        me.call("dup2(first tx, 1)", || dup2(&first_tx, 1))
    })?;
    let script = c"tr a-z A-Z; echo done >&2";
    let shell = start(notes, "sh", &[c"sh", c"-c", script], |me| {
        me.call("dup2(first rx, 0)", || dup2(&first_rx, 0))?;
        me.call("dup2(tx, 1)", || dup2(&tx, 1))?;
        me.call("dup2(tx, 2)", || dup2(&tx, 2))
    })?;
    // The others are closed on exec: the ends that the programs do not have at 0, 1 and 2.
    drop::<[OwnedFd; 2]>([first_rx, first_tx]);
    drop(tx);
    echo.end(notes)?;
    shell.end(notes)?;
    notes.read("rx", &rx, 64)?;
    notes.read("rx", &rx, 64)?;
    Ok(())
}

/// A child that redirects and becomes another program.
fn start(
    notes: &mut Notes,
    name: &'static str,
    command: &[&CStr],
    redirect: impl FnOnce(&mut Notes) -> nix::Result<i32>,
) -> Result<Part> {
    match notes.fork(name)? {
        Fork::Child(me) => me.play(|me| {
            redirect(me)?;
            execvp(command[0], command)?;
            Ok(())
        }),
        Fork::Parent(part) => Ok(part),
    }
}

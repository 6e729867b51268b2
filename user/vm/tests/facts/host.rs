// SPDX-License-Identifier: MIT

//! What the runner does on the host: errors that need no VM, and an end that leaves nothing behind.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Child;

use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;

use crate::run::{code, has, is_alive, qemu_of, run, same, until, vm, wait, Failure, Folder};

pub fn errors_before_boot() -> Result<(), Failure> {
    same("unknown option", run(&["--bogus"])?.status, 2)?;
    same(
        "little memory",
        run(&["--mem", "1M", "--", "true"])?.status,
        2,
    )?;
    let missing = run(&["--no-module", "--add", "/no/such/file", "--", "true"])?;
    same("missing file", missing.status, 125)?;
    has(
        "stderr",
        &missing.err(),
        "--add /no/such/file: there is no such file",
    )?;
    let huge = run(&["--no-module", "--mem", "99999G", "--", "true"])?;
    same("too much memory", huge.status, 125)?;
    has("stderr", &huge.err(), "QEMU could not start: ")?;
    same("one line", huge.err().lines().count(), 1)
}

/// Once while the command runs, and once while the kernel boots.
pub fn interrupt() -> Result<(), Failure> {
    let mut child = vm(&["--no-module", "--", "sh", "-c", "echo started; sleep 1000"]).spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().ok_or("no stdout")?).read_line(&mut line)?;
    same("stdout", line.as_str(), "started\n")?;
    ends_with(child, Signal::SIGINT, 130)?;
    ends_with(
        vm(&["--no-module", "--", "true"]).spawn()?,
        Signal::SIGTERM,
        143,
    )
}

fn ends_with(mut child: Child, signal: Signal, status: i32) -> Result<(), Failure> {
    let qemu = until(|| qemu_of(&child))?;
    kill(Pid::from_raw(child.id().try_into()?), signal)?;
    same("status", code(wait(&mut child)?), status)?;
    same("QEMU is alive", is_alive(qemu), false)
}

/// A guest that hangs cannot notice that the host has gone; QEMU must end all the same.
pub fn killed_runner() -> Result<(), Failure> {
    let folder = Folder::new("killed")?;
    let log = folder.file("log")?;
    let hang = [
        "--append",
        "rdinit=/bin/cat",
        "--boot-timeout",
        "100",
        "--log",
        &log,
    ];
    let mut child = vm(&[&["--no-module"], &hang[..], &["--", "true"]].concat()).spawn()?;
    until(|| {
        fs::read_to_string(&log)
            .ok()?
            .contains("Run /bin/cat")
            .then_some(())
    })?;
    let qemu = qemu_of(&child).ok_or("the runner has no QEMU")?;
    same("QEMU is alive", is_alive(qemu), true)?;
    child.kill()?;
    wait(&mut child)?;
    until(|| (!is_alive(qemu)).then_some(()))
}

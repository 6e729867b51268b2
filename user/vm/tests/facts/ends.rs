// SPDX-License-Identifier: MIT

//! How a run ends: the exit statuses that are the command's, and those that are not.

use crate::run::{environment, has, run, same, Failure};

pub fn exit_status() -> Result<(), Failure> {
    let done = run(&[
        "--no-module",
        "--",
        "sh",
        "-c",
        "sleep 1000 & echo out; echo err >&2; exit 7",
    ])?;
    same("status", done.status, 7)?;
    same("stdout", done.out().as_str(), "out\n")?;
    same("stderr", done.err().as_str(), "err\n")
}

pub fn killed_by_signal() -> Result<(), Failure> {
    same(
        "status",
        run(&["--no-module", "--", "sh", "-c", "kill -KILL $$"])?.status,
        137,
    )
}

pub fn not_started() -> Result<(), Failure> {
    let missing = run(&["--no-module", "--", "no-such-command"])?;
    same("status", missing.status, 127)?;
    has(
        "stderr",
        &missing.err(),
        "no-such-command: not found in the VM",
    )?;
    same(
        "status",
        run(&["--no-module", "--", "/etc/passwd"])?.status,
        126,
    )
}

pub fn timeout() -> Result<(), Failure> {
    let done = run(&["--no-module", "--timeout", "1", "--", "sleep", "1000"])?;
    same("status", done.status, 124)?;
    has("stderr", &done.err(), "did not end within 1 s")
}

pub fn panic() -> Result<(), Failure> {
    let crash = "echo c >/proc/sysrq-trigger; sleep 1000";
    let done = run(&["--no-module", "--", "sh", "-c", crash])?;
    same("status", done.status, 255)?;
    has("stderr", &done.err(), "] Linux version ")?;
    has("stderr", &done.err(), "the kernel died: ")?;
    has(
        "stderr",
        &done.err(),
        "Kernel panic - not syncing: sysrq triggered crash",
    )
}

pub fn oops() -> Result<(), Failure> {
    let module = format!("{}:/oops.ko", environment("KPIPE_OOPS")?);
    let done = run(&["--no-module", "--add", &module, "--", "insmod", "/oops.ko"])?;
    same("status", done.status, 255)?;
    has(
        "stderr",
        &done.err(),
        "BUG: kernel NULL pointer dereference",
    )?;
    has("stderr", &done.err(), "oops_init")
}

pub fn no_boot() -> Result<(), Failure> {
    let hang = ["--append", "rdinit=/bin/cat", "--boot-timeout", "8"];
    let done = run(&[&["--no-module"], &hang[..], &["--", "true"]].concat())?;
    same("status", done.status, 255)?;
    has("stderr", &done.err(), "] Linux version ")?;
    has("stderr", &done.err(), "not ready within 8 s")
}

pub fn switched_off() -> Result<(), Failure> {
    let done = run(&["--no-module", "--", "poweroff", "-f"])?;
    same("status", done.status, 255)?;
    has(
        "stderr",
        &done.err(),
        "switched off before the command had ended",
    )
}

// SPDX-License-Identifier: MIT

//! Programs that are made to find faults: stress-ng checks what it reads back, hackbench has many
//! processes or threads on many pipes.

use crate::run::{Pipes, Place};
use crate::Test;

/// The tests.
pub const TESTS: &[Test] = &[
    ("stress_ng::pipe", pipe, always),
    (
        "stress_ng::pipe_fails_if_told_to_use_vmsplice",
        vmsplice,
        always,
    ),
    ("stress_ng::fifo", fifo, always),
    ("hackbench::processes", processes, always),
    ("hackbench::threads", threads, always),
];

fn always() -> Result<(), String> {
    Ok(())
}

/// stress-ng ends with another status than 0 if it has read something else than was written.
fn pipe(place: &Place) -> Result<(), String> {
    let program = place.program([
        "stress-ng",
        "--pipe",
        "2",
        "--pipe-ops",
        "30000",
        "--verify",
    ]);
    let program = program.args(&["--pipe-size", "128K"]);
    program.on_real_pipes()?;
    program.on_the_device()?.at_least(1, "sizes").map(drop)
}

/// vmsplice(2) asks for the kernel's own pipe, and says of anything else that it is no descriptor.
fn vmsplice(place: &Place) -> Result<(), String> {
    let program = place.program(["stress-ng", "--pipe", "1", "--pipe-ops", "5000"]);
    let program = program.args(&["--verify", "--pipe-vmsplice"]);
    program.on_real_pipes()?;
    let ended = program.start(Pipes::Device)?.finish()?.all_replaced()?;
    let said = ended.description();
    if ended.succeeded().is_err() && said.contains("errno=9 (Bad file descriptor)") {
        return Ok(());
    }
    Err(format!("expected EBADF: {said}"))
}

/// Its FIFO has a name that nobody knows before.
fn fifo(place: &Place) -> Result<(), String> {
    let program = place.program(["stress-ng", "--fifo", "1", "--fifo-ops", "3000", "--verify"]);
    program.on_real_pipes()?;
    let pattern = format!("--path={}/*/*fifo*=0", place.path("Device").display());
    let device = program.option(&pattern).start(Pipes::Device)?.finish()?;
    device.succeeded()?.at_least(2, "opens").map(drop)
}

fn processes(place: &Place) -> Result<(), String> {
    hackbench(place, "--process")
}

fn threads(place: &Place) -> Result<(), String> {
    hackbench(place, "--threads")
}

/// Two groups, each of 20 senders and 20 receivers.
fn hackbench(place: &Place, kind: &str) -> Result<(), String> {
    let program = place.program(["hackbench", "--pipe", kind, "-g", "2", "-l", "100"]);
    program.on_real_pipes()?;
    program
        .on_the_device()?
        .at_least(42, "device_pipes")
        .map(drop)
}

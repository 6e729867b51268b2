// SPDX-License-Identifier: MIT

//! `kpipe conformance`: each fact of pipe(7) and fifo(7) beside what the driver's queues do. The facts
//! are those of `kpipe-tests`, which this starts.

use crate::failure::{Failure, Result};
use clap::Parser;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Compare the driver's queues with the kernel's own pipe and FIFO, fact by fact.
///
/// A table with a row for each fact and a column for each subject: pipe(2), a FIFO, /dev/kpipeN, a
/// private pair, and an AF_UNIX socketpair where the fact is about it too. A cell says same (as a
/// pipe), differs and in which way (docs/differences.md), - where the fact does not apply, or FAILED.
/// It takes some minutes, and uses the first queues: nobody else may have them open.
#[derive(Parser)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Only facts whose name contains one of these (names: kpipe-tests --list)
    facts: Vec<String>,

    /// Print one JSON object, with the reason for each cell to which the fact does not apply
    #[arg(short, long)]
    json: bool,
}

const EXAMPLES: &str = "\
Exit status: 0 if each cell is explained, 1 otherwise.

Examples:
  kpipe conformance                  everything
  kpipe conformance poll:: packet::  two sections
  kpipe conformance --json | jq .counts";

/// The program with the facts.
const PROGRAM: &str = "kpipe-tests";

/// Runs the verb: becomes the program, so that its exit status is this one's.
pub fn run(args: &Args) -> Result<()> {
    let mut command = Command::new(PROGRAM);
    command.arg("--conformance");
    if args.json {
        command.arg("--json");
    }
    let error = command.args(&args.facts).exec();
    Err(match error.kind() {
        std::io::ErrorKind::NotFound => Failure::Differs(format!(
            "{PROGRAM} is not on the PATH: it is in the VM (qemu/vm -- kpipe conformance)"
        )),
        _ => Failure::io(PROGRAM)(error),
    })
}

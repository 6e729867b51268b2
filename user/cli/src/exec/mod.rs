// SPDX-License-Identifier: MIT

//! `kpipe exec`: an unmodified program with its pipes on the device.
//!
//! The work is done by the library of user/preload, which the program loads; this verb finds the
//! library, tells it by the environment what to do ([`contract`]), waits ([`child`]) and reports
//! ([`report`]).

pub mod child;
#[allow(dead_code)] // The other half of it is for the library.
#[path = "../../../preload/src/contract.rs"]
mod contract;
mod report;
mod tree;

use crate::failure::{Failure, Result};
use clap::Parser;
use kpipe::Queue;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use tree::Tree;

/// Run a program with its pipes on the device instead of the kernel's own.
///
/// pipe(2) and pipe2(2) of PROGRAM, and of every program that it starts, give two ends of a private
/// queue of the driver; what the device cannot do, the kernel's own pipe does. At the end one line on
/// standard error says how many pipes there were of each kind.
#[derive(Parser)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// Opens of this path go to the queue with this number, if a FIFO is there, or nothing; the path
    /// may be a pattern with *, ? and [...]; may be given several times
    #[arg(short, long = "path", value_name = "PATH=N", value_parser = parse_path)]
    paths: Vec<NamedPath>,

    /// Let fstat(2) say FIFO instead of character device for a queue that has a number (private
    /// queues are FIFOs anyway)
    #[arg(short = 'f', long)]
    report_fifo: bool,

    /// Run PROGRAM with the kernel's own pipes if the device is not there
    #[arg(short, long)]
    optional: bool,

    /// Write the counts to this file, as JSON
    #[arg(short, long, value_name = "FILE")]
    stats: Option<PathBuf>,

    /// Say nothing at the end
    #[arg(short, long)]
    quiet: bool,

    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "PROGRAM")]
    command: Vec<OsString>,
}

const AFTER_HELP: &str = "\
It works by a library that the program loads (LD_PRELOAD), so it does not reach
  - static programs, 32-bit ones, and programs that run set-user-ID
  - programs that are started without the environment (env -i, sudo)
  - pipes that are made by a raw system call, or inside libc: popen(3) makes its own
  - FIFOs (--path) that are opened relative to a folder's descriptor, and stat(2) by name

Exit status: that of PROGRAM, 128+N if signal N ended it; 125 if `kpipe exec` itself failed, 126 if \
PROGRAM could not be run, 127 if it was not found, 2 for wrong usage.

Examples:
  kpipe exec -- sh -c 'seq 1000000 | sort -R | sort -n | tail -n 1'
  kpipe exec --stats counts.json -- python3 -m test test_subprocess
  mkfifo /tmp/f; kpipe exec --path /tmp/f=0 -- sh -c 'cat /tmp/f & echo hello > /tmp/f; wait'";

/// Exit status if this verb failed, as env(1) and timeout(1) give it.
pub const EXIT_OWN_FAILURE: u8 = 125;

/// What `--path` says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct NamedPath {
    pattern: String,
    queue: u32,
}

/// Runs the verb; gives the exit status of the program.
pub fn run(args: &Args) -> ExitCode {
    match try_run(args) {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            eprintln!("kpipe: {failure}");
            ExitCode::from(EXIT_OWN_FAILURE)
        }
    }
}

fn try_run(args: &Args) -> Result<u8> {
    for path in &args.paths {
        let queue = Queue::number(path.queue);
        if let (Err(error), false) = (queue.monitor(), args.optional) {
            return Err(error.into());
        }
    }
    let tree = Tree::prepare(args)?;
    if args.quiet && args.stats.is_none() {
        // Nobody waits for numbers: the program takes the place of this one.
        return Ok(child::become_program(&args.command));
    }
    let status = child::run(&args.command)?;
    let report = report::Report::new(&tree.counts()?);
    if let Some(path) = &args.stats {
        let json = serde_json::to_vec_pretty(&report).expect("a report is valid JSON");
        std::fs::write(path, json).map_err(Failure::io(path.display()))?;
    }
    // What has not started (126 and 127) has not been missed either: the reason is printed already.
    let has_started = report.has_programs() || !matches!(status, 126 | 127);
    if !args.quiet && has_started {
        eprint!("{report}");
    }
    Ok(status)
}

fn parse_path(text: &str) -> std::result::Result<NamedPath, String> {
    let (path, queue) = text
        .rsplit_once('=')
        .ok_or("a path and the number of a queue, as in /tmp/f=0")?;
    let queue = queue
        .parse()
        .map_err(|_| format!("{queue:?} is no number of a queue"))?;
    if path.is_empty() || path.contains('\n') {
        return Err("a path with at least one character, and without line breaks".into());
    }
    // The program may change its folder.
    let pattern = std::path::absolute(path).map_err(|error| error.to_string())?;
    let pattern = pattern.into_os_string().into_string();
    Ok(NamedPath {
        pattern: pattern.map_err(|_| "a path in UTF-8")?,
        queue,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_equals_sign_separates_the_queue() {
        let wanted = NamedPath {
            pattern: "/tmp/a=b".into(),
            queue: 3,
        };
        assert_eq!(parse_path("/tmp/a=b=3"), Ok(wanted));
    }

    #[test]
    fn a_path_without_a_queue_is_refused() {
        for text in [
            "/tmp/a",
            "/tmp/a=",
            "=0",
            "/tmp/a=x",
            "/tmp/a=-1",
            "/tmp/a\nb=0",
        ] {
            assert!(parse_path(text).is_err(), "{text:?}");
        }
    }
}

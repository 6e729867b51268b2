// SPDX-License-Identifier: MIT

//! `kpipe trace`: what happens between a write(2) and the read(2) that gets its bytes.
//!
//! An [`Instance`] of tracefs records the driver's tracepoints while the command runs; [`parse`] makes [`event`]s
//! of the records, [`follow`] finds those of one request, [`timeline`] puts them into lanes, and [`text`] and [`svg`] show them.

mod event;
mod follow;
mod parse;
#[cfg(test)]
mod sample;
mod svg;
mod text;
mod timeline;
mod tracefs;

use crate::exec::{child, EXIT_OWN_FAILURE};
use crate::failure::{Failure, Result};
use crate::units::{parse_bytes, plural};
use clap::Parser;
use follow::Trace;
use kpipe::Queue;
use serde::Serialize;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use timeline::{median, Timeline};
use tracefs::Instance;

/// Run a command, and show the way of one of its writes to the read that gets the bytes.
///
/// The tracepoints of the driver (events/kpipe in tracefs) tell when a call begins, a transfer starts,
/// the interrupt comes, the bottom half runs, who sleeps and who is woken. Shown is the request (one
/// call of write) with the median time of those that woke a reader. Events of other programs that use
/// the device meanwhile are recorded too. A direct queue has no interrupt and no bottom half: `kpipe set 0
/// --transport doorbell` gives it both.
#[derive(Parser)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// Show this request
    #[arg(short, long, value_name = "N", conflicts_with = "all")]
    request: Option<u64>,

    /// List all writes, with the times of their stages, instead of showing one
    #[arg(short, long)]
    all: bool,

    /// Print JSON
    #[arg(short, long)]
    json: bool,

    /// Write what is shown to this file (not given: to standard error)
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Draw the request into this file too
    #[arg(short, long, value_name = "FILE")]
    svg: Option<PathBuf>,

    /// Memory for events for each processor: 1M holds some 25,000
    #[arg(short, long, value_name = "BYTES", default_value = "8M", value_parser = parse_bytes)]
    buffer: u64,

    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

const AFTER_HELP: &str = "\
Exit status: that of COMMAND, 128+N if signal N ended it; 125 if `kpipe trace` itself failed, 126 if \
COMMAND could not be run, 127 if it was not found, 2 for wrong usage.

Examples:
  kpipe trace -- sh -c 'kpipe recv 0 & { sleep 1; echo hello; } > /dev/kpipe0; wait'
  kpipe trace --all -- kpipe bench --only kpipe,ping-pong --scale 0.01
  kpipe trace --request 17 --svg request.svg -- COMMAND
  kpipe trace --json -o trace.json -- COMMAND";

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    /// Events that found no room in the buffer.
    lost_events: u64,
    requests: &'a [&'a Timeline],
}

/// Runs the verb; gives the exit status of the command.
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
    // Is there a module at all?
    Queue::all()?;
    let instance = Instance::new(args.buffer)?;
    instance.start()?;
    let status = child::run(&args.command)?;
    let events = instance.finish()?;
    let lost_events = instance.lost_events()?;
    drop(instance);
    // What has not started (126 and 127) has said so.
    if !events.is_empty() || !matches!(status, 126 | 127) {
        show(args, &Trace::new(&events), lost_events)?;
    }
    Ok(status)
}

fn show(args: &Args, trace: &Trace<'_>, lost_events: u64) -> Result<()> {
    if lost_events > 0 {
        eprintln!(
            "kpipe: {} lost: the buffer was full; --buffer gives it more memory",
            plural(lost_events, "event")
        );
    }
    let writes = trace.writes();
    let asked = match args.request {
        Some(number) => Some(
            trace
                .timeline(number)
                .ok_or_else(|| missing(number, &writes))?,
        ),
        None => None,
    };
    let chosen = asked.as_ref().or_else(|| median(&writes));
    let shown: Vec<&Timeline> = if args.all {
        writes.iter().collect()
    } else {
        chosen.into_iter().collect()
    };
    let text = if args.json {
        let requests = &shown;
        let report = Report {
            lost_events,
            requests,
        };
        serde_json::to_string_pretty(&report).map_err(Failure::io("JSON"))? + "\n"
    } else if args.all {
        text::list(&shown)
    } else {
        match chosen {
            Some(timeline) => text::timeline(timeline),
            None => "No write to a queue was seen from its begin to its end.\n".into(),
        }
    };
    match &args.output {
        Some(path) => fs::write(path, text).map_err(Failure::io(path.display()))?,
        None => eprint!("{text}"),
    }
    if let (Some(path), Some(timeline)) = (&args.svg, chosen) {
        fs::write(path, svg::draw(timeline)).map_err(Failure::io(path.display()))?;
    }
    Ok(())
}

fn missing(number: u64, writes: &[Timeline]) -> Failure {
    let seen = match (writes.first(), writes.last()) {
        (Some(first), Some(last)) => {
            format!(
                "seen were {} from {} to {} (--all lists them)",
                plural(writes.len() as u64, "write"),
                first.request,
                last.request
            )
        }
        _ => "no write was seen".into(),
    };
    Failure::Differs(format!(
        "--request {number}: not seen from its begin to its end; {seen}"
    ))
}

// SPDX-License-Identifier: MIT

//! `kpipe relay`: a queue to a queue of another machine.
//!
//! The way of a byte: [`read_side`] takes it from the queue and [`sending`] keeps it until the other side has
//! acknowledged it; [`message`] and [`link`] carry it; [`receiving`] holds it until [`write_side`] could write it.
//! [`pump`] is the loop of either side. `docs/relay.md` has the states and what becomes of each failure.

mod error;
mod later;
mod link;
mod message;
mod pump;
mod read_side;
mod receiving;
mod sending;
mod source;
#[cfg(test)]
mod tests;
mod write_side;

pub use error::{Error, Result};

use crate::failure::Failure;
use crate::units::{parse_time, plural};
use crate::{sys, terminal};
use clap::Parser;
use kpipe::channel::{Address, Carries, Observer, Options};
use kpipe::Queue;
use link::SHORTEST_SILENCE;
use pump::{Pump, Report, Side};
use read_side::ReadSide;
use sending::Outcome;
use serde::Serialize;
use source::Source;
use std::io::Write;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use write_side::WriteSide;

/// Carry a queue to a queue of another machine.
///
/// One relay runs on each machine. FROM and TO are a queue, kpipe:0 or fifo:/path, and an address where the
/// two relays meet, such as tcp:host:7000; one of them waits there (--listen). Bytes and packets arrive in order and
/// once. A reader that is missing or slow there lets the writer here sleep, one that has gone gives it a broken
/// pipe, and end of file comes after the last byte.
///
/// It carries one stream, until its end of file. What a lost connection means is in docs/relay.md.
#[derive(Parser)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The queue to read, or the address that it comes from
    from: Endpoint,

    /// The address that it goes to, or the queue to write
    to: Endpoint,

    /// Wait at the address for the other relay, instead of connecting to it
    #[arg(short, long)]
    listen: bool,

    /// Look for another connection for so long when there is none or it is lost, and go on where it was; without
    /// it a lost connection ends the relay
    #[arg(long, value_name = "TIME", default_value = "0s", hide_default_value = true, value_parser = parse_time)]
    reconnect: Duration,

    /// The connection is lost if nothing was heard for so long: not even that the other side lives. Each side may have
    /// its own: the other one is told, and speaks as often as that takes
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_silence)]
    silence: Duration,

    /// Show each step on stderr
    #[arg(short, long)]
    verbose: bool,

    /// Say on stdout how it ended, as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  kpipe relay --listen tcp::7000 kpipe:0    one machine: what comes goes into its queue
  kpipe relay kpipe:0 tcp:there:7000        the other: what is written to its queue goes there
  kpipe relay --reconnect 60s kpipe:0 tcp:there:7000
                                            waits until there is somebody, and outlives a lost connection";

/// A side of the relay, as a person types it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Endpoint {
    Queue(Queue),
    Address(Address),
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text.split_once(':') {
            Some(("kpipe", name)) if !name.is_empty() && name != "new" && !name.contains(',') => {
                let Ok(queue) = name.parse();
                Ok(Self::Queue(queue))
            }
            Some(("fifo", path)) if !path.is_empty() && !path.contains(',') => {
                Ok(Self::Queue(Queue::at(path)))
            }
            _ => match text.parse() {
                Ok(address) => Ok(Self::Address(address)),
                Err(error) => Err(format!("{error}; a queue is kpipe:0 or fifo:/path")),
            },
        }
    }
}

fn parse_silence(text: &str) -> std::result::Result<Duration, String> {
    parse_time(text).and_then(|time| match time {
        _ if time < SHORTEST_SILENCE => Err(format!("at least {}ms", SHORTEST_SILENCE.as_millis())),
        _ => Ok(time),
    })
}

/// What `--json` prints.
#[derive(Serialize)]
struct Summary {
    /// "complete" or "broken pipe".
    outcome: &'static str,
    /// In the queue there.
    bytes: u64,
    connections: u64,
}

/// Runs the verb.
pub fn run(args: &Args) -> std::result::Result<(), Failure> {
    // A broken pipe is news to be carried, and no reason to die.
    sys::ignore_sigpipe();
    let report = carry(args)?;
    if args.json {
        let summary = Summary {
            outcome: match report.outcome {
                Outcome::Complete => "complete",
                Outcome::Gone => "broken pipe",
            },
            bytes: report.bytes,
            connections: report.connections,
        };
        terminal::print(&format!("{}\n", serde_json::json!(summary)))?;
    }
    if args.verbose {
        let (bytes, connections) = (
            plural(report.bytes, "byte"),
            plural(report.connections, "connection"),
        );
        say(&format!("{bytes} over {connections}"));
    }
    match (report.outcome, &args.from, &args.to) {
        (Outcome::Complete, ..) => Ok(()),
        (Outcome::Gone, Endpoint::Queue(queue), _) => Err(Error::Gone {
            queue: format!("the queue that {queue} is carried to"),
            bytes: report.bytes,
        }
        .into()),
        (Outcome::Gone, Endpoint::Address(_), to) => Err(Error::Gone {
            queue: match to {
                Endpoint::Queue(queue) => queue.to_string(),
                Endpoint::Address(address) => address.to_string(),
            },
            bytes: report.bytes,
        }
        .into()),
    }
}

/// On stderr, if anybody listens: as SIGPIPE is ignored, eprintln! would panic where nobody does.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "kpipe: {text}");
}

fn carry(args: &Args) -> Result<Report> {
    let (mut side, address): (Box<dyn Side>, &Address) = match (&args.from, &args.to) {
        (Endpoint::Queue(queue), Endpoint::Address(to)) => {
            (Box::new(ReadSide::new(queue.clone())), to)
        }
        (Endpoint::Address(from), Endpoint::Queue(queue)) => {
            (Box::new(WriteSide::new(queue.clone())), from)
        }
        (Endpoint::Queue(_), Endpoint::Queue(_)) => return Err(Error::Sides { what: "queues" }),
        (Endpoint::Address(_), Endpoint::Address(_)) => {
            return Err(Error::Sides { what: "addresses" })
        }
    };
    if address.carries() != Carries::Bytes {
        return Err(Error::NoStream {
            address: Box::new(address.clone()),
        });
    }
    // Before anybody is told that there is a relay.
    side.check()?;
    let observer: Option<Observer> = args.verbose.then(|| Arc::new(say) as Observer);
    let options = Options {
        observer: observer.clone(),
        ..Options::default()
    };
    let source = if args.listen {
        Source::listen(address, &options)?
    } else {
        Source::connect(address.clone(), options)
    };
    let mut pump = Pump::new(&mut *side, source, address);
    (pump.reconnect, pump.silence, pump.observer) = (args.reconnect, args.silence, observer);
    pump.run()
}

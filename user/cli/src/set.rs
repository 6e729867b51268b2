// SPDX-License-Identifier: MIT

//! `kpipe set`: capacity, mode and counters of a queue.

use crate::failure::Result;
use crate::{terminal, units};
use clap::{ArgGroup, Parser, ValueEnum};
use kpipe::{Control, Mode, Queue};

/// Set the capacity or the mode of a queue, or its counters to zero.
///
/// The queue may be in use: those who use it lose nothing, and a writer who waits for room goes on
/// as soon as there is some.
#[derive(Parser)]
#[command(after_help = EXAMPLES, group = ArgGroup::new("what").args(["capacity", "mode", "reset_counters"]).required(true).multiple(true))]
pub struct Args {
    /// Number, name or path of the queue
    queue: Queue,

    /// Bytes that fit into the queue, as in 65536, 64K or 1M; rounded up to a power of two, at
    /// least 4K; above 1M for root only, at most 1G
    #[arg(short, long, value_name = "BYTES", value_parser = units::parse_bytes)]
    capacity: Option<u64>,

    /// What later writes become: a part of the stream of bytes, or packets, which a read takes one by
    /// one (as with O_DIRECT on a pipe)
    #[arg(short, long)]
    mode: Option<WriteMode>,

    /// Set the counters that `kpipe stat` shows to zero
    #[arg(short, long)]
    reset_counters: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum WriteMode {
    Stream,
    Packet,
}

const EXAMPLES: &str = "\
Examples:
  kpipe set 0 --capacity 1M
  kpipe set 0 --mode packet
  kpipe set kpipe3 --reset-counters";

/// Runs the verb. A new capacity is printed, because it may be more than was asked for.
pub fn run(args: &Args) -> Result<()> {
    let monitor = args.queue.monitor()?;
    if let Some(capacity_bytes) = args.capacity {
        let capacity_bytes = monitor.resize(capacity_bytes)?;
        terminal::print(&format!(
            "{}: capacity {capacity_bytes} bytes\n",
            args.queue
        ))?;
    }
    if let Some(mode) = args.mode {
        let (mode, name) = match mode {
            WriteMode::Stream => (Mode::Stream, "stream"),
            WriteMode::Packet => (Mode::Packet, "packet"),
        };
        monitor.set_mode(mode)?;
        terminal::print(&format!("{}: mode {name}\n", args.queue))?;
    }
    if args.reset_counters {
        monitor.reset_counters()?;
    }
    Ok(())
}

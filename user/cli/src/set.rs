// SPDX-License-Identifier: MIT

//! `kpipe set`: capacity, mode, transport and counters of a queue.

use crate::failure::Result;
use crate::{terminal, units};
use clap::{ArgGroup, Parser, ValueEnum};
use kpipe::{BottomHalf, Carrier, Control, Mode, Monitor, Queue, Transport};
use std::time::Duration;

/// Set the capacity, the mode or the transport of a queue, or its counters to zero.
///
/// The queue may be in use: those who use it lose nothing, and a writer who waits for room goes on
/// as soon as there is some. Only a change of the transport needs an empty queue.
#[derive(Parser)]
#[command(after_help = EXAMPLES, group = ArgGroup::new("what").args(["capacity", "mode", "reset_counters", "transport", "bottom_half", "posted", "no_posted", "limited", "no_limited", "tick", "bytes_per_tick"]).required(true).multiple(true))]
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

    /// Who brings written bytes to the reader: nobody (they are there), a timer, the interrupt of a PCI
    /// device, or its DMA
    #[arg(short, long, value_name = "NAME")]
    transport: Option<CarrierName>,

    /// Where the work of an interrupt is done: in its handler, in the soft interrupt, in a workqueue,
    /// or in the thread of the interrupt
    #[arg(short, long, value_name = "NAME")]
    bottom_half: Option<BottomHalfName>,

    /// A write returns when its bytes are on their way (`kpipe drain` waits for them)
    #[arg(long, overrides_with = "no_posted")]
    posted: bool,

    /// A write returns when its bytes have arrived
    #[arg(long)]
    no_posted: bool,

    /// With the doorbell: an interrupt carries at most --bytes-per-tick bytes
    #[arg(long, overrides_with = "no_limited")]
    limited: bool,

    /// With the doorbell: an interrupt carries all that there is
    #[arg(long)]
    no_limited: bool,

    /// With the timer: from one interrupt to the next, as in 1ms, 500us, 2s; at most 60s
    #[arg(long, value_name = "TIME", value_parser = units::parse_time)]
    tick: Option<Duration>,

    /// With the timer, and with --limited: most bytes that one interrupt carries
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    bytes_per_tick: Option<u32>,

    /// Set the counters that `kpipe stat` shows to zero
    #[arg(short, long)]
    reset_counters: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum WriteMode {
    Stream,
    Packet,
}

#[derive(Clone, Copy, ValueEnum)]
enum CarrierName {
    Direct,
    Timer,
    Doorbell,
    Dma,
}

#[derive(Clone, Copy, ValueEnum)]
enum BottomHalfName {
    Hard,
    Bh,
    Work,
    Thread,
}

const EXAMPLES: &str = "\
Examples:
  kpipe set 0 --capacity 1M
  kpipe set 0 --mode packet
  kpipe set 0 --transport doorbell --bottom-half thread --posted
  kpipe set 0 --transport timer --tick 10ms --bytes-per-tick 16
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
    set_transport(args, &monitor)?;
    if args.reset_counters {
        monitor.reset_counters()?;
    }
    Ok(())
}

/// What is not named stays as it is.
fn set_transport(args: &Args, monitor: &Monitor) -> Result<()> {
    let is_named = args.transport.is_some()
        || args.bottom_half.is_some()
        || args.posted
        || args.no_posted
        || args.limited
        || args.no_limited
        || args.tick.is_some()
        || args.bytes_per_tick.is_some();
    if !is_named {
        return Ok(());
    }
    let before = monitor.transport()?;
    let transport = Transport {
        carrier: args.transport.map_or(before.carrier, Carrier::from),
        bottom_half: args
            .bottom_half
            .map_or(before.bottom_half, BottomHalf::from),
        is_posted: args.posted || before.is_posted && !args.no_posted,
        is_limited: args.limited || before.is_limited && !args.no_limited,
        tick: args.tick.or(before.tick),
        bytes_per_tick: args.bytes_per_tick.or(before.bytes_per_tick),
    };
    monitor.set_transport(transport)?;
    let Transport {
        carrier,
        bottom_half,
        ..
    } = transport;
    let posted = if transport.is_posted { ", posted" } else { "" };
    let how = match carrier {
        Carrier::Direct => String::new(),
        _ => format!(", bottom half {bottom_half}{posted}"),
    };
    terminal::print(&format!("{}: transport {carrier}{how}\n", args.queue))
}

impl From<CarrierName> for Carrier {
    fn from(name: CarrierName) -> Self {
        match name {
            CarrierName::Direct => Self::Direct,
            CarrierName::Timer => Self::Timer,
            CarrierName::Doorbell => Self::Doorbell,
            CarrierName::Dma => Self::Dma,
        }
    }
}

impl From<BottomHalfName> for BottomHalf {
    fn from(name: BottomHalfName) -> Self {
        match name {
            BottomHalfName::Hard => Self::Hard,
            BottomHalfName::Bh => Self::Bh,
            BottomHalfName::Work => Self::Work,
            BottomHalfName::Thread => Self::Thread,
        }
    }
}

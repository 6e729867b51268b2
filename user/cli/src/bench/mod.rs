// SPDX-License-Identifier: MIT

//! `kpipe bench`: the device beside pipe(2), AF_UNIX and TCP, doing the same work in turn.
//!
//! What makes it fair: on every channel the same two processes with the same buffers and the same
//! loop of read(2) and write(2) ([`workload`]); all channels take turns within a round, each round
//! starting with another one; the clock runs from the writer's first write until the reader has the
//! last byte; the amount of work is fixed, so that no round depends on an earlier one; what arrives
//! is verified before anything is timed; the first round warms up and is not counted.

mod report;
mod workload;

use crate::channel::{check_unused, Channel};
use crate::failure::Result;
use crate::terminal;
use clap::{Parser, ValueEnum};
use kpipe::Queue;
use report::{Measured, Report, Unit};
use std::str::FromStr;
use workload::{Setting, Turns, Workload};

/// Measure the device beside pipe(2), AF_UNIX stream sockets and TCP over loopback.
///
/// Streams of 64 B, 4 KiB and 64 KiB blocks and a ping-pong of 1 B, between two processes. Channels
/// take turns within each round; shown are medians over the rounds, and how many times faster than
/// pipe(2) each is in the same round. Bytes are verified before the timing.
#[derive(Parser)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Measured rounds; one more comes first as warm-up
    #[arg(short, long, default_value = "5", value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,

    /// Only these channels and these workloads (all, where none is named)
    #[arg(short, long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<Name>,

    /// Multiply the amounts of work
    #[arg(short, long, value_name = "FACTOR", default_value = "1", value_parser = scale)]
    scale: f64,

    /// Report instructions, under `qemu/vm --icount`, whose clock counts them. The processes then
    /// change places only when one has to wait (SCHED_FIFO), so that the counts repeat
    #[arg(long)]
    icount: bool,

    /// The two queues, one there, one back (which only the ping-pong uses)
    #[arg(short, long, value_name = "QUEUE,QUEUE", default_value = "0,1")]
    queues: TwoQueues,

    /// Print JSON
    #[arg(short, long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  kpipe bench                                   everything
  kpipe bench --only kpipe,pipe,ping-pong       two channels, one workload
  kpipe bench --scale 10 --json > figures       ten times the work, for scripts
  taskset -c 0 kpipe bench                      both processes on one CPU
  qemu/vm --icount -- kpipe bench --icount      instructions per operation, from outside the VM";

/// What `--only` can name.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Name {
    Kpipe,
    Pipe,
    Unix,
    Tcp,
    #[value(name = "stream-64")]
    Stream64,
    #[value(name = "stream-4K")]
    Stream4K,
    #[value(name = "stream-64K")]
    Stream64K,
    PingPong,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    let setting = Setting {
        queues: &args.queues.0,
        scale: args.scale,
        turns: if args.icount {
            Turns::WhenBlocked
        } else {
            Turns::Fair
        },
    };
    let (channels, workloads) = selection(&args.only);
    if channels.contains(&Channel::Kpipe) {
        for queue in setting.queues {
            check_unused(queue, "--queues")?;
        }
    }
    let measured = measure(&channels, &workloads, &setting, args.rounds)?;
    let unit = if args.icount {
        Unit::Instructions
    } else {
        Unit::Nanoseconds
    };
    let report = Report::new(unit, args.rounds, &setting, &measured);
    terminal::print(&if args.json {
        report.json()?
    } else {
        report.text()
    })
}

/// What `--queues` names: two, because a process that answers itself would wait forever.
#[derive(Clone, Debug)]
struct TwoQueues([Queue; 2]);

impl FromStr for TwoQueues {
    type Err = &'static str;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        let queues: Vec<Queue> = text.split(',').flat_map(str::parse).collect();
        match <[Queue; 2]>::try_from(queues) {
            Ok(queues) if queues[0] != queues[1] => Ok(Self(queues)),
            _ => Err("two different queues, as in 0,1"),
        }
    }
}

fn scale(text: &str) -> std::result::Result<f64, String> {
    match text.parse() {
        Ok(factor) if (0.0001..=10_000.0).contains(&factor) => Ok(factor),
        _ => Err("a number from 0.0001 to 10000".into()),
    }
}

fn selection(only: &[Name]) -> (Vec<Channel>, Vec<Workload>) {
    let channels = Channel::ALL
        .into_iter()
        .zip([Name::Kpipe, Name::Pipe, Name::Unix, Name::Tcp]);
    let workloads = Workload::ALL.into_iter().zip([
        Name::Stream64,
        Name::Stream4K,
        Name::Stream64K,
        Name::PingPong,
    ]);
    (named(channels, only), named(workloads, only))
}

/// Those that are named in `only`, or all if none of this kind is.
fn named<T: Clone>(all: impl Iterator<Item = (T, Name)>, only: &[Name]) -> Vec<T> {
    let all: Vec<(T, Name)> = all.collect();
    let is_any_named = all.iter().any(|(_, name)| only.contains(name));
    let is_wanted = |name| !is_any_named || only.contains(&name);
    all.into_iter()
        .filter(|(_, name)| is_wanted(*name))
        .map(|(item, _)| item)
        .collect()
}

/// Warms up, then measures `rounds` rounds.
fn measure(
    channels: &[Channel],
    workloads: &[Workload],
    setting: &Setting,
    rounds: u32,
) -> Result<Vec<Measured>> {
    let mut measured = Vec::new();
    for &workload in workloads {
        measured.extend(
            channels
                .iter()
                .map(|&channel| Measured::new(channel, workload, setting.scale)),
        );
    }
    let bar = terminal::progress(measured.len() as u64 * u64::from(rounds + 1));
    for round in 0..=rounds {
        for of_one_workload in measured.chunks_mut(channels.len()) {
            // Whoever is first in a round follows another workload: take turns at that too.
            for turn in 0..channels.len() {
                let cell = &mut of_one_workload[(turn + round as usize) % channels.len()];
                bar.set_message(match round {
                    0 => "warming up".into(),
                    round => format!(
                        "round {round}: {}, {}",
                        cell.workload.label(),
                        cell.channel.label()
                    ),
                });
                let duration_ns =
                    workload::time(cell.channel, cell.workload, setting).map_err(|failure| {
                        failure.during(format!(
                            "{}, {}",
                            cell.channel.label(),
                            cell.workload.label()
                        ))
                    })?;
                if round > 0 {
                    cell.rounds_ns.push(duration_ns);
                }
                bar.inc(1);
            }
        }
    }
    bar.finish_and_clear();
    Ok(measured)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_restricts_each_kind_that_it_names() {
        assert_eq!(
            selection(&[]),
            (Channel::ALL.to_vec(), Workload::ALL.to_vec())
        );
        assert_eq!(
            selection(&[Name::PingPong]),
            (Channel::ALL.to_vec(), vec![Workload::PingPong])
        );
        assert_eq!(
            selection(&[Name::Tcp, Name::Pipe]),
            (vec![Channel::Pipe, Channel::Tcp], Workload::ALL.to_vec())
        );
    }

    #[test]
    fn two_different_queues_are_wanted() {
        let TwoQueues(queues) = "0,kpipe7".parse().unwrap();
        assert_eq!(queues, [Queue::number(0), Queue::number(7)]);
        for text in ["0", "0,0", "0,kpipe0", "0,1,2", ""] {
            assert!(text.parse::<TwoQueues>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_scale_is_a_sane_factor() {
        assert_eq!(scale("0.1"), Ok(0.1));
        for text in ["0", "-1", "nan", "inf", "x", "1e9"] {
            assert!(scale(text).is_err(), "{text}");
        }
    }
}

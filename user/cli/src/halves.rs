// SPDX-License-Identifier: MIT

//! `kpipe halves`: what each kind of bottom half costs, on one queue, beside a direct one.
//!
//! Three experiments for each kind: large writes with an interrupt for each 64 bytes (interrupts per second),
//! a reader that sleeps for each write (from the interrupt until it runs), and a stream of large blocks
//! from one thread to another, waiting and posted (throughput, and interrupts per write).

use crate::channel::check_unused;
use crate::failure::{Failure, Result};
use crate::terminal::{self, Align, Table};
use clap::Parser;
use kpipe::{percentile_ns, BottomHalf, Carrier, Control, Queue, Transport, Wait};
use serde::Serialize;
use std::io::{Read, Write};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

/// Compare the kinds of bottom halves: interrupts per second, time to the reader, throughput.
///
/// All on one queue, which must not be in use, over the PCI device's doorbell; the direct transport,
/// without any interrupt, is what they are compared with. Streams take turns over several rounds, and
/// what is shown of them are medians of the rounds' ratios. It takes some minutes; interrupted, it leaves the queue
/// with the transport of that moment.
#[derive(Parser)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Number, name or path of the queue
    #[arg(default_value = "0")]
    queue: Queue,

    /// Rounds of the streams
    #[arg(short, long, default_value = "5", value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,

    /// Print JSON
    #[arg(short, long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  kpipe halves                  the doorbell with each bottom half
  kpipe halves --json           all of it, for scripts
  kpipe stat --stages 0         every stage of the last one";

/// Place of the stage "awake" in [`Stages::stages`](kpipe::Stages::stages).
const AWAKE: usize = 5;
/// Large writes, each with 1,024 interrupts.
const RINGING_WRITES: usize = 100;
/// Writes to a sleeping reader.
const WAKES: u32 = 3_000;
/// Bytes of a small write.
const SMALL_BYTES: usize = 64;
/// Bytes of a large one.
const LARGE_BYTES: usize = 65_536;
/// Large writes in a round.
const LARGE_WRITES: usize = 400;
/// Small writes in a round.
const SMALL_WRITES: usize = 20_000;

/// All figures, as `--json` prints them.
#[derive(Serialize)]
struct Report {
    kernel: String,
    cpus_online: usize,
    rounds: u32,
    halves: Vec<Figures>,
}

#[derive(Default, Serialize)]
struct Figures {
    bottom_half: String,
    interrupts_per_second: f64,
    /// From the hard interrupt until the reader runs.
    awake_p50_ns: u64,
    awake_p99_ns: u64,
    awake_max_ns: u64,
    waiting: Stream,
    posted: Stream,
}

/// What writes do that wait for their arrival, or do not.
#[derive(Default, Serialize)]
struct Stream {
    /// Throughput with large blocks, as a part of that of the direct transport in the same round.
    to_direct: f64,
    interrupts_per_large_write: f64,
    interrupts_per_small_write: f64,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    let queue = &args.queue;
    check_unused(queue, "QUEUE")?;
    let before = queue.monitor()?.transport()?;
    let report = measure(queue, args.rounds);
    // Also after an error, and before it is told.
    queue.monitor()?.set_transport(before)?;
    let report = report?;
    terminal::print(&if args.json {
        serde_json::to_string_pretty(&report).map_err(Failure::io("JSON"))? + "\n"
    } else {
        report.text()
    })
}

fn measure(queue: &Queue, rounds: u32) -> Result<Report> {
    let bar = terminal::progress(BottomHalf::ALL.len() as u64 * u64::from(rounds + 2));
    let mut halves = Vec::new();
    for bottom_half in BottomHalf::ALL {
        let name = bottom_half.to_string();
        bar.set_message(name.clone());
        let waiting = Transport {
            carrier: Carrier::Doorbell,
            bottom_half,
            ..Transport::default()
        };
        let posted = Transport {
            is_posted: true,
            ..waiting
        };
        let mut figures = Figures {
            bottom_half: name,
            interrupts_per_second: interrupts(queue, waiting)?,
            ..Figures::default()
        };
        bar.inc(1);
        wakes(queue, waiting, &mut figures)?;
        bar.inc(1);
        let mut ratios = [Vec::new(), Vec::new()];
        for _ in 0..rounds {
            let direct = stream(queue, Transport::default(), LARGE_BYTES, LARGE_WRITES)?;
            let both = [
                (waiting, &mut figures.waiting),
                (posted, &mut figures.posted),
            ];
            for ((transport, figures), ratios) in both.into_iter().zip(&mut ratios) {
                let large = stream(queue, transport, LARGE_BYTES, LARGE_WRITES)?;
                let small = stream(queue, transport, SMALL_BYTES, SMALL_WRITES)?;
                ratios.push(direct.seconds / large.seconds);
                figures.interrupts_per_large_write = large.interrupts / LARGE_WRITES as f64;
                figures.interrupts_per_small_write = small.interrupts / SMALL_WRITES as f64;
            }
            bar.inc(1);
        }
        let [waiting, posted] = ratios.map(median);
        figures.waiting.to_direct = waiting;
        figures.posted.to_direct = posted;
        halves.push(figures);
    }
    bar.finish_and_clear();
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Ok(Report {
        kernel: kernel.trim().to_owned(),
        cpus_online: thread::available_parallelism().map_or(1, |cpus| cpus.get()),
        rounds,
        halves,
    })
}

/// One thread writes large blocks whose interrupts carry little, and reads them in between: interrupts
/// per second, without the work of waking somebody for each.
fn interrupts(queue: &Queue, transport: Transport) -> Result<f64> {
    let transport = Transport {
        is_limited: true,
        bytes_per_tick: Some(SMALL_BYTES as u32),
        ..transport
    };
    let (mut reader, mut writer) = open(queue, transport)?;
    let mut bytes = vec![7; LARGE_BYTES];
    let start = Instant::now();
    for _ in 0..RINGING_WRITES {
        writer.write_all(&bytes).map_err(Failure::io(queue))?;
        reader.read_exact(&mut bytes).map_err(Failure::io(queue))?;
    }
    let seconds = start.elapsed().as_secs_f64();
    Ok(reader.stages()?.interrupts as f64 / seconds)
}

/// A reader sleeps for each write.
fn wakes(queue: &Queue, transport: Transport, figures: &mut Figures) -> Result<()> {
    let (mut reader, mut writer) = open(queue, transport)?;
    let (told, tell) = (writer.info()?, queue.monitor()?);
    thread::scope(|scope| {
        let (done, is_done) = mpsc::channel();
        let reading = scope.spawn(move || {
            let mut bytes = [0; SMALL_BYTES];
            for _ in 0..WAKES {
                reader.read_exact(&mut bytes)?;
                // Fails if the writer has failed.
                let _ = done.send(());
            }
            std::io::Result::Ok(reader)
        });
        for turn in 1..=WAKES {
            // The next write finds it asleep: sleeps are counted before they begin.
            while tell.info()?.read.sleeps < told.read.sleeps + u64::from(turn) {
                if reading.is_finished() {
                    break;
                }
                thread::yield_now();
            }
            writer
                .write_all(&[7; SMALL_BYTES])
                .map_err(Failure::io(queue))?;
            if is_done.recv().is_err() {
                break;
            }
        }
        let reader = reading.join().expect("the reader does not panic");
        let stages = reader.map_err(Failure::io(queue))?.stages()?;
        let awake = &stages.stages[AWAKE];
        figures.awake_p50_ns = percentile_ns(awake, 50);
        figures.awake_p99_ns = percentile_ns(awake, 99);
        figures.awake_max_ns = awake.max_ns;
        Ok(())
    })
}

struct Streamed {
    seconds: f64,
    interrupts: f64,
}

/// One thread writes, another reads.
fn stream(
    queue: &Queue,
    transport: Transport,
    block_bytes: usize,
    writes: usize,
) -> Result<Streamed> {
    let (mut reader, mut writer) = open(queue, transport)?;
    let start = Instant::now();
    let reader = thread::scope(|scope| {
        let reading = scope.spawn(move || {
            let mut bytes = vec![0; block_bytes];
            let mut left = block_bytes * writes;
            while left > 0 {
                match reader.read(&mut bytes)? {
                    0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                    len => left -= len,
                }
            }
            std::io::Result::Ok(reader)
        });
        let bytes = vec![7; block_bytes];
        let written = (0..writes).try_for_each(|_| writer.write_all(&bytes));
        // Else the reader would wait for what was not written.
        drop(writer);
        let reader = reading.join().expect("the reader does not panic");
        written.and(reader)
    });
    let reader = reader.map_err(Failure::io(queue))?;
    let seconds = start.elapsed().as_secs_f64();
    Ok(Streamed {
        seconds,
        interrupts: reader.stages()?.interrupts as f64,
    })
}

/// Both ends of the queue, empty, on that transport, with its counters at zero.
fn open(queue: &Queue, transport: Transport) -> Result<(kpipe::Reader, kpipe::Writer)> {
    let monitor = queue.monitor()?;
    monitor.set_transport(transport)?;
    monitor.reset_counters()?;
    // Neither of the two that are returned waits for its partner then, but for bytes and room they do.
    let first = queue.reader(Wait::Never)?;
    let writer = queue.writer(Wait::Block)?;
    let reader = queue.reader(Wait::Block)?;
    drop(first);
    Ok((reader, writer))
}

fn median(mut ratios: Vec<f64>) -> f64 {
    ratios.sort_by(f64::total_cmp);
    ratios.get(ratios.len() / 2).copied().unwrap_or(0.0)
}

impl Report {
    fn text(&self) -> String {
        let mut table = Table::new(&[
            ("bottom half", Align::Left),
            ("interrupts/s", Align::Right),
            ("awake p50", Align::Right),
            ("p99", Align::Right),
            ("max", Align::Right),
            ("64 KiB waiting", Align::Right),
            ("posted", Align::Right),
            ("irq/64 KiB waiting", Align::Right),
            ("posted", Align::Right),
            ("irq/64 B waiting", Align::Right),
            ("posted", Align::Right),
        ]);
        for half in &self.halves {
            let microseconds = |ns: u64| format!("{:.1} us", ns as f64 / 1e3);
            table.row([
                half.bottom_half.clone(),
                format!("{:.0}", half.interrupts_per_second),
                microseconds(half.awake_p50_ns),
                microseconds(half.awake_p99_ns),
                microseconds(half.awake_max_ns),
                format!("{:.2} x", half.waiting.to_direct),
                format!("{:.2} x", half.posted.to_direct),
                format!("{:.2}", half.waiting.interrupts_per_large_write),
                format!("{:.2}", half.posted.interrupts_per_large_write),
                format!("{:.2}", half.waiting.interrupts_per_small_write),
                format!("{:.2}", half.posted.interrupts_per_small_write),
            ]);
        }
        format!(
            "Linux {}, {} CPUs, doorbell, {} rounds\n\n{}\n  \
             interrupts/s: one for each 64 B of large writes. awake: from the hard interrupt until a\n  \
             sleeping reader runs. 64 KiB: throughput between two threads, to that of the direct transport.\n  \
             irq: interrupts per write. waiting: a write returns when its bytes have arrived; posted: when they\n  \
             are on their way.\n",
            self.kernel,
            self.cpus_online,
            self.rounds,
            table.render()
        )
    }
}

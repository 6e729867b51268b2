// SPDX-License-Identifier: MIT

//! `kpipe stat`: state and counters of queues, once or again and again, for people or as JSON.
//!
//! It opens each queue with access mode 3, which makes it neither a reader nor a writer
//! ([`kpipe::Monitor`]): nobody who waits for a partner takes `stat` for one.

mod stages;

use crate::failure::{Failure, Result};
use crate::terminal::{self, Align, Table};
use crate::units::short_bytes;
use clap::Parser;
use kpipe::{Carrier, Control, Counters, Info, Queue, Transport};
use serde::Serialize;
use std::io::IsTerminal;
use std::time::Duration;

/// Show state and counters of queues, without disturbing those who use them.
///
/// In MODE packet every write is a packet. TRANSPORT is who brings written bytes to the reader, and where
/// the work of its interrupts is done. QUEUED of CAPACITY bytes wait to be read; READERS and WRITERS have
/// the queue open now (or wait in open for a partner). Then what each side has done since the counters were last zero: bytes
/// moved, operations, how often a process slept because the queue was full (writing) or empty
/// (reading), and how often the queue woke one.
#[derive(Parser)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Numbers, names or paths of queues; none: all
    queues: Vec<Queue>,

    /// Show them again every SECS seconds (1 if not given) until Ctrl-C
    #[arg(short, long, value_name = "SECS", num_args = 0..=1, require_equals = true, default_missing_value = "1", value_parser = seconds)]
    watch: Option<Duration>,

    /// Show how long the stages of the requests took instead: the times that half of them and 99 % do
    /// not exceed (up to an eighth more), and the longest. A direct queue has only zeros
    #[arg(short, long)]
    stages: bool,

    /// Print a JSON array with one object for each queue; with --watch one array per line
    #[arg(short, long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  kpipe stat                        all queues
  kpipe stat --watch=0.2 0 kpipe3   two queues, five times a second
  kpipe stat --stages 0             from a write to the reader that runs
  kpipe stat --json 0 | jq '.[0].queued_bytes'";

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    let queues = if args.queues.is_empty() {
        Queue::all()?
    } else {
        args.queues.clone()
    };
    let Some(pause) = args.watch else {
        return terminal::print(&look(args, &queues)?);
    };
    let repaints = !args.json && std::io::stdout().is_terminal();
    let mut is_first = true;
    loop {
        // Opened anew each time: a monitor that stayed open would keep the module from being unloaded.
        let text = look(args, &queues)?;
        let before = match (repaints, args.json, is_first) {
            // Cursor to the top left, clear to the end (ECMA-48: CUP, ED).
            (true, ..) => "\x1b[H\x1b[J",
            (false, false, false) => "\n",
            (false, ..) => "",
        };
        terminal::print(&format!("{before}{text}"))?;
        is_first = false;
        std::thread::sleep(pause);
    }
}

fn seconds(text: &str) -> std::result::Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|error| format!("{error}"))?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(pause) if pause >= Duration::from_millis(10) => Ok(pause),
        _ => Err("at least 0.01 seconds".into()),
    }
}

fn look(args: &Args, queues: &[Queue]) -> Result<String> {
    if args.stages {
        return stages::show(queues, args.json);
    }
    let look_at = |queue: &Queue| {
        let monitor = queue.monitor()?;
        Ok(QueueJson::new(
            queue,
            &monitor.info()?,
            monitor.transport()?,
        ))
    };
    render(&each(queues, look_at)?, args.json)
}

/// What `look` sees of each queue. One whose device has gone tells nothing until its last close: this is said, and the
/// others are shown.
fn each<T>(queues: &[Queue], look: impl Fn(&Queue) -> kpipe::Result<T>) -> Result<Vec<T>> {
    let mut seen = Vec::new();
    for queue in queues {
        match look(queue) {
            Ok(one) => seen.push(one),
            Err(error @ kpipe::Error::DeviceGone { .. }) if queues.len() > 1 => {
                eprintln!("kpipe: {error}");
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(seen)
}

fn render(queues: &[QueueJson], json: bool) -> Result<String> {
    if json {
        let text = serde_json::to_string(queues).map_err(Failure::io("JSON"))?;
        return Ok(text + "\n");
    }
    let mut table = Table::new(&[
        ("QUEUE", Align::Left),
        ("MODE", Align::Left),
        ("TRANSPORT", Align::Left),
        ("CAPACITY", Align::Right),
        ("QUEUED", Align::Right),
        ("WRITERS", Align::Right),
        ("READERS", Align::Right),
        ("  WRITTEN", Align::Right),
        ("OPS", Align::Right),
        ("SLEPT", Align::Right),
        ("WOKEN", Align::Right),
        ("  READ", Align::Right),
        ("OPS", Align::Right),
        ("SLEPT", Align::Right),
        ("WOKEN", Align::Right),
    ]);
    for queue in queues {
        let counters = |side: &CountersJson| {
            [
                short_bytes(side.bytes),
                side.operations.to_string(),
                side.sleeps.to_string(),
                side.wakeups.to_string(),
            ]
        };
        let state = [
            queue.queue.clone(),
            queue.mode.to_owned(),
            queue.transport.short(),
            short_bytes(queue.capacity_bytes),
            short_bytes(queue.queued_bytes),
            queue.writers.to_string(),
            queue.readers.to_string(),
        ];
        table.row(
            state
                .into_iter()
                .chain(counters(&queue.write))
                .chain(counters(&queue.read)),
        );
    }
    Ok(table.render())
}

/// What `--json` prints for one queue: the fields of [`Info`] under their own names.
#[derive(Serialize)]
struct QueueJson {
    queue: String,
    index: u32,
    version: u32,
    mode: &'static str,
    transport: TransportJson,
    capacity_bytes: u64,
    queued_bytes: u64,
    writers: u32,
    readers: u32,
    write: CountersJson,
    read: CountersJson,
}

/// [`Transport`] under the names that `kpipe set` has.
#[derive(Serialize)]
struct TransportJson {
    transport: String,
    bottom_half: Option<String>,
    posted: bool,
    tick_ns: Option<u64>,
    bytes_per_tick: Option<u32>,
}

impl TransportJson {
    /// One word for the table.
    fn short(&self) -> String {
        let posted = if self.posted { "+posted" } else { "" };
        match &self.bottom_half {
            Some(bottom_half) => format!("{}/{bottom_half}{posted}", self.transport),
            None => self.transport.clone(),
        }
    }
}

impl From<Transport> for TransportJson {
    fn from(transport: Transport) -> Self {
        let is_direct = transport.carrier == Carrier::Direct;
        let is_timer = transport.carrier == Carrier::Timer;
        let is_limited = transport.carrier == Carrier::Doorbell && transport.is_limited;
        let ns = |tick: Duration| u64::try_from(tick.as_nanos()).ok();
        Self {
            transport: transport.carrier.to_string(),
            bottom_half: (!is_direct).then(|| transport.bottom_half.to_string()),
            posted: transport.is_posted && !is_direct,
            tick_ns: transport.tick.filter(|_| is_timer).and_then(ns),
            bytes_per_tick: transport.bytes_per_tick.filter(|_| is_timer || is_limited),
        }
    }
}

/// [`Counters`] under their own names.
#[derive(Serialize)]
struct CountersJson {
    bytes: u64,
    operations: u64,
    sleeps: u64,
    wakeups: u64,
}

impl QueueJson {
    fn new(queue: &Queue, info: &Info, transport: Transport) -> Self {
        Self {
            queue: queue.to_string(),
            index: info.index,
            version: info.version,
            mode: if info.mode == kpipe::MODE_PACKET {
                "packet"
            } else {
                "stream"
            },
            transport: transport.into(),
            capacity_bytes: info.capacity_bytes,
            queued_bytes: info.queued_bytes,
            writers: info.writers,
            readers: info.readers,
            write: info.write.into(),
            read: info.read.into(),
        }
    }
}

impl From<Counters> for CountersJson {
    fn from(counters: Counters) -> Self {
        let Counters {
            bytes,
            operations,
            sleeps,
            wakeups,
        } = counters;
        Self {
            bytes,
            operations,
            sleeps,
            wakeups,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Vec<QueueJson> {
        let info = Info {
            version: 1,
            index: 3,
            readers: 2,
            writers: 1,
            capacity_bytes: 65536,
            queued_bytes: 100,
            write: Counters {
                bytes: 2_000_000,
                operations: 40,
                sleeps: 5,
                wakeups: 4,
            },
            read: Counters {
                bytes: 1_999_900,
                operations: 60,
                sleeps: 7,
                wakeups: 6,
            },
            ..Info::default()
        };
        let transport = Transport {
            carrier: Carrier::Doorbell,
            is_posted: true,
            is_limited: false,
            ..Transport::default()
        };
        vec![QueueJson::new(&Queue::number(3), &info, transport)]
    }

    #[test]
    fn json_has_every_field_under_its_name() {
        let text = render(&example(), true).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let expected = serde_json::json!([{
            "queue": "/dev/kpipe3", "index": 3, "version": 1, "mode": "stream",
            "transport": { "transport": "doorbell", "bottom_half": "bh", "posted": true, "tick_ns": null, "bytes_per_tick": null },
            "capacity_bytes": 65536, "queued_bytes": 100,
            "writers": 1, "readers": 2,
            "write": { "bytes": 2_000_000, "operations": 40, "sleeps": 5, "wakeups": 4 },
            "read": { "bytes": 1_999_900, "operations": 60, "sleeps": 7, "wakeups": 6 },
        }]);
        assert_eq!(value, expected);
        assert_eq!(
            text.matches('\n').count(),
            1,
            "one line, so that --watch gives JSON lines"
        );
    }

    #[test]
    fn the_table_has_the_same_numbers_in_the_order_of_its_head() {
        let text = render(&example(), false).unwrap();
        let words: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
        let expected = [
            "/dev/kpipe3",
            "stream",
            "doorbell/bh+posted",
            "64K",
            "100",
            "1",
            "2",
            "1.9M",
            "40",
            "5",
            "4",
            "1.9M",
            "60",
            "7",
            "6",
        ];
        assert_eq!(words, expected);
    }

    #[test]
    fn pauses_are_seconds_of_some_length() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for text in ["0", "-1", "nan", "inf", "1e300", "x"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}

// SPDX-License-Identifier: MIT

//! [`Report`]: the figures of a bench, as a table or as JSON.

use crate::bench::workload::{Setting, Workload};
use crate::channel::Channel;
use crate::failure::{Failure, Result};
use crate::terminal::{Align, Table};
use crate::units::{plural, thousands};
use serde::Serialize;

/// The rounds of one channel with one workload.
pub struct Measured {
    /// The channel.
    pub channel: Channel,
    /// What was done over it.
    pub workload: Workload,
    /// Operations in each round.
    pub operations: u64,
    /// Duration of each round in nanoseconds.
    pub rounds_ns: Vec<u64>,
}

impl Measured {
    /// Nothing measured yet.
    pub fn new(channel: Channel, workload: Workload, scale: f64) -> Self {
        Self {
            channel,
            workload,
            operations: workload.operations(scale),
            rounds_ns: Vec::new(),
        }
    }
}

/// What the clock's nanoseconds are.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Time.
    Nanoseconds,
    /// Instructions executed: QEMU's `-icount shift=0`.
    Instructions,
}

/// All figures. This is also what `--json` prints.
#[derive(Serialize)]
pub struct Report {
    unit: Unit,
    kernel: String,
    cpus_online: usize,
    queue: String,
    rounds: u32,
    results: Vec<Figures>,
}

/// The figures of one channel with one workload.
#[derive(Serialize)]
struct Figures {
    #[serde(skip)]
    label: &'static str,
    workload: &'static str,
    channel: Channel,
    block_bytes: usize,
    operations_per_round: u64,
    /// Median, in the report's unit: a block that goes through, or a round trip.
    per_operation: f64,
    /// By the median.
    operations_per_second: f64,
    /// By the median; streams only.
    megabytes_per_second: Option<f64>,
    /// How many times faster than pipe(2): the median of the rounds' ratios.
    speed_to_pipe: Option<f64>,
    /// (slowest - fastest) / median, in percent.
    spread_percent: f64,
    /// All rounds, in the report's unit.
    rounds: Vec<u64>,
}

impl Report {
    /// Computes the figures.
    pub fn new(unit: Unit, rounds: u32, setting: &Setting, measured: &[Measured]) -> Self {
        let reference = |workload| {
            measured
                .iter()
                .find(|cell| cell.channel == Channel::Pipe && cell.workload == workload)
        };
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            unit,
            kernel: kernel.trim().to_owned(),
            cpus_online: std::thread::available_parallelism().map_or(1, |cpus| cpus.get()),
            queue: setting.queues[0].to_string(),
            rounds,
            results: measured
                .iter()
                .map(|cell| Figures::new(cell, reference(cell.workload)))
                .collect(),
        }
    }

    /// For scripts.
    pub fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self).map_err(Failure::io("JSON"))? + "\n")
    }

    /// For people.
    pub fn text(&self) -> String {
        let per_operation = match self.unit {
            Unit::Nanoseconds => "us/op",
            Unit::Instructions => "instr/op",
        };
        let mut table = Table::new(&[
            ("", Align::Left),
            ("channel", Align::Left),
            (per_operation, Align::Right),
            ("rate", Align::Right),
            ("to pipe(2)", Align::Right),
            ("spread", Align::Right),
        ]);
        let mut last_workload = "";
        for figures in &self.results {
            let is_same = figures.workload == last_workload;
            last_workload = figures.workload;
            table.row(figures.cells(
                self.unit,
                &self.queue,
                if is_same { "" } else { figures.label },
            ));
        }
        let unit = match self.unit {
            Unit::Nanoseconds => "us/op: microseconds",
            Unit::Instructions => "instr/op: instructions of both processes and the kernel",
        };
        format!(
            "Linux {}, {}, medians of {}\n\n{}\n  \
             {unit} per block, or per round trip.\n  \
             to pipe(2): how many times as fast, in the same round. spread: slowest to fastest round.\n  \
             All channels: the same processes, buffers and loops, bytes verified first, the clock stops when\n  \
             the reader has all. TCP_NODELAY for the ping-pong.\n",
            self.kernel,
            plural(self.cpus_online as u64, "CPU"),
            plural(self.rounds.into(), "round"),
            table.render()
        )
    }
}

impl Figures {
    fn new(cell: &Measured, reference: Option<&Measured>) -> Self {
        let per_round = |ns: u64| ns as f64 / cell.operations as f64;
        let per_operation = median(cell.rounds_ns.iter().map(|&ns| per_round(ns)));
        let operations_per_second = 1e9 / per_operation;
        let bytes_per_second = operations_per_second * cell.workload.block_bytes() as f64;
        let ratios = reference.map(|reference| {
            let pairs = reference.rounds_ns.iter().zip(&cell.rounds_ns);
            pairs.map(|(&pipe_ns, &own_ns)| pipe_ns as f64 / own_ns as f64)
        });
        let slowest = cell.rounds_ns.iter().copied().max().unwrap_or(0);
        let fastest = cell.rounds_ns.iter().copied().min().unwrap_or(0);
        Self {
            label: cell.workload.label(),
            workload: cell.workload.id(),
            channel: cell.channel,
            block_bytes: cell.workload.block_bytes(),
            operations_per_round: cell.operations,
            per_operation,
            operations_per_second,
            megabytes_per_second: (cell.workload != Workload::PingPong)
                .then_some(bytes_per_second / 1e6),
            speed_to_pipe: ratios.map(median),
            spread_percent: 100.0 * per_round(slowest - fastest) / per_operation,
            rounds: cell.rounds_ns.clone(),
        }
    }

    fn cells(&self, unit: Unit, queue: &str, title: &str) -> [String; 6] {
        let per_operation = match unit {
            Unit::Nanoseconds => format!("{:.2}", self.per_operation / 1000.0),
            Unit::Instructions => thousands(self.per_operation.round() as u64),
        };
        let rate = match (unit, self.megabytes_per_second) {
            // By a clock that counts instructions.
            (Unit::Instructions, _) => "-".into(),
            (Unit::Nanoseconds, Some(rate)) => format!("{rate:.1} MB/s"),
            (Unit::Nanoseconds, None) => {
                format!("{}/s", thousands(self.operations_per_second.round() as u64))
            }
        };
        [
            title.to_owned(),
            match self.channel {
                Channel::Kpipe => queue.to_owned(),
                other => other.label().to_owned(),
            },
            per_operation,
            rate,
            self.speed_to_pipe
                .map_or_else(|| "-".into(), |ratio| format!("{ratio:.2} x")),
            format!("{:.1} %", self.spread_percent),
        ]
    }
}

/// The middle value, or the mean of the two in the middle; 0 for none.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::workload::Turns;
    use kpipe::Queue;

    const WORKLOAD: Workload = Workload::Stream { block_bytes: 4096 };

    fn report() -> Report {
        let cell = |channel, rounds_ns: &[u64]| Measured {
            channel,
            workload: WORKLOAD,
            operations: 100,
            rounds_ns: rounds_ns.to_vec(),
        };
        // The second round was slow for all: ratios of medians would say 1.5, those of rounds say 2.
        let measured = [
            cell(Channel::Kpipe, &[100_000, 400_000, 200_000]),
            cell(Channel::Pipe, &[200_000, 800_000, 300_000]),
        ];
        let queues = [Queue::number(0), Queue::number(1)];
        let setting = Setting {
            queues: &queues,
            scale: 1.0,
            turns: Turns::Fair,
        };
        Report::new(Unit::Nanoseconds, 3, &setting, &measured)
    }

    #[test]
    fn medians_are_in_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), 2.5);
    }

    #[test]
    fn the_ratio_is_the_median_of_the_rounds_ratios() {
        let report = report();
        assert_eq!(report.results[0].speed_to_pipe, Some(2.0));
        assert_eq!(report.results[1].speed_to_pipe, Some(1.0));
    }

    #[test]
    fn json_has_the_documented_fields() {
        let value: serde_json::Value = serde_json::from_str(&report().json().unwrap()).unwrap();
        assert_eq!(value["unit"], "nanoseconds");
        assert_eq!(value["rounds"], 3);
        let first = &value["results"][0];
        assert_eq!(first["workload"], "stream-4K");
        assert_eq!(first["channel"], "kpipe");
        assert_eq!(first["per_operation"], 2000.0);
        assert_eq!(first["operations_per_second"], 500_000.0);
        assert_eq!(first["megabytes_per_second"], 2048.0);
        assert_eq!(first["spread_percent"], 150.0);
        assert_eq!(
            first["rounds"],
            serde_json::json!([100_000, 400_000, 200_000])
        );
    }

    #[test]
    fn the_table_shows_microseconds_rates_and_ratios() {
        let text = report().text();
        let line = text
            .lines()
            .find(|line| line.contains("/dev/kpipe0 "))
            .unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(
            words,
            [
                "4",
                "KiB",
                "blocks",
                "/dev/kpipe0",
                "2.00",
                "2048.0",
                "MB/s",
                "2.00",
                "x",
                "150.0",
                "%"
            ]
        );
    }
}

// SPDX-License-Identifier: MIT

//! `kpipe stat --stages`: how long each stage of the requests on a queue took.

use super::each;
use crate::failure::{Failure, Result};
use crate::terminal::{Align, Table};
use crate::units::{micros, thousands};
use kpipe::{percentile_ns, Control, Histogram, Queue, Stages};
use serde::Serialize;

/// The stages, in the order of [`Stages::stages`]: name, from, to.
const STAGES: [(&str, &str); 6] = [
    ("queued", "write to start of transfer"),
    ("device", "start of transfer to interrupt"),
    ("deferred", "interrupt to bottom half"),
    ("bottom half", "its begin to its end"),
    ("wakeup", "wake to reader running"),
    ("awake", "interrupt to reader running"),
];

/// The tables of `queues`, or one array in JSON.
pub fn show(queues: &[Queue], json: bool) -> Result<String> {
    let look = |queue: &Queue| {
        let stages = queue.monitor()?.stages()?;
        Ok(QueueStages::new(queue, &stages))
    };
    let seen = each(queues, look)?;
    if json {
        let text = serde_json::to_string(&seen).map_err(Failure::io("JSON"))?;
        return Ok(text + "\n");
    }
    let tables: Vec<String> = seen.iter().map(QueueStages::table).collect();
    Ok(tables.join("\n"))
}

/// What `--json` prints for one queue.
#[derive(Serialize)]
struct QueueStages {
    queue: String,
    interrupts: u64,
    transfers: u64,
    stages: Vec<Stage>,
}

#[derive(Serialize)]
struct Stage {
    stage: &'static str,
    #[serde(skip)]
    between: &'static str,
    count: u64,
    p50_ns: u64,
    p99_ns: u64,
    max_ns: u64,
    sum_ns: u64,
}

impl QueueStages {
    fn new(queue: &Queue, stages: &Stages) -> Self {
        let each = STAGES.iter().zip(&stages.stages);
        Self {
            queue: queue.to_string(),
            interrupts: stages.interrupts,
            transfers: stages.transfers,
            stages: each
                .map(|(names, histogram)| Stage::new(*names, histogram))
                .collect(),
        }
    }

    fn table(&self) -> String {
        let mut table = Table::new(&[
            ("STAGE", Align::Left),
            ("COUNT", Align::Right),
            ("P50", Align::Right),
            ("P99", Align::Right),
            ("MAX", Align::Right),
            ("FROM", Align::Left),
        ]);
        for stage in &self.stages {
            let time = |time_ns| match stage.count {
                0 => "-".into(),
                _ => micros(time_ns),
            };
            table.row([
                stage.stage.into(),
                thousands(stage.count),
                time(stage.p50_ns),
                time(stage.p99_ns),
                time(stage.max_ns),
                stage.between.into(),
            ]);
        }
        format!(
            "{}: {} transfers, {} interrupts\n{}",
            self.queue,
            thousands(self.transfers),
            thousands(self.interrupts),
            table.render()
        )
    }
}

impl Stage {
    fn new((stage, between): (&'static str, &'static str), histogram: &Histogram) -> Self {
        Self {
            stage,
            between,
            count: histogram.count,
            p50_ns: percentile_ns(histogram, 50),
            p99_ns: percentile_ns(histogram, 99),
            max_ns: histogram.max_ns,
            sum_ns: histogram.sum_ns,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_that_never_came_has_no_times() {
        let mut stages = Stages {
            interrupts: 2000,
            ..Stages::default()
        };
        // 1,024 ns to 1,151 ns.
        stages.stages[1].buckets[64] = 2000;
        stages.stages[1].count = 2000;
        stages.stages[1].max_ns = 1100;
        let table = QueueStages::new(&Queue::number(2), &stages).table();
        assert!(
            table.starts_with("/dev/kpipe2: 0 transfers, 2,000 interrupts\n"),
            "{table}"
        );
        let line = |start: &str| {
            let line = table.lines().find(|line| line.trim().starts_with(start));
            line.unwrap()
                .split_whitespace()
                .take(8)
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(line("device"), "device 2,000 1.100 us 1.100 us 1.100 us");
        assert!(line("queued").starts_with("queued 0 - - -"), "{table}");
    }
}

// SPDX-License-Identifier: MIT

//! [`Outcome`]: what came of a load: counts, times and why clients failed; and how people and scripts read it.

use crate::terminal::{Align, Table};
use crate::units::{plural, short_bytes, thousands};
use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What came of it, also while it runs.
#[derive(Clone, Debug)]
pub struct Outcome {
    clients: u64,
    requests: u64,
    connect_ns: Histogram<u64>,
    latency_ns: Histogram<u64>,
    failures: BTreeMap<String, u64>,
    began: Option<Instant>,
    last_answer: Option<Instant>,
}

/// As scripts read it.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Clients that counted.
    pub clients: u64,
    /// Of these, connected; a server's backlog is enough for that.
    pub connected: u64,
    /// All that should have been answered.
    pub requests: u64,
    /// Those that were.
    pub answered: u64,
    /// From the first request to the last answer.
    pub seconds: f64,
    /// Answers in a second.
    pub per_second: f64,
    /// Why clients ended early, and how many. A client asks no more after a failure.
    pub failures: BTreeMap<String, u64>,
    /// Of the connections.
    pub connect_ns: Times,
    /// From a request's first byte to its answer's last.
    pub latency_ns: Times,
}

/// A distribution in nanoseconds, exact to three digits.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Times {
    /// Half are not longer.
    pub p50: u64,
    /// 99 of 100 are not longer.
    pub p99: u64,
    /// 999 of 1000 are not longer.
    pub p99_9: u64,
    /// The longest.
    pub max: u64,
}

/// What takes longer counts as an hour.
const LONGEST_NS: u64 = 3_600_000_000_000;

impl Outcome {
    /// Nothing yet, of so many.
    pub fn new(clients: u64, requests: u64) -> Self {
        let histogram = || Histogram::new_with_bounds(1, LONGEST_NS, 3).expect("these are allowed");
        Self {
            clients,
            requests,
            connect_ns: histogram(),
            latency_ns: histogram(),
            failures: BTreeMap::new(),
            began: None,
            last_answer: None,
        }
    }

    /// The first request goes out; called again it changes nothing.
    pub fn begin(&mut self) {
        self.began.get_or_insert_with(Instant::now);
    }

    /// A client is connected.
    pub fn connected(&mut self, after: Duration) {
        self.connect_ns.saturating_record(after.as_nanos() as u64);
    }

    /// A request was answered.
    pub fn answered(&mut self, after: Duration) {
        self.latency_ns.saturating_record(after.as_nanos() as u64);
        self.last_answer = Some(Instant::now());
    }

    /// A client ended early.
    pub fn failed(&mut self, why: String) {
        *self.failures.entry(why).or_default() += 1;
    }

    /// How many clients are or were connected, and how many requests answered: cheap, while it runs.
    pub fn progress(&self) -> (u64, u64) {
        (self.connect_ns.len(), self.latency_ns.len())
    }

    /// All there is.
    pub fn figures(&self) -> Figures {
        let time = self.began.zip(self.last_answer);
        let seconds = time.map_or(0.0, |(began, last)| (last - began).as_secs_f64());
        let answered = self.latency_ns.len();
        Figures {
            clients: self.clients,
            connected: self.connect_ns.len(),
            requests: self.clients * self.requests,
            answered,
            seconds,
            per_second: if seconds > 0.0 {
                answered as f64 / seconds
            } else {
                0.0
            },
            failures: self.failures.clone(),
            connect_ns: Times::of(&self.connect_ns),
            latency_ns: Times::of(&self.latency_ns),
        }
    }
}

impl Times {
    fn of(histogram: &Histogram<u64>) -> Self {
        Self {
            p50: histogram.value_at_quantile(0.5),
            p99: histogram.value_at_quantile(0.99),
            p99_9: histogram.value_at_quantile(0.999),
            max: histogram.max(),
        }
    }
}

impl Figures {
    /// For people. `size_bytes` of each answer, if that is known.
    pub fn text(&self, size_bytes: Option<u64>) -> String {
        let mut table = Table::new(&[
            ("", Align::Left),
            ("p50", Align::Right),
            ("p99", Align::Right),
            ("p99.9", Align::Right),
            ("longest", Align::Right),
        ]);
        for (name, times) in [
            ("connected after", self.connect_ns),
            ("answered after", self.latency_ns),
        ] {
            let cells = [times.p50, times.p99, times.p99_9, times.max].map(short_time);
            table.row([name.to_owned()].into_iter().chain(cells));
        }
        let bytes = size_bytes.map_or(String::new(), |size| {
            let per_second = self.per_second * size as f64;
            format!(", {}B/s each way", short_bytes(per_second as u64))
        });
        let failures: Vec<String> = self
            .failures
            .iter()
            .map(|(why, count)| format!("\n  {}: {why}", plural(*count, "client")))
            .collect();
        format!(
            "  {} of {} connected; {} of {} requests answered in {:.2} s: {}/s{bytes}\n\n{}{}\n",
            thousands(self.connected),
            thousands(self.clients),
            thousands(self.answered),
            thousands(self.requests),
            self.seconds,
            thousands(self.per_second.round() as u64),
            table.render(),
            failures.concat(),
        )
    }
}

/// Three digits with the unit that suits: `840 us`, `12.3 ms`, `2.00 s`.
pub fn short_time(ns: u64) -> String {
    let (value, unit) = match ns {
        0 => return "-".to_owned(),
        1..1_000_000 => (ns as f64 / 1e3, "us"),
        1_000_000..1_000_000_000 => (ns as f64 / 1e6, "ms"),
        _ => (ns as f64 / 1e9, "s"),
    };
    let decimals = match value {
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome() -> Outcome {
        let mut outcome = Outcome::new(2, 500);
        outcome.begin();
        for ms in 1..=999 {
            outcome.answered(Duration::from_millis(ms));
        }
        outcome.connected(Duration::from_micros(20));
        outcome.failed("connection closed".to_owned());
        outcome
    }

    #[test]
    fn percentiles_are_exact_to_three_digits() {
        let times = outcome().figures().latency_ns;
        let is_near = |ns: u64, ms: f64| (ns as f64 / 1e6 / ms - 1.0).abs() < 0.001;
        assert!(is_near(times.p50, 500.0), "{times:?}");
        assert!(is_near(times.p99, 990.0), "{times:?}");
        assert!(is_near(times.p99_9, 999.0), "{times:?}");
        assert!(is_near(times.max, 999.0), "{times:?}");
    }

    #[test]
    fn what_was_not_answered_is_seen() {
        let figures = outcome().figures();
        assert_eq!((figures.requests, figures.answered), (1000, 999));
        assert_eq!((figures.clients, figures.connected), (2, 1));
        let text = figures.text(None);
        assert!(
            text.contains("1 of 2 connected; 999 of 1,000 requests answered"),
            "{text}"
        );
        assert!(text.contains("1 client: connection closed"), "{text}");
    }

    #[test]
    fn a_load_without_answers_has_no_times() {
        let figures = Outcome::new(1, 1).figures();
        assert_eq!(figures.per_second, 0.0);
        assert!(figures.text(Some(64)).contains("0 of 1 requests"));
    }

    #[test]
    fn times_have_three_digits() {
        for (ns, text) in [
            (0, "-"),
            (1_234, "1.23 us"),
            (840_000, "840 us"),
            (12_345_678, "12.3 ms"),
            (2_000_000_000, "2.00 s"),
        ] {
            assert_eq!(short_time(ns), text);
        }
    }
}

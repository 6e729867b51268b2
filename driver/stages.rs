// SPDX-License-Identifier: GPL-2.0

//! How long the stages of a queue's requests take: the histograms of [`uapi::Stages`].
//!
//! Recorded by `transport.rs` in any context, without a lock: each number is exact, together they are
//! not one snapshot.

use crate::model::histogram;
use crate::sys::atomic::{AtomicU32, AtomicU64, Relaxed};
use crate::uapi;
use kernel::prelude::*;

/// A stage of a request, in the order of [`uapi::Stages::stages`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// From the write to the start of its transfer.
    Queued,
    /// From there to the hard interrupt.
    Device,
    /// From there to the begin of the bottom half.
    Deferred,
    /// From there to its end.
    BottomHalf,
    /// From the wake of a reader until it runs.
    Wakeup,
    /// From the hard interrupt until the reader runs.
    Awake,
}

/// The histograms of one queue, and what it counts beside.
pub struct Stages {
    /// Interrupts that the queue had.
    pub interrupts: AtomicU64,
    /// Transfers that were started.
    pub transfers: AtomicU64,
    histograms: [Histogram; uapi::STAGES],
}

struct Histogram {
    sum_ns: AtomicU64,
    max_ns: AtomicU64,
    buckets: [AtomicU32; uapi::HISTOGRAM_BUCKETS],
}

impl Stages {
    /// Nothing yet. Made in place, because it is large.
    pub fn new() -> impl Init<Self> {
        init!(Self {
            interrupts: AtomicU64::new(0),
            transfers: AtomicU64::new(0),
            histograms <- pin_init::init_array_from_fn(|_| Histogram::new()),
        })
    }

    /// Records one time, from `begin_ns` to `end_ns`.
    pub fn record(&self, stage: Stage, begin_ns: i64, end_ns: i64) {
        // Times come from several processors, whose clocks may differ by a little.
        let time_ns = end_ns.saturating_sub(begin_ns).max(0) as u64;
        let histogram = &self.histograms[stage as usize];
        histogram.sum_ns.fetch_add(time_ns, Relaxed);
        histogram.max_ns.fetch_max(time_ns, Relaxed);
        histogram.buckets[histogram::bucket(time_ns)].fetch_add(1, Relaxed);
    }

    /// Writes the numbers into a structure for user space.
    pub fn fill(&self, stages: &mut uapi::Stages) {
        stages.interrupts = self.interrupts.load(Relaxed);
        stages.transfers = self.transfers.load(Relaxed);
        for (to, from) in stages.stages.iter_mut().zip(&self.histograms) {
            to.sum_ns = from.sum_ns.load(Relaxed);
            to.max_ns = from.max_ns.load(Relaxed);
            to.count = 0;
            for (to_bucket, bucket) in to.buckets.iter_mut().zip(&from.buckets) {
                *to_bucket = bucket.load(Relaxed);
                to.count += u64::from(*to_bucket);
            }
        }
    }

    /// Sets all of them to zero.
    pub fn reset(&self) {
        self.interrupts.store(0, Relaxed);
        self.transfers.store(0, Relaxed);
        for histogram in &self.histograms {
            histogram.sum_ns.store(0, Relaxed);
            histogram.max_ns.store(0, Relaxed);
            for bucket in &histogram.buckets {
                bucket.store(0, Relaxed);
            }
        }
    }
}

impl Histogram {
    fn new() -> impl Init<Self> {
        init!(Self {
            sum_ns: AtomicU64::new(0),
            max_ns: AtomicU64::new(0),
            buckets <- pin_init::init_array_from_fn(|_| AtomicU32::new(0)),
        })
    }
}

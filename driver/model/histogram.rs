// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Histograms of times with buckets that grow with the value: each is at most an eighth of its
//! lower bound wide. A part of the contract with user space, whose library mounts this file too.

use crate::uapi::HISTOGRAM_BUCKETS as BUCKETS;

/// Buckets for each power of two, as a power of two.
const STEPS_LOG2: u32 = 3;

/// The bucket of a time in nanoseconds. The last one holds everything from about 2^34 ns (17 s) on.
pub fn bucket(time_ns: u64) -> usize {
    const STEPS: u64 = 1 << STEPS_LOG2;
    if time_ns < STEPS {
        return time_ns as usize;
    }
    let shift = time_ns.ilog2() - STEPS_LOG2;
    // The step within the power of two has its leading bit still, which makes up for one power.
    let step = (time_ns >> shift) as usize;
    ((shift as usize) * STEPS as usize + step).min(BUCKETS - 1)
}

/// The largest time of a bucket in nanoseconds; of the last one, the smallest that is too large for the
/// others.
pub fn upper_bound_ns(bucket: usize) -> u64 {
    let lower_bound = |bucket: usize| {
        const STEPS: usize = 1 << STEPS_LOG2;
        if bucket < 2 * STEPS {
            return bucket as u64;
        }
        let shift = bucket / STEPS - 1;
        ((bucket % STEPS + STEPS) as u64) << shift
    };
    if bucket + 1 >= BUCKETS {
        return lower_bound(BUCKETS - 1);
    }
    lower_bound(bucket + 1) - 1
}

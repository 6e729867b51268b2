// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Buckets of histograms: narrow, without gaps, and in order.

use kpipe_model::histogram::{bucket, upper_bound_ns};
use kpipe_model::uapi::HISTOGRAM_BUCKETS;
use proptest::prelude::*;

proptest! {
    #[test]
    fn a_time_lies_in_its_bucket(time_ns in 0u64..1 << 34) {
        let bucket = bucket(time_ns);
        prop_assert!(bucket < HISTOGRAM_BUCKETS - 1 || time_ns >= upper_bound_ns(HISTOGRAM_BUCKETS - 1));
        if bucket < HISTOGRAM_BUCKETS - 1 {
            let upper = upper_bound_ns(bucket);
            prop_assert!(time_ns <= upper);
            prop_assert!(upper - time_ns <= time_ns / 8);
            prop_assert!(bucket == 0 || time_ns > upper_bound_ns(bucket - 1));
        }
    }
}

#[test]
fn the_longest_times_share_the_last_bucket() {
    assert_eq!(bucket(u64::MAX), HISTOGRAM_BUCKETS - 1);
}

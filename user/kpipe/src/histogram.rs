// SPDX-License-Identifier: MIT

//! What the buckets of a [`Histogram`] say.

use crate::buckets::upper_bound_ns;
use crate::Histogram;

/// The time in nanoseconds that `percent` of the times do not exceed: the upper end of a bucket, so up to an
/// eighth too long, but never longer than the longest time. 0 if there are none.
pub fn percentile_ns(histogram: &Histogram, percent: u64) -> u64 {
    let count: u64 = histogram
        .buckets
        .iter()
        .map(|&count| u64::from(count))
        .sum();
    let wanted = (count * percent).div_ceil(100).max(1);
    let mut seen = 0;
    let bucket = histogram.buckets.iter().position(|&count| {
        seen += u64::from(count);
        seen >= wanted
    });
    match bucket {
        // What is too long for the others is in the last one.
        Some(last) if last + 1 == histogram.buckets.len() => histogram.max_ns,
        Some(bucket) => upper_bound_ns(bucket).min(histogram.max_ns),
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(filled: &[(usize, u32)], max_ns: u64) -> Histogram {
        let mut histogram = Histogram {
            max_ns,
            ..Histogram::default()
        };
        for &(bucket, count) in filled {
            histogram.buckets[bucket] = count;
        }
        histogram
    }

    #[test]
    fn a_percentile_is_the_end_of_its_bucket() {
        let histogram = histogram(&[(3, 50), (16, 49), (64, 1)], 1100);
        assert_eq!(percentile_ns(&histogram, 50), 3);
        assert_eq!(percentile_ns(&histogram, 51), 17);
        assert_eq!(percentile_ns(&histogram, 99), 17);
        assert_eq!(
            percentile_ns(&histogram, 100),
            1100,
            "not 1151, the end of the bucket"
        );
    }

    #[test]
    fn nothing_and_the_last_bucket() {
        assert_eq!(percentile_ns(&histogram(&[], 0), 50), 0);
        assert_eq!(percentile_ns(&histogram(&[(255, 1)], 1 << 40), 50), 1 << 40);
    }
}

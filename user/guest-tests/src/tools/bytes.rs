// SPDX-License-Identifier: MIT

//! Test data and small random numbers: the same at every run.

/// Length of the period of [`Stream`]: prime, so that no buffer size divides it and a lost, doubled
/// or exchanged block cannot go unnoticed.
const PERIOD_BYTES: usize = 262_147;

/// `len` bytes in which neighbours, pages and offsets all look different.
pub fn pattern(len: usize) -> Vec<u8> {
    let mut random = Random::new(2026);
    (0..len).map(|_| random.next() as u8).collect()
}

/// An endless stream of test bytes that can be looked at from any offset.
pub struct Stream {
    /// Two periods, so that any piece of up to one is a slice.
    bytes: Vec<u8>,
}

impl Stream {
    /// The stream.
    pub fn new() -> Self {
        let period = pattern(PERIOD_BYTES);
        Self {
            bytes: period.repeat(2),
        }
    }

    /// `len` bytes (at most 256 KiB) from `offset` on.
    pub fn piece(&self, offset: usize, len: usize) -> &[u8] {
        &self.bytes[offset % PERIOD_BYTES..][..len]
    }
}

/// Marsaglia's xorshift64: tests need numbers without a pattern, not without a seed.
pub struct Random(u64);

impl Random {
    /// A sequence; a seed of 0 would stay 0.
    pub fn new(seed: u64) -> Self {
        assert_ne!(seed, 0);
        Self(seed)
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number from 1 to `max`.
    pub fn up_to(&mut self, max: usize) -> usize {
        1 + (self.next() % max as u64) as usize
    }
}

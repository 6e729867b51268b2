// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The ring's arithmetic, against a `VecDeque`. Capacities start at 2 bytes, and indices start just
//! below 2^32, so that every boundary is hit all the time.

use kpipe_model::ring::{
    advance, capacity_for, is_drained, moves, queued_bytes, room_bytes, spans,
};
use kpipe_model::uapi::{MAX_CAPACITY_BYTES, MIN_CAPACITY_BYTES};
use proptest::prelude::*;
use std::collections::VecDeque;

/// What the driver does with the arithmetic, with a plain vector as memory.
struct Ring {
    memory: Vec<u8>,
    head: u32,
    tail: u32,
}

impl Ring {
    fn new(capacity_bytes: usize, index: u32) -> Self {
        Ring {
            memory: vec![0xEE; capacity_bytes],
            head: index,
            tail: index,
        }
    }

    fn write(&mut self, bytes: &[u8]) -> usize {
        let fits = bytes
            .len()
            .min(room_bytes(self.head, self.tail, self.memory.len()));
        let mut from = &bytes[..fits];
        for span in spans(self.head, fits, self.memory.len()) {
            let (now, later) = from.split_at(span.len_bytes);
            self.memory[span.start..][..span.len_bytes].copy_from_slice(now);
            from = later;
        }
        self.head = advance(self.head, fits);
        fits
    }

    fn read(&mut self, most: usize) -> Vec<u8> {
        let takes = most.min(queued_bytes(self.head, self.tail));
        let mut bytes = Vec::new();
        for span in spans(self.tail, takes, self.memory.len()) {
            bytes.extend(&self.memory[span.start..][..span.len_bytes]);
        }
        self.tail = advance(self.tail, takes);
        bytes
    }

    fn resize(&mut self, capacity_bytes: usize) {
        let queued = queued_bytes(self.head, self.tail);
        let mut new = vec![0xDD; capacity_bytes];
        for step in moves(self.tail, queued, self.memory.len(), capacity_bytes) {
            assert!(step.len_bytes > 0);
            new[step.to..][..step.len_bytes]
                .copy_from_slice(&self.memory[step.from..][..step.len_bytes]);
        }
        self.memory = new;
    }
}

#[derive(Clone, Debug)]
enum Step {
    Write(Vec<u8>),
    Read(usize),
    /// To 2 to this power.
    Resize(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Step::Write),
        3 => (0usize..40).prop_map(Step::Read),
        1 => (1u32..6).prop_map(Step::Resize),
    ]
}

fn index() -> impl Strategy<Value = u32> {
    prop_oneof![any::<u32>(), (0u32..64).prop_map(|back| u32::MAX - back)]
}

proptest! {
    #[test]
    fn bytes_come_out_as_they_went_in(
        power in 1u32..6,
        index in index(),
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let mut ring = Ring::new(1 << power, index);
        let mut reference = VecDeque::new();
        for step in steps {
            match step {
                Step::Write(bytes) => {
                    let written = ring.write(&bytes);
                    let fits = bytes.len().min(ring.memory.len() - reference.len());
                    prop_assert_eq!(written, fits);
                    reference.extend(&bytes[..written]);
                }
                Step::Read(most) => {
                    let expected: Vec<u8> =
                        reference.drain(..most.min(reference.len())).collect();
                    prop_assert_eq!(ring.read(most), expected);
                }
                Step::Resize(power) if reference.len() <= 1 << power => ring.resize(1 << power),
                Step::Resize(_) => {}
            }
            prop_assert_eq!(queued_bytes(ring.head, ring.tail), reference.len());
            prop_assert_eq!(
                room_bytes(ring.head, ring.tail, ring.memory.len()),
                ring.memory.len() - reference.len()
            );
        }
    }

    #[test]
    fn spans_stay_inside_the_memory_and_do_not_overlap(
        power in 1u32..31,
        index in index(),
        part in 0.0f64..=1.0,
    ) {
        let capacity = 1usize << power;
        let len = (capacity as f64 * part) as usize;
        let spans: Vec<_> = spans(index, len, capacity).collect();
        prop_assert_eq!(spans.iter().map(|span| span.len_bytes).sum::<usize>(), len);
        for span in &spans {
            prop_assert!(span.len_bytes > 0);
            prop_assert!(span.start + span.len_bytes <= capacity);
        }
        if let [first, second, ..] = spans[..] {
            prop_assert_eq!(spans.len(), 2);
            prop_assert_eq!(second.start, 0);
            prop_assert!(second.len_bytes <= first.start);
        }
    }

    #[test]
    fn capacities_are_powers_of_two_that_hold_what_was_asked_for(wanted in any::<u64>()) {
        match capacity_for(wanted) {
            None => prop_assert!(wanted > MAX_CAPACITY_BYTES),
            Some(bytes) => {
                prop_assert!(bytes.is_power_of_two());
                prop_assert!(bytes as u64 >= wanted.max(MIN_CAPACITY_BYTES));
                prop_assert!(bytes as u64 <= MAX_CAPACITY_BYTES);
                prop_assert!(bytes as u64 / 2 < wanted.max(MIN_CAPACITY_BYTES));
            }
        }
    }
}

#[test]
fn drained_means_that_the_reader_has_come_so_far() {
    for start in [0, 1, u32::MAX - 1, u32::MAX] {
        let mark = start;
        assert!(is_drained(mark, mark));
        assert!(is_drained(mark, advance(mark, 1)));
        assert!(is_drained(mark, advance(mark, MAX_CAPACITY_BYTES as usize)));
        assert!(!is_drained(advance(mark, 1), mark));
        assert!(!is_drained(
            advance(mark, MAX_CAPACITY_BYTES as usize),
            mark
        ));
    }
}

#[test]
fn full_and_empty_are_told_apart() {
    let mut ring = Ring::new(2, u32::MAX);
    assert_eq!(queued_bytes(ring.head, ring.tail), 0);
    assert_eq!(ring.write(b"ab"), 2);
    assert_eq!(queued_bytes(ring.head, ring.tail), 2);
    assert_eq!(room_bytes(ring.head, ring.tail, 2), 0);
    assert_eq!(ring.write(b"c"), 0);
    assert_eq!(ring.read(9), b"ab");
}

#[test]
fn capacities_at_the_bounds() {
    for (wanted, capacity) in [
        (0, Some(4096)),
        (3, Some(4096)),
        (4096, Some(4096)),
        (4097, Some(8192)),
        (1 << 30, Some(1 << 30)),
        ((1 << 30) + 1, None),
        (1 << 40, None),
        (1 << 63, None),
        (u64::MAX, None),
    ] {
        assert_eq!(capacity_for(wanted), capacity, "{wanted}");
    }
}

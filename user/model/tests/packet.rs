// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Headers of records: what is put in comes out, and lengths add up.

use kpipe_model::packet::{
    data_bytes, data_room_bytes, next_packet_bytes, Kind, Record, HEADER_BYTES,
};
use kpipe_model::uapi::{MAX_CAPACITY_BYTES, PIPE_BUF_BYTES, SMALL_CAPACITY_BYTES};
use proptest::prelude::*;

fn record() -> impl Strategy<Value = Record> {
    let kind = prop_oneof![Just(Kind::Stream), Just(Kind::Packet)];
    (kind, 1..=MAX_CAPACITY_BYTES as usize).prop_map(|(kind, len_bytes)| Record { kind, len_bytes })
}

proptest! {
    #[test]
    fn a_header_gives_its_record_back(record in record()) {
        prop_assert_eq!(Record::of_header(record.header()), record);
    }

    #[test]
    fn data_and_headers_fill_the_ring(lens in prop::collection::vec(1usize..5000, 0..50)) {
        let queued: usize = lens.iter().map(|len| len + HEADER_BYTES).sum();
        prop_assert_eq!(data_bytes(queued, lens.len() as u32), lens.iter().sum::<usize>());
    }

    #[test]
    fn a_record_as_long_as_its_room_fits_exactly(room in HEADER_BYTES..100_000) {
        prop_assert_eq!(data_room_bytes(room) + HEADER_BYTES, room);
    }

    #[test]
    fn a_long_write_is_split_into_full_packets_and_a_last_one(len in 1usize..100_000) {
        let mut rest = len;
        let mut packets = 0;
        while rest > 0 {
            let packet = next_packet_bytes(rest);
            prop_assert!(packet == PIPE_BUF_BYTES || packet == rest);
            rest -= packet;
            packets += 1;
        }
        prop_assert_eq!(packets, len.div_ceil(PIPE_BUF_BYTES));
    }
}

#[test]
fn room_too_small_for_a_header_is_room_for_nothing() {
    for room in 0..=HEADER_BYTES {
        assert_eq!(data_room_bytes(room), 0);
    }
}

#[test]
fn the_smallest_queue_for_packets_holds_the_longest() {
    assert!(data_room_bytes(SMALL_CAPACITY_BYTES as usize) >= PIPE_BUF_BYTES);
}

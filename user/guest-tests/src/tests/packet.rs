// SPDX-License-Identifier: MIT

//! Packets: one write is one packet. `O_DIRECT` in pipe(2), `PIPE_BUF_FLAG_PACKET` in fs/pipe.c. The
//! mode of a whole queue is in `packet_mode.rs`.

use std::os::fd::AsFd;

use kpipe_abi::uapi::PIPE_BUF_BYTES;
use nix::poll::PollFlags;

use crate::tools::memory::{Mapping, Page, Span};
use crate::tools::prelude::*;
use crate::tools::raw;

/// The table.
pub const TESTS: &[Test] = &[
    section("Packets", "it is a stream"),
    says("With O_DIRECT on the write end, one write is one packet."),
    each!(a_read_returns_one_packet),
    each!(a_packet_that_waits_for_nobody_is_read_whole_later),
    each!(o_direct_may_be_given_to_the_call_that_makes_it)
        .not_on(&[Subject::Fifo, Subject::Device], "no call makes both ends"),
    each!(writev_makes_one_packet),
    each!(readv_scatters_one_packet),
    each!(a_write_of_nothing_is_no_packet),
    each!(o_direct_of_the_read_end_means_nothing),
    each!(each_description_decides_for_its_own_writes),
    says("A short read discards the rest of its packet."),
    each!(a_short_read_discards_the_rest),
    each!(a_read_of_nothing_discards_nothing),
    each!(a_fault_loses_no_packet),
    says("More than 4096 bytes are split."),
    each!(a_write_of_4096_bytes_is_one_packet),
    each!(a_longer_write_is_split_after_each_4096_bytes),
    says("Stream data and packets may follow each other."),
    each!(stream_data_does_not_join_a_packet_before_it),
    each!(a_packet_joins_stream_data_before_it_if_it_fits_into_the_slot)
        .differs(&[&differences::JOINS]),
    each!(a_read_takes_stream_data_and_the_packet_behind_it),
    each!(a_read_that_ends_in_a_packet_behind_stream_data_discards_its_rest),
    says("FIONREAD sums what is queued; poll says readable."),
    each!(fionread_sums_all_packets),
    each!(a_read_end_is_readable_until_the_last_packet_is_gone),
    says("A packet takes a slot of the capacity."),
    each!(small_packets_fill_a_slot_each).differs(&[&differences::RECORDS]),
    each!(a_nonblocking_long_write_takes_the_packets_that_fit).differs(&[&differences::RECORDS]),
    each!(a_packet_waits_for_room_and_comes_whole),
    each!(queued_packets_survive_growing),
    each!(packets_before_eof_are_read_first),
];

/// A queue whose writer writes packets.
fn packet_pair(q: &Queue) -> (End, End) {
    let (reader, writer) = q.first_pair();
    packets(&writer);
    (reader, writer)
}

fn packets(writer: &End) {
    writer.set_flags(OFlag::O_DIRECT).expect("F_SETFL O_DIRECT");
}

fn stream(writer: &End) {
    writer.set_flags(OFlag::empty()).expect("F_SETFL 0");
}

/// Lengths of what reads of `len` bytes return until nothing is queued.
fn lengths(reader: &End, len: usize) -> Vec<usize> {
    let mut lengths = vec![];
    while reader.queued() > 0 {
        lengths.push(reader.read(len).expect("read").len());
    }
    lengths
}

fn a_read_returns_one_packet(q: &Queue) {
    let (reader, writer) = packet_pair(q);
    for packet in ["ab", "cde", "f"] {
        writer.write_all(packet.as_bytes());
    }
    for packet in ["ab", "cde", "f"] {
        expect("read", reader.read(100), Ok(packet.into()));
    }
    expect("then", reader.nonblocking().read(100), Err(Errno::EAGAIN));
}

fn a_packet_that_waits_for_nobody_is_read_whole_later(q: &Queue) {
    let (reader, writer) = packet_pair(q);
    let end = reader.clone();
    let part = Actor::asleep_in(Call::Read, "reader", move || end.read(100));
    writer.write_all(b"first");
    writer.write_all(b"second");
    expect("read that slept", part.join(), Ok(b"first".to_vec()));
    expect(
        "read that did not",
        reader.read(100),
        Ok(b"second".to_vec()),
    );
}

fn o_direct_may_be_given_to_the_call_that_makes_it(q: &Queue) {
    let (reader, writer) = q.make(OFlag::O_DIRECT).expect("a new queue");
    writer.write_all(b"ab");
    writer.write_all(b"cd");
    expect("read", reader.read(100), Ok(b"ab".to_vec()));
    expect("read", reader.read(100), Ok(b"cd".to_vec()));
}

fn writev_makes_one_packet(q: &Queue) {
    let (reader, writer) = packet_pair(q);
    let memory = Mapping::of(&[Page::Open]);
    memory.store(0, b"abcdef");
    let vector = [memory.span(0, 2), memory.span(2, 0), memory.span(2, 4)];
    expect("writev", raw::writev(writer.as_fd(), &vector), Ok(6));
    writer.write_all(b"x");
    expect("read", reader.read(100), Ok(b"abcdef".to_vec()));
}

fn readv_scatters_one_packet(q: &Queue) {
    let (reader, writer) = packet_pair(q);
    writer.write_all(b"abcdef");
    writer.write_all(b"next");
    let memory = Mapping::of(&[Page::Open]);
    let vector = [memory.span(0, 2), memory.span(2, 2), memory.span(4, 100)];
    expect("readv", raw::readv(reader.as_fd(), &vector), Ok(6));
    expect_bytes("data", &memory.load(0, 6), b"abcdef");
    let vector = [memory.span(0, 1), memory.span(1, 1)];
    expect("short readv", raw::readv(reader.as_fd(), &vector), Ok(2));
    expect("queued", reader.queued(), 0);
}

fn a_write_of_nothing_is_no_packet(q: &Queue) {
    let (reader, writer) = packet_pair(q);
    expect("write", writer.write(b""), Ok(0));
    expect("poll", reader.readiness(), PollFlags::empty());
    writer.write_all(b"x");
    expect("read", reader.read(100), Ok(b"x".to_vec()));
}

fn o_direct_of_the_read_end_means_nothing(q: &Queue) {
    let (reader, writer) = q.first_pair();
    packets(&reader);
    writer.write_all(b"ab");
    writer.write_all(b"cd");
    expect("short read", reader.read(1), Ok(b"a".to_vec()));
    expect("read", reader.read(100), Ok(b"bcd".to_vec()));
}

fn each_description_decides_for_its_own_writes(q: &Queue) {
    let (reader, writer) = packet_pair(q);
    let other = writer.reopen(OFlag::O_WRONLY).expect("open");
    writer.write_all(b"packet");
    other.write_all(b"stream");
    other.write_all(b" and more");
    writer.duplicate().write_all(&[1; PIPE_BUF_BYTES]);
    expect("read", reader.read(100), Ok(b"packet".to_vec()));
    expect("read", reader.read(15), Ok(b"stream and more".to_vec()));
    expect("short read of a packet", reader.read(1), Ok(vec![1]));
    expect("queued", reader.queued(), 0);
}

fn a_short_read_discards_the_rest(q: &Queue) {
    let (reader, writer) = packet_pair(q);
    writer.write_all(b"abcdef");
    writer.write_all(b"next");
    expect("read of 2", reader.read(2), Ok(b"ab".to_vec()));
    expect("queued", reader.queued(), 4);
    expect("read of 1", reader.read(1), Ok(b"n".to_vec()));
    expect("queued", reader.queued(), 0);
}

fn a_read_of_nothing_discards_nothing(q: &Queue) {
    let (reader, writer) = packet_pair(q);
    writer.write_all(b"whole");
    expect("read of 0", reader.read(0), Ok(vec![]));
    expect("read", reader.read(100), Ok(b"whole".to_vec()));
}

fn a_fault_loses_no_packet(q: &Queue) {
    let (reader, writer) = packet_pair(q);
    writer.write_all(b"whole");
    writer.write_all(b"next");
    for (what, span) in Span::wrong(100) {
        expect(what, raw::read(reader.as_fd(), span), Err(Errno::EFAULT));
    }
    expect("read", reader.read(100), Ok(b"whole".to_vec()));
    expect("read", reader.read(100), Ok(b"next".to_vec()));
}

fn a_write_of_4096_bytes_is_one_packet(q: &Queue) {
    let (reader, writer) = packet_pair(q);
    let data = pattern(PIPE_BUF_BYTES);
    writer.write_all(&data);
    writer.write_all(b"next");
    expect_bytes("data", &reader.read(10_000).expect("read"), &data);
}

fn a_longer_write_is_split_after_each_4096_bytes(q: &Queue) {
    let (reader, writer) = packet_pair(q);
    let data = pattern(10_000);
    writer.write_all(&data);
    expect("queued", reader.queued(), data.len());
    let all = [(0, 4096), (4096, 4096), (8192, 1808)];
    for (start, len) in all {
        let part = reader.read(20_000).expect("read");
        expect_bytes("packet", &part, &data[start..start + len]);
    }
    writer.write_all(&pattern(4097));
    expect("lengths", lengths(&reader, 20_000), vec![4096, 1]);
}

fn stream_data_does_not_join_a_packet_before_it(q: &Queue) {
    let (reader, writer) = packet_pair(q);
    writer.write_all(b"packet");
    stream(&writer);
    writer.write_all(b"stream");
    writer.write_all(b"more");
    expect("read", reader.read(100), Ok(b"packet".to_vec()));
    expect("read", reader.read(100), Ok(b"streammore".to_vec()));
}

fn a_packet_joins_stream_data_before_it_if_it_fits_into_the_slot(q: &Queue) {
    let (reader, writer) = q.first_pair();
    writer.write_all(b"stream");
    packets(&writer);
    writer.write_all(b"packet");
    if q.differs(&differences::JOINS) {
        expect("short read", reader.read(8), Ok(b"streampa".to_vec()));
        expect("queued", reader.queued(), 0);
        stream(&writer);
        writer.write_all(b"ab");
        packets(&writer);
        writer.write_all(&pattern(5000));
        expect("lengths", lengths(&reader, 10_000), vec![2 + 4096, 904]);
        return;
    }
    // It is none now: a short read leaves the rest.
    expect("short read", reader.read(8), Ok(b"streampa".to_vec()));
    expect("read", reader.read(100), Ok(b"cket".to_vec()));
    // Of a longer one the end that makes no whole page goes first (fs/pipe.c).
    stream(&writer);
    writer.write_all(b"ab");
    packets(&writer);
    let data = pattern(5000);
    writer.write_all(&data);
    let joined = 5000 - PIPE_BUF_BYTES;
    let stream = [b"ab", &data[..joined]].concat();
    expect_bytes("joined", &reader.read_all(2 + joined), &stream);
    expect(
        "short read of the packet",
        reader.read(1),
        Ok(vec![data[joined]]),
    );
    expect("queued", reader.queued(), 0);
}

fn a_read_takes_stream_data_and_the_packet_behind_it(q: &Queue) {
    let (reader, writer) = q.first_pair();
    let data = pattern(4000 + 200);
    writer.write_all(&data[..4000]);
    packets(&writer);
    // Too much for the slot of the stream data.
    writer.write_all(&data[4000..]);
    writer.write_all(b"next");
    expect_bytes("read", &reader.read(10_000).expect("read"), &data);
    expect("read", reader.read(100), Ok(b"next".to_vec()));
}

fn a_read_that_ends_in_a_packet_behind_stream_data_discards_its_rest(q: &Queue) {
    let (reader, writer) = q.first_pair();
    let data = pattern(4000 + 200);
    writer.write_all(&data[..4000]);
    packets(&writer);
    writer.write_all(&data[4000..]);
    expect_bytes("read", &reader.read(4100).expect("read"), &data[..4100]);
    expect("queued", reader.queued(), 0);
}

fn fionread_sums_all_packets(q: &Queue) {
    let (reader, writer) = packet_pair(q);
    let mut queued = 0;
    for len in [1, 100, 4096, 5000] {
        writer.write_all(&pattern(len));
        queued += len;
        expect("on the read end", reader.queued(), queued);
        expect("on the write end", writer.queued(), queued);
    }
    reader.read(1).expect("read");
    reader.read(1).expect("read");
    expect("after two reads", reader.queued(), queued - 101);
}

fn a_read_end_is_readable_until_the_last_packet_is_gone(q: &Queue) {
    let (reader, writer) = packet_pair(q);
    let readable = PollFlags::POLLIN | PollFlags::POLLRDNORM;
    writer.write_all(b"abc");
    writer.write_all(b"def");
    expect("two packets", reader.readiness(), readable);
    reader.read(1).expect("read");
    expect("one packet", reader.readiness(), readable);
    reader.read(1).expect("read");
    expect("none", reader.readiness(), PollFlags::empty());
}

fn small_packets_fill_a_slot_each(q: &Queue) {
    let (reader, writer) = packet_pair(q);
    let capacity = writer.capacity();
    writer
        .set_flags(OFlag::O_DIRECT | OFlag::O_NONBLOCK)
        .expect("F_SETFL");
    let mut packets = 0;
    while writer.write(b"x").is_ok() {
        packets += 1;
    }
    let wanted = if q.differs(&differences::RECORDS) {
        // Each with a header of 4 bytes.
        capacity / 5
    } else {
        capacity / PIPE_BUF_BYTES
    };
    expect("packets that fit", packets, wanted);
    expect("queued", reader.queued(), wanted);
    expect("read", reader.read(100), Ok(b"x".to_vec()));
    expect("one more", writer.write(b"x"), Ok(1));
}

fn a_nonblocking_long_write_takes_the_packets_that_fit(q: &Queue) {
    let (reader, writer) = packet_pair(q);
    writer.resize(16384).expect("resize");
    writer
        .set_flags(OFlag::O_DIRECT | OFlag::O_NONBLOCK)
        .expect("F_SETFL");
    let took = writer.write(&pattern(20_000)).expect("write");
    let fit = if q.differs(&differences::RECORDS) {
        3
    } else {
        4
    };
    expect("bytes taken", took, fit * PIPE_BUF_BYTES);
    expect(
        "packets",
        lengths(&reader, 20_000),
        vec![PIPE_BUF_BYTES; fit],
    );
}

fn a_packet_waits_for_room_and_comes_whole(q: &Queue) {
    let (reader, writer) = packet_pair(q);
    writer.resize(8192).expect("resize");
    writer
        .set_flags(OFlag::O_DIRECT | OFlag::O_NONBLOCK)
        .expect("F_SETFL");
    let mut packets = 0;
    while writer.write(&[1; 3000]).is_ok() {
        packets += 1;
    }
    writer.set_flags(OFlag::O_DIRECT).expect("F_SETFL");
    let part = Actor::asleep_in(Call::Write, "writer", move || writer.write(&[2; 3000]));
    for _ in 0..packets {
        expect("read", reader.read(10_000), Ok(vec![1; 3000]));
    }
    expect("write", part.join(), Ok(3000));
    expect("read", reader.read(10_000), Ok(vec![2; 3000]));
}

fn queued_packets_survive_growing(q: &Queue) {
    let (reader, writer) = packet_pair(q);
    for len in [1, 4096, 300, 5000] {
        writer.write_all(&pattern(len));
    }
    expect("resize", writer.resize(1 << 18), Ok(1 << 18));
    writer.write_all(b"after");
    let wanted = vec![1, 4096, 300, 4096, 904, 5];
    expect("lengths", lengths(&reader, 20_000), wanted);
}

fn packets_before_eof_are_read_first(q: &Queue) {
    let (reader, writer) = packet_pair(q);
    writer.write_all(b"ab");
    writer.write_all(b"cd");
    writer.close();
    for wanted in ["ab", "cd", "", ""] {
        expect("read", reader.read(100), Ok(wanted.into()));
    }
}

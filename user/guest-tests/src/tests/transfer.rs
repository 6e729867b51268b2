// SPDX-License-Identifier: MIT

//! Much data, many readers and writers: every byte arrives once, in order, and records stay whole.

use std::collections::HashMap;

use kpipe_abi::uapi::PIPE_BUF_BYTES;

use crate::harness::amount;
use crate::tools::bytes::{Random, Stream};
use crate::tools::prelude::*;
use crate::tools::process::Process;

/// The table.
pub const TESTS: &[Test] = &[
    section(
        "Transfers",
        "it is about the capacity or about opening again",
    ),
    says("One to one, with buffers of every size, between threads and between processes."),
    each!(sixteen_mib_pass_a_queue_of_4096_bytes).deadline_secs(60),
    each!(sixty_four_mib_pass_a_queue_of_65536_bytes).deadline_secs(60),
    each!(data_passes_between_processes),
    each!(data_passes_in_steps_of_4_bytes),
    each!(data_passes_by_poll_alone).deadline_secs(60),
    says("Writes of up to PIPE_BUF bytes are never torn or mixed."),
    each!(records_of_many_writers_stay_whole_and_in_order).deadline_secs(60),
    each!(long_writes_of_two_writers_lose_nothing).deadline_secs(60),
    says("Each byte goes to one reader."),
    each!(many_readers_share_the_records).deadline_secs(60),
    each!(ends_that_come_and_go_lose_nothing).deadline_secs(60),
];

const MIB: usize = 1 << 20;

/// Writes `total` bytes of the stream in pieces of 1 to `max_piece` bytes.
fn send(writer: &End, total: usize, max_piece: usize) {
    let (stream, mut random, mut sent) = (Stream::new(), Random::new(7), 0);
    while sent < total {
        let len = random.up_to(max_piece).min(total - sent);
        writer.write_all(stream.piece(sent, len));
        sent += len;
    }
}

/// Reads to the end of file, compares every byte, and returns how many there were.
fn receive(reader: &End, max_piece: usize) -> usize {
    let (stream, mut random, mut received) = (Stream::new(), Random::new(9), 0);
    let mut buffer = vec![0; max_piece];
    loop {
        let wanted = &mut buffer[..random.up_to(max_piece)];
        let len = nix::unistd::read(reader, wanted).expect("read");
        if len == 0 {
            return received;
        }
        let what = format!("bytes from {received} on");
        expect_bytes(&what, &wanted[..len], stream.piece(received, len));
        received += len;
    }
}

fn transfer(q: &Queue, capacity: usize, total: usize, max_piece: usize) {
    let (reader, writer) = q.pair_of(capacity);
    let sender = Actor::start("sender", move || send(&writer, total, max_piece));
    expect("bytes received", receive(&reader, max_piece), total);
    sender.join();
}

fn sixteen_mib_pass_a_queue_of_4096_bytes(q: &Queue) {
    transfer(q, 4096, amount(16 * MIB), 12_000);
}

fn sixty_four_mib_pass_a_queue_of_65536_bytes(q: &Queue) {
    transfer(q, 65536, amount(64 * MIB), 100_000);
}

fn data_passes_between_processes(q: &Queue) {
    let total = amount(4 * MIB);
    // Opened before the fork: without a name nobody waits for a partner in open.
    let (reader, writer) = q.pair();
    let inherited = writer.clone();
    let sender = Process::start("sender", move || send(&inherited, total, 20_000));
    writer.close();
    expect("bytes received", receive(&reader, 20_000), total);
    sender.wait_success();
}

fn data_passes_in_steps_of_4_bytes(q: &Queue) {
    transfer(q, 4096, amount(MIB / 32), 4);
}

fn data_passes_by_poll_alone(q: &Queue) {
    use nix::poll::PollFlags;
    let total = amount(4 * MIB);
    let (reader, writer) = q.pair_of(8192);
    let (reader, writer) = (reader.nonblocking(), writer.nonblocking());
    let sender = Actor::start("sender", move || {
        let (stream, mut random, mut sent) = (Stream::new(), Random::new(7), 0);
        while sent < total {
            let ready = writer.wait_for(PollFlags::POLLOUT);
            expect("poll of the write end", ready, PollFlags::POLLOUT);
            let len = random.up_to(20_000).min(total - sent);
            sent += writer
                .write(stream.piece(sent, len))
                .expect("write when writable");
        }
    });
    let (stream, mut random, mut received) = (Stream::new(), Random::new(9), 0);
    while received < total {
        let ready = reader.wait_for(PollFlags::POLLIN);
        expect(
            "poll of the read end",
            ready.contains(PollFlags::POLLIN),
            true,
        );
        let part = reader
            .read(random.up_to(20_000))
            .expect("read when readable");
        let what = format!("bytes from {received} on");
        expect_bytes(&what, &part, stream.piece(received, part.len()));
        received += part.len();
    }
    sender.join();
}

/// A record: its length, its writer and its number, then bytes that all are that number.
fn record(writer: u8, number: u32, len: usize) -> Vec<u8> {
    let mut record = vec![number as u8; len.max(HEADER_BYTES)];
    let len = record.len() as u16;
    record[..2].copy_from_slice(&len.to_ne_bytes());
    record[2] = writer;
    record[3..HEADER_BYTES].copy_from_slice(&number.to_ne_bytes());
    record
}

const HEADER_BYTES: usize = 7;

/// Takes a record apart: its writer and number. Fails the test if it is not whole.
fn check_record(bytes: &[u8]) -> (u8, u32) {
    let number = u32::from_ne_bytes(bytes[3..HEADER_BYTES].try_into().expect("4 bytes"));
    let body = &bytes[HEADER_BYTES..];
    let wanted = vec![number as u8; body.len()];
    expect_bytes(
        &format!("record {number} of writer {}", bytes[2]),
        body,
        &wanted,
    );
    (bytes[2], number)
}

fn records_of_many_writers_stay_whole_and_in_order(q: &Queue) {
    const WRITERS: u8 = 4;
    let records = amount(2000) as u32;
    let (reader, writer) = q.pair_of(16384);
    let writers: Vec<_> = (0..WRITERS)
        .map(|name| {
            let writer = writer.clone();
            Actor::start(&format!("writer {name}"), move || {
                let mut random = Random::new(1 + u64::from(name));
                for number in 0..records {
                    writer.write_all(&record(name, number, random.up_to(PIPE_BUF_BYTES)));
                }
            })
        })
        .collect();
    let mut next = HashMap::new();
    for _ in 0..records * u32::from(WRITERS) {
        let mut bytes = reader.read_all(2);
        let len = u16::from_ne_bytes([bytes[0], bytes[1]]) as usize;
        bytes.extend(reader.read_all(len - 2));
        let (writer, number) = check_record(&bytes);
        let wanted = next.entry(writer).or_insert(0);
        expect(&format!("next record of writer {writer}"), number, *wanted);
        *wanted += 1;
    }
    for writer in writers {
        writer.join();
    }
    expect("bytes left", reader.queued(), 0);
}

fn long_writes_of_two_writers_lose_nothing(q: &Queue) {
    let rounds = amount(100);
    const LEN: usize = 20_000;
    let (reader, writer) = q.pair_of(8192);
    let writers = [1_u8, 2].map(|name| {
        let writer = writer.clone();
        Actor::start(&format!("writer {name}"), move || {
            for _ in 0..rounds {
                writer.write_all(&[name; LEN]);
            }
        })
    });
    let mut seen = [0; 256];
    for byte in reader.read_all(2 * rounds * LEN) {
        seen[byte as usize] += 1;
    }
    expect(
        "bytes of each writer",
        (seen[1], seen[2]),
        (rounds * LEN, rounds * LEN),
    );
    for writer in writers {
        writer.join();
    }
}

fn many_readers_share_the_records(q: &Queue) {
    const READERS: usize = 3;
    const LEN: usize = 64;
    let records = amount(3000) as u32;
    let (reader, writer) = q.pair_of(4096);
    let readers: Vec<_> = (0..READERS)
        .map(|name| {
            let reader = reader.clone();
            Actor::start(&format!("reader {name}"), move || {
                // Records of one length, which divides the capacity: so a read gets a whole one.
                let mut numbers = Vec::new();
                loop {
                    let bytes = reader.read(LEN).expect("read");
                    if bytes.is_empty() {
                        return numbers;
                    }
                    expect("length of a record", bytes.len(), LEN);
                    numbers.push(check_record(&bytes).1);
                }
            })
        })
        .collect();
    for number in 0..records {
        writer.write_all(&record(0, number, LEN));
    }
    writer.close();
    let mut all = Vec::new();
    for reader in readers {
        let numbers = reader.join();
        assert!(numbers.is_sorted(), "a reader got its records out of order");
        all.extend(numbers);
    }
    all.sort_unstable();
    expect("all records", all, (0..records).collect());
}

fn ends_that_come_and_go_lose_nothing(q: &Queue) {
    let rounds = amount(300) as u32;
    let queue = q.clone();
    // Keeps what is queued while nobody else is there.
    let _both = q.must_open(OFlag::O_RDWR);
    let writer = Actor::start("writer", move || {
        for number in 0..rounds {
            queue
                .must_open(OFlag::O_WRONLY)
                .write_all(&record(0, number, 100));
        }
    });
    for number in 0..rounds {
        let bytes = q.must_open(OFlag::O_RDONLY).read_all(100);
        expect("record", check_record(&bytes), (0, number));
    }
    writer.join();
}

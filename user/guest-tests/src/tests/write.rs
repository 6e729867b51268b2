// SPDX-License-Identifier: MIT

//! Writing: all, a part, or nothing. The table of pipe(7), section PIPE_BUF; write(2).

use std::os::fd::AsFd;

use kpipe_abi::uapi::PIPE_BUF_BYTES;

use crate::tools::actor::wait_until;
use crate::tools::memory::{Mapping, Page, Span, PAGE_BYTES};
use crate::tools::prelude::*;
use crate::tools::raw;
use crate::tools::signals::{self, After, INTERRUPT};

/// The table.
pub const TESTS: &[Test] = &[
    section("Write", "its buffer is counted and divided otherwise"),
    says("Blocking, n <= 4096: atomic, waits for room."),
    each!(an_atomic_write_waits_until_all_of_it_fits),
    each!(an_atomic_write_queues_nothing_while_it_waits),
    says("Blocking, n > 4096: all of it, may interleave."),
    each!(a_long_write_goes_in_whole_while_a_reader_reads),
    each!(a_long_write_begins_with_what_fits),
    says("O_NONBLOCK, n <= 4096: all or EAGAIN."),
    each!(a_nonblocking_atomic_write_is_all_or_eagain),
    each!(rwf_nowait_is_eagain_when_full).differs(&[&differences::NOWAIT]),
    says("O_NONBLOCK, n > 4096: what fits, or EAGAIN when full."),
    each!(a_nonblocking_long_write_takes_what_fits).differs(&[&differences::BYTES]),
    each!(a_nonblocking_long_write_to_a_full_queue_is_eagain),
    says("A signal: the partial count if any, else restart or EINTR."),
    each!(a_signal_interrupts_a_writer_that_wrote_nothing),
    each!(a_signal_after_a_part_returns_the_partial_count),
    each!(with_sa_restart_a_sleeping_writer_writes_on),
    says("EFAULT midway: the partial count, or EFAULT with nothing queued; never a torn atomic write."),
    each!(efault_queues_nothing).and_socket(),
    each!(a_fault_does_not_tear_an_atomic_write).and_socket(),
    each!(a_fault_does_not_tear_an_atomic_vector).and_socket(),
    each!(a_fault_in_a_long_write_returns_what_went_before).differs(&[&differences::FAULT]),
    says("Capacity is counted in slots of 4 KiB."),
    each!(single_bytes_fill_the_whole_capacity).deadline_secs(20),
    each!(writes_of_2049_bytes_fill_it_at_half).differs(&[&differences::BYTES]),
    says("writev is one operation: atomicity counts the sum."),
    each!(writev_gathers_one_write).and_socket(),
    each!(writev_is_atomic_up_to_the_sum_of_4096),
    each!(a_longer_writev_takes_what_fits),
    each!(writing_to_a_read_end_is_ebadf),
];

/// A queue of 8192 bytes that is full, for writers that must wait.
fn full(q: &Queue) -> (End, End) {
    let (reader, writer) = q.pair_of(2 * PIPE_BUF_BYTES);
    expect("bytes that filled it", writer.fill(), 2 * PIPE_BUF_BYTES);
    (reader, writer)
}

fn an_atomic_write_waits_until_all_of_it_fits(q: &Queue) {
    let (reader, writer) = full(q);
    let data = pattern(PIPE_BUF_BYTES);
    let bytes = data.clone();
    let part = Actor::asleep_in(Call::Write, "writer", move || writer.write(&bytes));
    // One byte less than it needs: it may look, and has to sleep again.
    reader.read_all(PIPE_BUF_BYTES - 1);
    part.wait_asleep_in(Call::Write);
    expect(
        "queued with 4095 bytes free",
        reader.queued(),
        PIPE_BUF_BYTES + 1,
    );
    reader.read_all(1);
    expect("write", part.join(), Ok(PIPE_BUF_BYTES));
    reader.read_all(PIPE_BUF_BYTES);
    expect_bytes("data", &reader.read_all(PIPE_BUF_BYTES), &data);
}

fn an_atomic_write_queues_nothing_while_it_waits(q: &Queue) {
    let (reader, writer) = q.pair_of(PIPE_BUF_BYTES);
    writer.write_all(b"x");
    let data = pattern(PIPE_BUF_BYTES);
    let bytes = data.clone();
    let part = Actor::asleep_in(Call::Write, "writer", move || writer.write(&bytes));
    expect("queued while it sleeps", reader.queued(), 1);
    expect("read", reader.read(1), Ok(b"x".to_vec()));
    expect("write", part.join(), Ok(PIPE_BUF_BYTES));
    expect_bytes("data", &reader.read_all(PIPE_BUF_BYTES), &data);
}

fn a_long_write_goes_in_whole_while_a_reader_reads(q: &Queue) {
    for capacity in [4096, 65536] {
        let (reader, writer) = q.pair_of(capacity);
        let data = pattern(300_001);
        let bytes = data.clone();
        let part = Actor::start("writer", move || writer.write(&bytes));
        expect_bytes("data", &reader.read_all(data.len()), &data);
        expect("write", part.join(), Ok(data.len()));
    }
}

fn a_long_write_begins_with_what_fits(q: &Queue) {
    let (reader, writer) = q.pair_of(2 * PIPE_BUF_BYTES);
    let data = pattern(3 * PIPE_BUF_BYTES);
    let bytes = data.clone();
    let part = Actor::asleep_in(Call::Write, "writer", move || writer.write(&bytes));
    expect(
        "queued while it sleeps",
        reader.queued(),
        2 * PIPE_BUF_BYTES,
    );
    expect_bytes("data", &reader.read_all(data.len()), &data);
    expect("write", part.join(), Ok(data.len()));
}

fn a_nonblocking_atomic_write_is_all_or_eagain(q: &Queue) {
    let (reader, writer) = q.pair_of(PIPE_BUF_BYTES);
    let writer = writer.nonblocking();
    writer.write_all(b"x");
    let data = pattern(PIPE_BUF_BYTES);
    expect(
        "4096 bytes into 4095",
        writer.write(&data),
        Err(Errno::EAGAIN),
    );
    expect("queued", reader.queued(), 1);
    expect(
        "4095 bytes into 4095",
        writer.write(&data[1..]),
        Ok(PIPE_BUF_BYTES - 1),
    );
    expect("1 byte into none", writer.write(b"y"), Err(Errno::EAGAIN));
    expect("read", reader.read(1), Ok(b"x".to_vec()));
    expect_bytes("data", &reader.read_all(PIPE_BUF_BYTES - 1), &data[1..]);
}

fn rwf_nowait_is_eagain_when_full(q: &Queue) {
    let (reader, writer) = q.first_pair();
    writer.fill();
    let write = |len| raw::write_with(writer.as_fd(), &pattern(len), raw::RWF_NOWAIT);
    // Only an anonymous pipe has FMODE_NOWAIT (create_pipe_files() in fs/pipe.c).
    if q.differs(&differences::NOWAIT) {
        return expect("write", write(1), Err(Errno::EOPNOTSUPP));
    }
    expect("1 byte to a full queue", write(1), Err(Errno::EAGAIN));
    let long = write(10_000);
    expect("10000 bytes to a full queue", long, Err(Errno::EAGAIN));
    reader.read_all(PIPE_BUF_BYTES);
    let long = write(10_000);
    expect("10000 bytes with room for 4096", long, Ok(PIPE_BUF_BYTES));
}

fn a_nonblocking_long_write_takes_what_fits(q: &Queue) {
    let (reader, writer) = q.pair_of(2 * PIPE_BUF_BYTES);
    let writer = writer.nonblocking();
    writer.write_all(b"x");
    let data = pattern(10_000);
    let took = writer.write(&data).expect("write");
    let room = 2 * PIPE_BUF_BYTES - 1;
    let wanted = if q.differs(&differences::BYTES) {
        room
    } else {
        // The end of the data joins the first slot, a page goes into the second (fs/pipe.c).
        data.len() % PAGE_BYTES + PAGE_BYTES
    };
    expect("bytes taken", took, wanted);
    expect("read", reader.read(1), Ok(b"x".to_vec()));
    expect_bytes("data", &reader.read_all(took), &data[..took]);
}

fn a_nonblocking_long_write_to_a_full_queue_is_eagain(q: &Queue) {
    let (reader, writer) = full(q);
    let writer = writer.nonblocking();
    expect("write", writer.write(&pattern(10_000)), Err(Errno::EAGAIN));
    expect("queued", reader.queued(), 2 * PIPE_BUF_BYTES);
}

fn a_signal_interrupts_a_writer_that_wrote_nothing(q: &Queue) {
    signals::handle(After::Fail);
    for len in [1, PIPE_BUF_BYTES, 10_000] {
        let (reader, writer) = full(q);
        let data = pattern(len);
        let part = Actor::asleep_in(Call::Write, "writer", move || writer.write(&data));
        part.signal(INTERRUPT);
        expect(&format!("write of {len}"), part.join(), Err(Errno::EINTR));
        expect("queued", reader.queued(), 2 * PIPE_BUF_BYTES);
    }
}

fn a_signal_after_a_part_returns_the_partial_count(q: &Queue) {
    // Even with SA_RESTART: what is written is written.
    signals::handle(After::Restart);
    let (reader, writer) = q.pair_of(2 * PIPE_BUF_BYTES);
    let data = pattern(50_000);
    let bytes = data.clone();
    let part = Actor::asleep_in(Call::Write, "writer", move || writer.write(&bytes));
    part.signal(INTERRUPT);
    expect("write", part.join(), Ok(2 * PIPE_BUF_BYTES));
    expect_bytes(
        "data",
        &reader.read_all(data.len()),
        &data[..2 * PIPE_BUF_BYTES],
    );
}

fn with_sa_restart_a_sleeping_writer_writes_on(q: &Queue) {
    signals::handle(After::Restart);
    let (reader, writer) = full(q);
    let data = pattern(PIPE_BUF_BYTES);
    let bytes = data.clone();
    let part = Actor::asleep_in(Call::Write, "writer", move || writer.write(&bytes));
    part.signal(INTERRUPT);
    wait_until("the signal handled", || signals::handled() == 1);
    part.wait_asleep_in(Call::Write);
    reader.read_all(2 * PIPE_BUF_BYTES);
    expect("write", part.join(), Ok(PIPE_BUF_BYTES));
    expect_bytes("data", &reader.read_all(PIPE_BUF_BYTES), &data);
}

fn efault_queues_nothing(q: &Queue) {
    let (reader, writer) = q.pair();
    let forbidden = Mapping::of(&[Page::Forbidden; 3]);
    for len in [1, PIPE_BUF_BYTES, 3 * PAGE_BYTES] {
        let wrong = Span::wrong(len).into_iter();
        for (what, span) in wrong.chain([("forbidden", forbidden.span(0, len))]) {
            let what = format!("write of {len} bytes at {what}");
            expect(&what, raw::write(writer.as_fd(), span), Err(Errno::EFAULT));
            expect("queued", reader.queued(), 0);
        }
    }
}

fn a_fault_does_not_tear_an_atomic_write(q: &Queue) {
    let (reader, writer) = q.pair();
    let memory = Mapping::of(&[Page::Open, Page::Forbidden]);
    memory.store(0, &pattern(PAGE_BYTES));
    for already_queued in [0, 1] {
        writer.write_all(&b"x"[..already_queued]);
        for (good, len) in [(1, 2), (100, 4096), (4095, 4096), (2000, 2001)] {
            let span = memory.span(PAGE_BYTES - good, len);
            let what = format!("write of {len} bytes of which {good} are there");
            expect(&what, raw::write(writer.as_fd(), span), Err(Errno::EFAULT));
            expect("queued", reader.queued(), already_queued);
        }
    }
    writer.write_all(b"y");
    expect("read", reader.read(100), Ok(b"xy".to_vec()));
}

fn a_fault_does_not_tear_an_atomic_vector(q: &Queue) {
    let (reader, writer) = q.pair();
    let memory = Mapping::of(&[Page::Open, Page::Forbidden]);
    let vector = [memory.span(0, 2000), memory.span(PAGE_BYTES, 1)];
    expect(
        "writev",
        raw::writev(writer.as_fd(), &vector),
        Err(Errno::EFAULT),
    );
    expect("queued", reader.queued(), 0);
}

fn a_fault_in_a_long_write_returns_what_went_before(q: &Queue) {
    let (reader, writer) = q.pair();
    let memory = Mapping::of(&[Page::Open, Page::Open, Page::Open, Page::Forbidden]);
    let data = pattern(3 * PAGE_BYTES);
    memory.store(0, &data);
    let good = 3 * PAGE_BYTES - 100;
    let span = memory.span(100, good + 1000);
    let took = raw::write(writer.as_fd(), span).expect("write");
    if q.differs(&differences::FAULT) {
        assert!((1..=good).contains(&took), "{took} of {good} bytes taken");
    } else {
        // Whole pages, from the start of the data.
        expect("bytes taken", took, good / PAGE_BYTES * PAGE_BYTES);
    }
    expect("queued", reader.queued(), took);
    expect_bytes("data", &reader.read_all(took), &data[100..100 + took]);
}

fn single_bytes_fill_the_whole_capacity(q: &Queue) {
    let (reader, writer) = q.pair_of(PIPE_BUF_BYTES);
    let writer = writer.nonblocking();
    let data = pattern(PIPE_BUF_BYTES);
    for byte in data.chunks(1) {
        writer.write_all(byte);
    }
    expect("one more", writer.write(b"x"), Err(Errno::EAGAIN));
    expect_bytes("data", &reader.read_all(data.len()), &data);
}

fn writes_of_2049_bytes_fill_it_at_half(q: &Queue) {
    let (reader, writer) = q.pair();
    let writer = writer.nonblocking();
    let capacity = reader.capacity();
    expect("capacity", capacity, 65536);
    let mut writes = 0;
    while writer.write(&pattern(2049)).is_ok() {
        writes += 1;
    }
    let slot = if q.differs(&differences::BYTES) {
        2049
    } else {
        PAGE_BYTES
    };
    let wanted = capacity / slot;
    expect("writes that fit", writes, wanted);
}

fn writev_gathers_one_write(q: &Queue) {
    let (reader, writer) = q.pair();
    let memory = Mapping::of(&[Page::Open; 3]);
    let data = pattern(9000);
    memory.store(0, &data);
    let vector = [
        memory.span(0, 1),
        memory.span(1, 0),
        memory.span(1, 4999),
        memory.span(5000, 4000),
    ];
    expect(
        "writev",
        raw::writev(writer.as_fd(), &vector),
        Ok(data.len()),
    );
    expect(
        "read",
        reader.read(10_000).map(|bytes| bytes.len()),
        Ok(data.len()),
    );
}

fn writev_is_atomic_up_to_the_sum_of_4096(q: &Queue) {
    let (reader, writer) = q.pair_of(PIPE_BUF_BYTES);
    let writer = writer.nonblocking();
    writer.write_all(b"x");
    let memory = Mapping::of(&[Page::Open]);
    let halves = [memory.span(0, 2048), memory.span(2048, 2048)];
    let written = raw::writev(writer.as_fd(), &halves);
    expect("2048 + 2048 bytes into 4095", written, Err(Errno::EAGAIN));
    expect("queued", reader.queued(), 1);
    reader.read_all(1);
    expect("into 4096", raw::writev(writer.as_fd(), &halves), Ok(4096));
}

fn a_longer_writev_takes_what_fits(q: &Queue) {
    let (reader, writer) = q.pair_of(PIPE_BUF_BYTES);
    let memory = Mapping::of(&[Page::Open; 2]);
    let data = pattern(4097);
    memory.store(0, &data);
    let vector = [memory.span(0, 2048), memory.span(2048, 2049)];
    let writer = writer.nonblocking();
    expect(
        "2048 + 2049 bytes",
        raw::writev(writer.as_fd(), &vector),
        Ok(4096),
    );
    expect_bytes("data", &reader.read_all(4096), &data[..4096]);
}

fn writing_to_a_read_end_is_ebadf(q: &Queue) {
    let (reader, _writer) = q.pair();
    expect("write", reader.write(b"x"), Err(Errno::EBADF));
}

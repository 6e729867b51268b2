// SPDX-License-Identifier: MIT

//! Reading: what there is, end of file, nothing lost. pipe(7), read(2).

use crate::tools::actor::wait_until;
use crate::tools::memory::{Mapping, Page, Span, PAGE_BYTES};
use crate::tools::prelude::*;
use crate::tools::raw;
use crate::tools::signals::{self, After, INTERRUPT};
use std::os::fd::AsFd;

/// The table.
pub const TESTS: &[Test] = &[
    section(
        "Read",
        "its ends cannot be opened again, or they serve both directions",
    ),
    says("Count 0 returns 0."),
    each!(count_0_returns_0_at_once).and_socket(),
    says("Returns what is there (a short read is normal)."),
    each!(returns_what_is_there).and_socket(),
    each!(takes_as_much_as_asked_and_leaves_the_rest_in_order).and_socket(),
    each!(sleeps_until_there_is_data).and_socket(),
    each!(does_not_wait_for_more_once_it_has_something).and_socket(),
    says("Empty without writers: 0 (EOF), not sticky: a new writer revives the queue."),
    each!(returns_eof_after_last_writer_closes),
    each!(returns_queued_data_before_eof).and_socket(),
    each!(returns_eof_while_there_was_never_a_writer),
    each!(eof_is_not_sticky),
    each!(a_sleeping_reader_gets_eof_when_the_last_writer_closes).and_socket(),
    says("Empty with O_NONBLOCK, RWF_NOWAIT or io_uring's nowait (see poll.rs): EAGAIN."),
    each!(empty_with_o_nonblock_is_eagain).and_socket(),
    each!(o_nonblock_may_be_set_and_cleared_later).and_socket(),
    each!(rwf_nowait_is_eagain)
        .and_socket()
        .differs(&[&differences::NOWAIT]),
    says("EFAULT only if nothing was copied, and then nothing is lost."),
    each!(efault_loses_nothing).and_socket(),
    each!(a_fault_in_the_middle_loses_nothing)
        .and_socket()
        .differs(&[&differences::FAULT]),
    each!(a_fault_in_a_later_vector_returns_the_earlier_ones),
    says("A signal ends the sleep: EINTR, or restart."),
    each!(a_signal_interrupts_a_sleeping_reader).and_socket(),
    each!(with_sa_restart_a_sleeping_reader_reads_on).and_socket(),
    says("The direction is checked by the VFS."),
    each!(reading_from_a_write_end_is_ebadf),
    says("readv is one operation."),
    each!(readv_scatters_one_read).and_socket(),
    each!(readv_of_empty_vectors_returns_0).and_socket(),
];

fn count_0_returns_0_at_once(q: &Queue) {
    let (reader, writer) = q.pair();
    expect("empty", reader.read(0), Ok(vec![]));
    reader.set_mode(Mode::Nonblocking);
    expect("empty, O_NONBLOCK", reader.read(0), Ok(vec![]));
    writer.write_all(b"x");
    expect("with data", reader.read(0), Ok(vec![]));
    expect("queued after that", reader.queued(), 1);
    writer.close();
    expect("without writers", reader.read(0), Ok(vec![]));
}

fn returns_what_is_there(q: &Queue) {
    let (reader, writer) = q.pair();
    writer.write_all(b"short");
    expect(
        "read of much more",
        reader.read(100_000),
        Ok(b"short".to_vec()),
    );
}

fn takes_as_much_as_asked_and_leaves_the_rest_in_order(q: &Queue) {
    let (reader, writer) = q.pair();
    let data = pattern(20_000);
    writer.write_all(&data);
    let mut got = Vec::new();
    for len in [1, 4095, 4096, 4097, 3, 5000] {
        let part = reader.read(len).expect("read");
        expect("bytes read", part.len(), len);
        got.extend(part);
        expect("bytes left", reader.queued(), data.len() - got.len());
    }
    got.extend(reader.read_all(data.len() - got.len()));
    expect_bytes("data", &got, &data);
}

fn sleeps_until_there_is_data(q: &Queue) {
    let (reader, writer) = q.pair();
    let part = Actor::asleep_in(Call::Read, "reader", move || reader.read(100));
    writer.write_all(b"now");
    expect("read", part.join(), Ok(b"now".to_vec()));
}

fn does_not_wait_for_more_once_it_has_something(q: &Queue) {
    let (reader, writer) = q.pair();
    let part = Actor::asleep_in(Call::Read, "reader", move || reader.read(10_000));
    writer.write_all(b"x");
    expect(
        "read of 10000 with 1 byte there",
        part.join(),
        Ok(b"x".to_vec()),
    );
}

fn returns_eof_after_last_writer_closes(q: &Queue) {
    let (reader, writer) = q.pair();
    let second = q.writer();
    writer.close();
    reader.set_mode(Mode::Nonblocking);
    expect("one writer left", reader.read(1), Err(Errno::EAGAIN));
    second.close();
    expect("no writer left", reader.read(1), Ok(vec![]));
    reader.set_mode(Mode::Blocking);
    expect("and if it may block", reader.read(1), Ok(vec![]));
}

fn returns_queued_data_before_eof(q: &Queue) {
    let (reader, writer) = q.pair();
    writer.write_all(b"ab");
    writer.close();
    for wanted in ["a", "b", "", ""] {
        expect("read of 1", reader.read(1), Ok(wanted.into()));
    }
}

fn returns_eof_while_there_was_never_a_writer(q: &Queue) {
    let reader = q.must_open(OFlag::O_RDONLY | OFlag::O_NONBLOCK);
    expect("O_NONBLOCK", reader.read(1), Ok(vec![]));
    reader.set_mode(Mode::Blocking);
    expect("blocking", reader.read(1), Ok(vec![]));
}

fn eof_is_not_sticky(q: &Queue) {
    let (reader, writer) = q.pair();
    writer.close();
    expect("without writers", reader.read(1), Ok(vec![]));
    let writer = q.writer();
    let part = Actor::asleep_in(Call::Read, "reader", move || reader.read(100));
    writer.write_all(b"alive again");
    expect(
        "with a new writer",
        part.join(),
        Ok(b"alive again".to_vec()),
    );
}

fn a_sleeping_reader_gets_eof_when_the_last_writer_closes(q: &Queue) {
    let (reader, writer) = q.pair();
    let part = Actor::asleep_in(Call::Read, "reader", move || reader.read(100));
    writer.close();
    expect("read", part.join(), Ok(vec![]));
}

fn empty_with_o_nonblock_is_eagain(q: &Queue) {
    let (reader, writer) = q.pair();
    let reader = reader.nonblocking();
    expect("empty", reader.read(1), Err(Errno::EAGAIN));
    writer.write_all(b"x");
    expect("with data", reader.read(2), Ok(b"x".to_vec()));
    expect("empty again", reader.read(1), Err(Errno::EAGAIN));
}

fn o_nonblock_may_be_set_and_cleared_later(q: &Queue) {
    let (reader, writer) = q.pair();
    reader.set_mode(Mode::Nonblocking);
    expect(
        "after F_SETFL O_NONBLOCK",
        reader.read(1),
        Err(Errno::EAGAIN),
    );
    reader.set_mode(Mode::Blocking);
    let part = Actor::asleep_in(Call::Read, "reader", move || reader.read(1));
    writer.write_all(b"x");
    expect("after F_SETFL 0", part.join(), Ok(b"x".to_vec()));
}

fn rwf_nowait_is_eagain(q: &Queue) {
    let (reader, writer) = q.first_pair();
    let mut buffer = [0; 8];
    let mut read = || raw::read_with(reader.as_fd(), &mut buffer, raw::RWF_NOWAIT);
    // Only an anonymous pipe has FMODE_NOWAIT (create_pipe_files() in fs/pipe.c).
    if q.differs(&differences::NOWAIT) {
        return expect("read", read(), Err(Errno::EOPNOTSUPP));
    }
    expect("empty", read(), Err(Errno::EAGAIN));
    writer.write_all(b"abc");
    expect("with data", read(), Ok(3));
    writer.close();
    expect("without writers", read(), Ok(0));
}

fn efault_loses_nothing(q: &Queue) {
    let (reader, writer) = q.pair();
    let data = pattern(10_000);
    writer.write_all(&data);
    let read_only = Mapping::of(&[Page::ReadOnly]).all();
    let forbidden = Mapping::of(&[Page::Forbidden]).all();
    let wrong = Span::wrong(PAGE_BYTES).into_iter();
    for (what, span) in wrong.chain([("read only", read_only), ("forbidden", forbidden)]) {
        expect(what, raw::read(reader.as_fd(), span), Err(Errno::EFAULT));
        expect("bytes left", reader.queued(), data.len());
    }
    expect_bytes("data", &reader.read_all(data.len()), &data);
}

fn a_fault_in_the_middle_loses_nothing(q: &Queue) {
    const FITS: usize = 1000;
    let (reader, writer) = q.pair();
    let data = pattern(3000);
    writer.write_all(&data);
    let memory = Mapping::of(&[Page::Open, Page::Forbidden]);
    let got = raw::read(reader.as_fd(), memory.span(PAGE_BYTES - FITS, 2 * FITS));
    let taken = match (q.differs(&differences::FAULT), got) {
        // A pipe takes a buffer (here the one page of the write) whole or not at all.
        (false, Err(Errno::EFAULT)) => 0,
        (true, Ok(len)) if (1..=FITS).contains(&len) => len,
        (_, other) => panic!("read with {FITS} good bytes: got {other:?}"),
    };
    expect("bytes left", reader.queued(), data.len() - taken);
    let mut all = memory.load(PAGE_BYTES - FITS, taken);
    all.extend(reader.read_all(data.len() - taken));
    expect_bytes("what was taken and what was left", &all, &data);
}

fn a_fault_in_a_later_vector_returns_the_earlier_ones(q: &Queue) {
    let (reader, writer) = q.pair();
    // Two buffers of a pipe: the first is taken, the fault is in the second.
    let data = pattern(2 * PAGE_BYTES);
    writer.write_all(&data);
    let memory = Mapping::of(&[Page::Open, Page::Forbidden]);
    let vector = [
        memory.span(0, PAGE_BYTES),
        memory.span(PAGE_BYTES, PAGE_BYTES),
    ];
    expect("readv", raw::readv(reader.as_fd(), &vector), Ok(PAGE_BYTES));
    expect(
        "readv of the rest",
        raw::readv(reader.as_fd(), &vector[1..]),
        Err(Errno::EFAULT),
    );
    let mut all = memory.load(0, PAGE_BYTES);
    all.extend(reader.read_all(PAGE_BYTES));
    expect_bytes("data", &all, &data);
}

fn a_signal_interrupts_a_sleeping_reader(q: &Queue) {
    signals::handle(After::Fail);
    let (reader, writer) = q.pair();
    let end = reader.clone();
    let part = Actor::asleep_in(Call::Read, "reader", move || end.read(1));
    part.signal(INTERRUPT);
    expect("read", part.join(), Err(Errno::EINTR));
    writer.write_all(b"x");
    expect("the next read", reader.read(1), Ok(b"x".to_vec()));
}

fn with_sa_restart_a_sleeping_reader_reads_on(q: &Queue) {
    signals::handle(After::Restart);
    let (reader, writer) = q.pair();
    let part = Actor::asleep_in(Call::Read, "reader", move || reader.read(1));
    part.signal(INTERRUPT);
    wait_until("the signal handled", || signals::handled() == 1);
    part.wait_asleep_in(Call::Read);
    writer.write_all(b"x");
    expect("read", part.join(), Ok(b"x".to_vec()));
}

fn reading_from_a_write_end_is_ebadf(q: &Queue) {
    let (_reader, writer) = q.pair();
    writer.write_all(b"x");
    expect("read", writer.read(1), Err(Errno::EBADF));
}

fn readv_scatters_one_read(q: &Queue) {
    let (reader, writer) = q.pair();
    let data = pattern(9000);
    writer.write_all(&data);
    let memory = Mapping::of(&[Page::Open; 3]);
    let vector = [
        memory.span(0, 1),
        memory.span(1, 0),
        memory.span(1, 4999),
        memory.span(5000, 7000),
    ];
    expect("readv", raw::readv(reader.as_fd(), &vector), Ok(data.len()));
    expect_bytes("data", &memory.load(0, data.len()), &data);
}

fn readv_of_empty_vectors_returns_0(q: &Queue) {
    let (reader, _writer) = q.pair();
    let memory = Mapping::of(&[Page::Open]);
    let empty = memory.span(0, 0);
    expect("no vector", raw::readv(reader.as_fd(), &[]), Ok(0));
    expect(
        "two of length 0",
        raw::readv(reader.as_fd(), &[empty, empty]),
        Ok(0),
    );
}

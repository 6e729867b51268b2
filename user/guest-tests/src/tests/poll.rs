// SPDX-License-Identifier: MIT

//! Readiness: poll(2) and select(2). epoll and io_uring are in `epoll.rs` and `uring.rs`.

use std::os::fd::AsFd;

use kpipe_abi::uapi::PIPE_BUF_BYTES;
use nix::poll::PollFlags;
use nix::sys::select::{select, FdSet};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::harness::amount;
use crate::tools::prelude::*;

/// The table.
pub const TESTS: &[Test] = &[
    section("Poll and select", "its ends serve both directions and say so"),
    says("Read end: POLLIN|POLLRDNORM if not empty."),
    each!(a_read_end_is_readable_while_there_is_data),
    says("POLLHUP without writers, but not before a first writer was seen by this open."),
    each!(a_read_end_hangs_up_when_the_last_writer_is_gone),
    named!(there_is_no_hangup_before_the_first_writer),
    named!(the_first_writer_counts_for_each_open),
    each!(a_writer_that_came_and_went_is_a_hangup),
    each!(a_new_writer_ends_the_hangup),
    says("EOF without data is HUP without IN."),
    each!(data_before_eof_is_in_and_hup_then_hup_alone),
    says("Write end: POLLOUT|POLLWRNORM only when >= PIPE_BUF bytes are free; POLLERR without readers."),
    each!(a_write_end_is_writable_while_an_atomic_write_fits).differs(&[&differences::BYTES]),
    each!(pollout_promises_an_atomic_write),
    each!(a_write_end_without_readers_is_an_error),
    each!(a_description_for_both_ends_shows_both),
    says("Register before looking: no wakeup is lost."),
    each!(poll_sleeps_until_there_is_data).and_socket(),
    each!(poll_sleeps_until_there_is_room).and_socket(),
    each!(poll_sleeps_until_the_last_writer_closes),
    each!(poll_sleeps_until_the_last_reader_closes),
    each!(pollers_on_both_sides_never_miss_a_change).and_socket().deadline_secs(30),
    says("A poller does not take a blocked reader's wakeup."),
    each!(a_poller_and_a_reader_both_wake_for_one_write).and_socket(),
    each!(all_pollers_wake_for_one_write).and_socket(),
    says("select."),
    each!(select_sees_data_room_and_eof),
    each!(select_sleeps_until_there_is_data).and_socket(),
];

const NOTHING: PollFlags = PollFlags::empty();
const HUP: PollFlags = PollFlags::POLLHUP;
const ERR: PollFlags = PollFlags::POLLERR;
const IN: PollFlags = PollFlags::POLLIN.union(PollFlags::POLLRDNORM);
const OUT: PollFlags = PollFlags::POLLOUT.union(PollFlags::POLLWRNORM);

fn a_read_end_is_readable_while_there_is_data(q: &Queue) {
    let (reader, writer) = q.pair();
    expect("empty", reader.readiness(), NOTHING);
    writer.write_all(b"ab");
    expect("2 bytes", reader.readiness(), IN);
    reader.read_all(1);
    expect("1 byte", reader.readiness(), IN);
    reader.read_all(1);
    expect("empty again", reader.readiness(), NOTHING);
}

fn a_read_end_hangs_up_when_the_last_writer_is_gone(q: &Queue) {
    let (reader, writer) = q.pair();
    let second = q.writer();
    writer.close();
    expect("one writer left", reader.readiness(), NOTHING);
    second.close();
    expect("no writer left", reader.readiness(), HUP);
}

fn there_is_no_hangup_before_the_first_writer(q: &Queue) {
    let reader = q.must_open(OFlag::O_RDONLY | OFlag::O_NONBLOCK);
    expect("no writer yet", reader.readiness(), NOTHING);
    let writer = q.writer();
    expect("a writer", reader.readiness(), NOTHING);
    writer.close();
    expect("no writer any more", reader.readiness(), HUP);
}

fn the_first_writer_counts_for_each_open(q: &Queue) {
    let (old, writer) = q.pair();
    writer.close();
    let new = q.must_open(OFlag::O_RDONLY | OFlag::O_NONBLOCK);
    expect("who saw a writer", old.readiness(), HUP);
    expect("who saw none", new.readiness(), NOTHING);
    let queue = q.clone();
    let waiting = Actor::asleep_in(Call::Open, "reader", move || queue.open(OFlag::O_RDONLY));
    q.writer().close();
    let waited = waiting.join().expect("open");
    expect("who saw none, then one", new.readiness(), HUP);
    expect("who waited for one in open", waited.readiness(), HUP);
}

fn a_writer_that_came_and_went_is_a_hangup(q: &Queue) {
    let reader = q.must_open(OFlag::O_RDONLY | OFlag::O_NONBLOCK);
    // Never polled while the writer was there.
    q.writer().close();
    expect("after it", reader.readiness(), HUP);
}

fn a_new_writer_ends_the_hangup(q: &Queue) {
    let (reader, writer) = q.pair();
    writer.close();
    expect("no writer", reader.readiness(), HUP);
    let writer = q.writer();
    expect("a new writer", reader.readiness(), NOTHING);
    writer.write_all(b"x");
    expect("and its data", reader.readiness(), IN);
}

fn data_before_eof_is_in_and_hup_then_hup_alone(q: &Queue) {
    let (reader, writer) = q.pair();
    writer.write_all(b"x");
    writer.close();
    expect("data, no writer", reader.readiness(), IN | HUP);
    reader.read_all(1);
    expect("no data, no writer", reader.readiness(), HUP);
}

fn a_write_end_is_writable_while_an_atomic_write_fits(q: &Queue) {
    let (reader, writer) = q.pair_of(2 * PIPE_BUF_BYTES);
    expect("empty", writer.readiness(), OUT);
    writer.write_all(&pattern(PIPE_BUF_BYTES));
    expect("4096 bytes free", writer.readiness(), OUT);
    writer.write_all(b"x");
    expect("4095 bytes free", writer.readiness(), NOTHING);
    reader.read_all(1);
    // The first slot of the pipe still holds 4095 bytes.
    let wanted = if q.differs(&differences::BYTES) {
        OUT
    } else {
        NOTHING
    };
    expect("4096 bytes free again", writer.readiness(), wanted);
    writer.fill();
    expect("full", writer.readiness(), NOTHING);
    reader.read_all(reader.queued());
    expect("empty again", writer.readiness(), OUT);
}

fn pollout_promises_an_atomic_write(q: &Queue) {
    let (reader, writer) = q.pair_of(4 * PIPE_BUF_BYTES);
    let writer = writer.nonblocking();
    for len in [1, 700, 4096, 2049, 5000].repeat(20) {
        if writer.readiness().contains(PollFlags::POLLOUT) {
            expect(
                "write of 4096",
                writer.write(&[7; PIPE_BUF_BYTES]),
                Ok(PIPE_BUF_BYTES),
            );
        } else {
            reader.read(len).expect("read");
        }
    }
}

fn a_write_end_without_readers_is_an_error(q: &Queue) {
    let (reader, writer) = q.pair_of(PIPE_BUF_BYTES);
    reader.close();
    expect("empty", writer.readiness(), OUT | ERR);
    let reader = q.reader();
    expect("a new reader", writer.readiness(), OUT);
    writer.fill();
    reader.close();
    expect("full", writer.readiness(), ERR);
}

fn a_description_for_both_ends_shows_both(q: &Queue) {
    let both = q.must_open(OFlag::O_RDWR);
    both.resize(PIPE_BUF_BYTES as u64).expect("resize");
    expect("empty", both.readiness(), OUT);
    both.write_all(b"x");
    expect("1 byte of 4096", both.readiness(), IN);
}

fn poll_sleeps_until_there_is_data(q: &Queue) {
    let (reader, writer) = q.pair();
    let part = Actor::asleep_in(Call::Poll, "poller", move || {
        reader.wait_for(PollFlags::POLLIN)
    });
    writer.write_all(b"x");
    expect("poll", part.join(), PollFlags::POLLIN);
}

fn poll_sleeps_until_there_is_room(q: &Queue) {
    let (reader, writer) = q.pair();
    let capacity = writer.fill();
    let part = Actor::asleep_in(Call::Poll, "poller", move || {
        writer.wait_for(PollFlags::POLLOUT)
    });
    reader.read_all(capacity);
    expect("poll", part.join(), PollFlags::POLLOUT);
}

fn poll_sleeps_until_the_last_writer_closes(q: &Queue) {
    let (reader, writer) = q.pair();
    let part = Actor::asleep_in(Call::Poll, "poller", move || {
        reader.wait_for(PollFlags::POLLIN)
    });
    writer.close();
    expect("poll", part.join(), HUP);
}

fn poll_sleeps_until_the_last_reader_closes(q: &Queue) {
    let (reader, writer) = q.pair();
    writer.fill();
    let part = Actor::asleep_in(Call::Poll, "poller", move || {
        writer.wait_for(PollFlags::POLLOUT)
    });
    reader.close();
    expect("poll", part.join(), ERR);
}

/// A ball goes to and fro, and each side knows of it by poll only. A change between the look and
/// the registration would leave both asleep.
fn pollers_on_both_sides_never_miss_a_change(q: &Queue) {
    let rounds = amount(2000);
    let (there_reader, there) = q.pair();
    let (back_reader, back) = q.another().pair();
    let play = move |from: &End, to: &End| {
        expect("poll", from.wait_for(PollFlags::POLLIN), PollFlags::POLLIN);
        expect("read", from.read(2), Ok(b"o".to_vec()));
        expect("write", to.write(b"o"), Ok(1));
    };
    let partner = Actor::start("partner", move || {
        let there_reader = there_reader.nonblocking();
        for _ in 0..rounds {
            play(&there_reader, &back);
        }
    });
    there.write_all(b"o");
    let back_reader = back_reader.nonblocking();
    for _ in 1..rounds {
        play(&back_reader, &there);
    }
    partner.join();
}

fn a_poller_and_a_reader_both_wake_for_one_write(q: &Queue) {
    let (reader, writer) = q.pair();
    let polled = reader.clone();
    let poller = Actor::asleep_in(Call::Poll, "poller", move || {
        polled.wait_for(PollFlags::POLLIN)
    });
    let read = Actor::asleep_in(Call::Read, "reader", move || reader.read(1));
    writer.write_all(b"xy");
    expect("poll", poller.join(), PollFlags::POLLIN);
    expect("read", read.join(), Ok(b"x".to_vec()));
}

fn all_pollers_wake_for_one_write(q: &Queue) {
    let (reader, writer) = q.pair();
    let pollers: Vec<_> = (0..3)
        .map(|n| {
            let reader = reader.clone();
            Actor::asleep_in(Call::Poll, &format!("poller {n}"), move || {
                reader.wait_for(PollFlags::POLLIN)
            })
        })
        .collect();
    writer.write_all(b"x");
    for poller in pollers {
        expect("poll", poller.join(), PollFlags::POLLIN);
    }
}

/// Which of the two ends select(2) calls readable and writable, now.
fn selected(reader: &End, writer: &End) -> (bool, bool) {
    let mut readable = FdSet::new();
    readable.insert(reader.as_fd());
    let mut writable = FdSet::new();
    writable.insert(writer.as_fd());
    let mut now = TimeVal::zero();
    select(None, &mut readable, &mut writable, None, &mut now).expect("select");
    (
        readable.contains(reader.as_fd()),
        writable.contains(writer.as_fd()),
    )
}

fn select_sees_data_room_and_eof(q: &Queue) {
    let (reader, writer) = q.pair_of(PIPE_BUF_BYTES);
    expect(
        "empty: readable, writable",
        selected(&reader, &writer),
        (false, true),
    );
    writer.fill();
    expect(
        "full: readable, writable",
        selected(&reader, &writer),
        (true, false),
    );
    reader.read_all(PIPE_BUF_BYTES);
    let other = q.another();
    let (_other_reader, other_writer) = other.pair();
    writer.close();
    let at_eof = selected(&reader, &other_writer);
    expect("end of file counts as readable", at_eof.0, true);
}

fn select_sleeps_until_there_is_data(q: &Queue) {
    let (reader, writer) = q.pair();
    let part = Actor::asleep_in(Call::Select, "selector", move || {
        let mut readable = FdSet::new();
        readable.insert(reader.as_fd());
        select(None, &mut readable, None, None, None)
    });
    writer.write_all(b"x");
    expect("select", part.join(), Ok(1));
}

// SPDX-License-Identifier: MIT

//! Who is woken when, and who is not. The comments in fs/pipe.c around `wake_next_reader` say why.
//!
//! "Not woken" is observed, not assumed: see `tools/observe.rs`.

use kpipe::Carrier;
use kpipe_abi::uapi::PIPE_BUF_BYTES;
use nix::poll::PollFlags;

use crate::harness::amount;
use crate::tools::actor::wait_until;
use crate::tools::bytes::Random;
use crate::tools::prelude::*;
use crate::tools::schedule::{on_one_processor, undisturbed};
use crate::tools::signals::{self, After, INTERRUPT};
use crate::tools::transport::carrier;

/// The table.
pub const TESTS: &[Test] = &[
    section("Wakeups", "it wakes by rules of its own"),
    says("Readers and writers wait on separate queues; wakeups carry a poll key."),
    each!(a_poller_of_the_write_end_sleeps_through_data),
    each!(a_poller_of_the_read_end_sleeps_through_room),
    each!(a_poller_for_hangup_sleeps_through_data).and_socket(),
    says("They wait exclusively: one write wakes one blocked reader."),
    each!(one_write_wakes_exactly_one_of_five_readers),
    each!(one_read_wakes_exactly_one_of_three_writers),
    ours!(one_write_counts_one_wakeup),
    each!(a_long_writer_is_not_woken_for_every_byte),
    says("Who leaves data (or room) behind wakes the next (baton)."),
    each!(a_reader_that_leaves_data_wakes_the_next).and_socket(),
    each!(a_writer_that_leaves_room_wakes_the_next),
    each!(two_writes_serve_two_readers).and_socket(),
    says("A waiter that is woken and signalled at once must not swallow the wakeup."),
    each!(a_signalled_reader_passes_its_wakeup_on)
        .and_socket()
        .deadline_secs(30),
    each!(a_signalled_writer_passes_its_wakeup_on).deadline_secs(30),
    says("The last close of an end wakes everybody; no other close wakes anybody."),
    each!(the_last_close_of_the_write_end_wakes_every_reader),
    each!(the_last_close_of_the_read_end_wakes_every_writer),
    each!(a_close_that_is_not_the_last_wakes_nobody),
    says("A reader whose data another one took sleeps on."),
    each!(a_woken_reader_that_finds_nothing_sleeps_again),
];

fn sleeping_readers(reader: &End, number: usize, len: usize) -> Vec<Actor<nix::Result<Vec<u8>>>> {
    let start = |n| {
        let end = reader.clone();
        Actor::asleep_in(Call::Read, &format!("reader {n}"), move || end.read(len))
    };
    (0..number).map(start).collect()
}

fn sleeping_writers(writer: &End, number: usize, len: usize) -> Vec<Actor<nix::Result<usize>>> {
    let start = |n| {
        let end = writer.clone();
        Actor::asleep_in(Call::Write, &format!("writer {n}"), move || {
            end.write(&vec![n as u8; len])
        })
    };
    (0..number).map(start).collect()
}

/// Waits until one of the parts is done, and fails if any other one was woken.
fn take_the_one_woken<T: Send + 'static>(
    parts: &mut Vec<Actor<T>>,
    sleeps: &mut Vec<u64>,
    call: Call,
) -> T {
    wait_until("one is done", || parts.iter().any(Actor::is_done));
    let first = parts.iter().position(Actor::is_done).expect("just seen");
    let done = parts.remove(first);
    sleeps.remove(first);
    for (part, sleeps) in parts.iter().zip(sleeps) {
        part.expect_not_woken_since(*sleeps, call);
    }
    done.join()
}

fn a_poller_of_the_write_end_sleeps_through_data(q: &Queue) {
    let (reader, writer) = q.pair_of(2 * PIPE_BUF_BYTES);
    // Not writable for poll, and yet one more byte fits, on either subject.
    writer.write_all(&pattern(PIPE_BUF_BYTES));
    writer.write_all(b"x");
    let polled = writer.clone();
    let poller = Actor::asleep_in(Call::Poll, "poller", move || {
        polled.wait_for(PollFlags::POLLIN | PollFlags::POLLOUT)
    });
    let sleeps = poller.sleeps();
    writer.write_all(b"y");
    poller.expect_not_woken_since(sleeps, Call::Poll);
    reader.read_all(PIPE_BUF_BYTES + 2);
    expect("poll", poller.join(), PollFlags::POLLOUT);
}

fn a_poller_of_the_read_end_sleeps_through_room(q: &Queue) {
    let (reader, writer) = q.pair();
    let capacity = writer.fill();
    let polled = reader.clone();
    let poller = Actor::asleep_in(Call::Poll, "poller", move || {
        polled.wait_for(PollFlags::POLLOUT)
    });
    let sleeps = poller.sleeps();
    reader.read_all(capacity);
    poller.expect_not_woken_since(sleeps, Call::Poll);
    writer.close();
    expect("poll", poller.join(), PollFlags::POLLHUP);
}

fn a_poller_for_hangup_sleeps_through_data(q: &Queue) {
    let (reader, writer) = q.pair();
    let poller = Actor::asleep_in(Call::Poll, "poller", move || {
        reader.wait_for(PollFlags::empty())
    });
    let sleeps = poller.sleeps();
    writer.write_all(b"x");
    poller.expect_not_woken_since(sleeps, Call::Poll);
    writer.close();
    expect("poll", poller.join(), PollFlags::POLLHUP);
}

fn one_write_wakes_exactly_one_of_five_readers(q: &Queue) {
    let (reader, writer) = q.pair();
    let mut readers = sleeping_readers(&reader, 5, 100);
    let mut sleeps = readers.iter().map(Actor::sleeps).collect();
    for byte in 0..5 {
        writer.write_all(&[byte]);
        let read = take_the_one_woken(&mut readers, &mut sleeps, Call::Read);
        expect("read", read, Ok(vec![byte]));
    }
}

fn one_read_wakes_exactly_one_of_three_writers(q: &Queue) {
    let (reader, writer) = q.pair();
    writer.fill();
    let mut writers = sleeping_writers(&writer, 3, PIPE_BUF_BYTES);
    let mut sleeps = writers.iter().map(Actor::sleeps).collect();
    for _ in 0..3 {
        reader.read_all(PIPE_BUF_BYTES);
        let written = take_the_one_woken(&mut writers, &mut sleeps, Call::Write);
        expect("write", written, Ok(PIPE_BUF_BYTES));
    }
}

fn one_write_counts_one_wakeup(q: &Queue) {
    let (reader, writer) = q.pair();
    let before = reader.info().read;
    let readers = sleeping_readers(&reader, 3, 1);
    let asleep = reader.info().read;
    expect("sleeps counted", asleep.sleeps - before.sleeps, 3);
    expect("wakeups counted", asleep.wakeups - before.wakeups, 0);
    writer.write_all(b"x");
    wait_until("one reader is done", || readers.iter().any(Actor::is_done));
    let woken = reader.info().read;
    expect(
        "sleeps counted after a write",
        woken.sleeps - before.sleeps,
        3,
    );
    expect(
        "wakeups counted after a write",
        woken.wakeups - before.wakeups,
        1,
    );
    writer.write_all(b"xx");
    for reader in readers {
        expect("read", reader.join(), Ok(b"x".to_vec()));
    }
    expect(
        "wakeups in the end",
        reader.info().read.wakeups - before.wakeups,
        3,
    );
}

fn a_long_writer_is_not_woken_for_every_byte(q: &Queue) {
    const LEN: usize = 100_000;
    let (reader, writer) = q.pair();
    let capacity = writer.fill();
    let part = sleeping_writers(&writer, 1, LEN).remove(0);
    let sleeps = part.sleeps();
    let mut taken = 0;
    for step in [1, 1, 1000, 1000, 1000, 1000, 93] {
        taken += reader.read_all(step).len();
        part.expect_not_woken_since(sleeps, Call::Write);
    }
    expect("bytes taken without a wakeup", taken, PIPE_BUF_BYTES - 1);
    reader.read_all(capacity + LEN - taken);
    expect("write", part.join(), Ok(LEN));
}

fn a_reader_that_leaves_data_wakes_the_next(q: &Queue) {
    let (reader, writer) = q.pair();
    let readers = sleeping_readers(&reader, 4, 1);
    writer.write_all(b"xxxx");
    for reader in readers {
        expect("read", reader.join(), Ok(b"x".to_vec()));
    }
}

fn a_writer_that_leaves_room_wakes_the_next(q: &Queue) {
    let (reader, writer) = q.pair_of(4 * PIPE_BUF_BYTES);
    writer.fill();
    let writers = sleeping_writers(&writer, 4, PIPE_BUF_BYTES);
    // One read(2), so one wakeup from the reader.
    expect(
        "read",
        reader.read(4 * PIPE_BUF_BYTES).map(|b| b.len()),
        Ok(4 * PIPE_BUF_BYTES),
    );
    for writer in writers {
        expect("write", writer.join(), Ok(PIPE_BUF_BYTES));
    }
}

fn two_writes_serve_two_readers(q: &Queue) {
    for _ in 0..amount(50) {
        let (reader, writer) = q.pair();
        let readers = sleeping_readers(&reader, 2, 1);
        // The second one is likely to come before the first reader runs.
        writer.write_all(b"x");
        writer.write_all(b"x");
        for reader in readers {
            expect("read", reader.join(), Ok(b"x".to_vec()));
        }
    }
}

/// How a wakeup and a signal meet in one sleeper.
#[derive(Clone, Copy, Debug)]
enum Meeting {
    /// Both have come before it can run.
    WakeupThenSignal,
    /// The same in the other order.
    SignalThenWakeup,
    /// At any time, on any processor.
    ByChance,
}

const MEETINGS: [Meeting; 3] = [
    Meeting::WakeupThenSignal,
    Meeting::SignalThenWakeup,
    Meeting::ByChance,
];

impl Meeting {
    /// Prepares, by `sleepers`, and lets both happen to what it returns.
    fn bring_about<T>(
        self,
        sleepers: impl FnOnce() -> T,
        wake: impl Fn(),
        signal: impl Fn(&T),
    ) -> T {
        if let Meeting::ByChance = self {
            let sleepers = sleepers();
            wake();
            let mut random = Random::new(1 + std::process::id() as u64);
            for _ in 0..random.up_to(2000) {
                std::hint::spin_loop();
            }
            signal(&sleepers);
            return sleepers;
        }
        on_one_processor(|| {
            let sleepers = sleepers();
            undisturbed(|| match self {
                Meeting::SignalThenWakeup => {
                    signal(&sleepers);
                    wake();
                }
                _ => {
                    wake();
                    signal(&sleepers);
                }
            });
            sleepers
        })
    }
}

/// Whether the first of two readers gets the byte or gives up is not said. But when it gives up,
/// the second must get it.
fn a_signalled_reader_passes_its_wakeup_on(q: &Queue) {
    signals::handle(After::Fail);
    for meeting in MEETINGS.repeat(amount(50)) {
        let (reader, writer) = q.pair();
        let mut readers = meeting.bring_about(
            || sleeping_readers(&reader, 2, 1),
            || writer.write_all(b"x"),
            |readers| readers[0].signal(INTERRUPT),
        );
        let (first, second) = (readers.remove(0), readers.remove(0));
        match first.join() {
            Ok(byte) => {
                expect("read of the first", byte, b"x".to_vec());
                writer.write_all(b"y");
                expect("read of the second", second.join(), Ok(b"y".to_vec()));
            }
            Err(e) => {
                expect("read of the first", e, Errno::EINTR);
                expect(
                    &format!("read of the second, {meeting:?}"),
                    second.join(),
                    Ok(b"x".to_vec()),
                );
            }
        }
    }
}

fn a_signalled_writer_passes_its_wakeup_on(q: &Queue) {
    signals::handle(After::Fail);
    for meeting in MEETINGS.repeat(amount(50)) {
        let (reader, writer) = q.pair_of(PIPE_BUF_BYTES);
        writer.fill();
        let mut writers = meeting.bring_about(
            || sleeping_writers(&writer, 2, PIPE_BUF_BYTES),
            || drop(reader.read_all(PIPE_BUF_BYTES)),
            |writers| writers[0].signal(INTERRUPT),
        );
        let (first, second) = (writers.remove(0), writers.remove(0));
        match first.join() {
            Ok(len) => {
                expect("write of the first", len, PIPE_BUF_BYTES);
                reader.read_all(PIPE_BUF_BYTES);
            }
            Err(e) => expect("write of the first", e, Errno::EINTR),
        }
        expect(
            &format!("write of the second, {meeting:?}"),
            second.join(),
            Ok(PIPE_BUF_BYTES),
        );
    }
}

fn the_last_close_of_the_write_end_wakes_every_reader(q: &Queue) {
    let (reader, writer) = q.pair();
    let readers = sleeping_readers(&reader, 3, 1);
    let poller = Actor::asleep_in(Call::Poll, "poller", move || {
        reader.wait_for(PollFlags::POLLIN)
    });
    writer.close();
    for reader in readers {
        expect("read", reader.join(), Ok(vec![]));
    }
    expect("poll", poller.join(), PollFlags::POLLHUP);
}

fn the_last_close_of_the_read_end_wakes_every_writer(q: &Queue) {
    let (reader, writer) = q.pair();
    writer.fill();
    let mut writers = sleeping_writers(&writer, 2, 1);
    writers.extend(sleeping_writers(&writer, 2, 100_000));
    let poller = Actor::asleep_in(Call::Poll, "poller", move || {
        writer.wait_for(PollFlags::POLLOUT)
    });
    reader.close();
    for writer in writers {
        expect("write", writer.join(), Err(Errno::EPIPE));
    }
    expect("poll", poller.join(), PollFlags::POLLERR);
}

fn a_close_that_is_not_the_last_wakes_nobody(q: &Queue) {
    let (reader, writer) = q.pair();
    let (second_reader, second_writer) = (q.reader(), q.writer());
    let part = sleeping_readers(&reader, 1, 1).remove(0);
    let sleeps = part.sleeps();
    second_reader.close();
    second_writer.close();
    part.expect_not_woken_since(sleeps, Call::Read);
    writer.write_all(b"x");
    expect("read", part.join(), Ok(b"x".to_vec()));
}

fn a_woken_reader_that_finds_nothing_sleeps_again(q: &Queue) {
    let (reader, writer) = q.pair();
    let thief = q.reader().nonblocking();
    on_one_processor(|| {
        let (part, sleeps) = loop {
            let part = sleeping_readers(&reader, 1, 1).remove(0);
            let sleeps = part.sleeps();
            let stolen = undisturbed(|| {
                writer.write_all(b"x");
                thief.read(1)
            });
            if stolen == Err(Errno::EAGAIN) && carrier() != Carrier::Direct {
                // The writer slept until the byte had arrived, and the reader was quicker.
                expect("read", part.join(), Ok(b"x".to_vec()));
                continue;
            }
            expect("read of the thief", stolen, Ok(b"x".to_vec()));
            break (part, sleeps);
        };
        wait_until("the reader woke in vain", || part.sleeps() > sleeps);
        part.wait_asleep_in(Call::Read);
        writer.write_all(b"y");
        expect("read", part.join(), Ok(b"y".to_vec()));
    });
}

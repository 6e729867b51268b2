// SPDX-License-Identifier: MIT

//! How long a call sleeps: `IOC_SET_TIMEOUTS`, with `SO_RCVTIMEO` and `SO_SNDTIMEO` of a socket
//! (socket(7)) as the oracle. A pipe has no such thing.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::PollFlags;
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::harness::patience;
use crate::tools::actor::wait_until;
use crate::tools::memory::{Mapping, Page, Span};
use crate::tools::prelude::*;
use crate::tools::private::{self, Timeouts};
use crate::tools::raw;
use crate::tools::signals::{self, After, INTERRUPT};

/// The table.
pub const TESTS: &[Test] = &[
    section("Timeouts", "it is asked and set by ioctl"),
    says("A read whose time is over is EAGAIN."),
    ours!(a_read_without_data_ends_with_eagain).and_socket(),
    ours!(a_read_gets_what_comes_in_time).and_socket(),
    ours!(a_read_gets_the_end_of_file_in_time).and_socket(),
    ours!(a_read_with_data_does_not_wait).and_socket(),
    says("A write whose time is over returns what it wrote so far, or EAGAIN."),
    ours!(a_write_to_a_full_queue_ends_with_eagain).and_socket(),
    ours!(a_long_write_returns_what_it_wrote).and_socket(),
    ours!(a_write_gets_room_that_comes_in_time).and_socket(),
    ours!(an_atomic_write_is_not_torn),
    says("Interrupted with a limit: EINTR, never restarted (signal(7))."),
    ours!(a_read_with_a_limit_is_not_restarted).and_socket(),
    ours!(a_write_with_a_limit_is_not_restarted).and_socket(),
    ours!(without_a_limit_it_is_restarted).and_socket(),
    says("The limits are for reading and for writing alone, and O_NONBLOCK goes first."),
    ours!(the_limits_of_both_sides_are_separate).and_socket(),
    ours!(o_nonblock_does_not_wait_for_the_limit).and_socket(),
    ours!(poll_knows_no_limit).and_socket(),
    ours!(zero_takes_the_limit_away).and_socket(),
    says("They belong to the open file description."),
    ours!(a_duplicate_shares_the_limits),
    ours!(another_description_has_limits_of_its_own),
    ours!(a_new_end_has_no_limits_and_tells_those_that_were_set),
    ours!(the_longest_limit_is_no_short_one),
    says("The structures carry their size and a reserved field."),
    ours!(another_size_is_einval),
    ours!(a_reserved_field_that_is_set_is_einval),
    ours!(wrong_pointers_are_efault),
];

/// The limit of the calls that shall end by it.
const SHORT: Duration = Duration::from_millis(30);
/// A socket counts in ticks of the clock, of at most 10 ms.
const TICK: Duration = Duration::from_millis(10);
/// One that is over only if something went wrong.
const LONG: Duration = Duration::from_secs(100);
const NONE: Duration = Duration::ZERO;

fn set(q: &Queue, end: &End, read: Duration, write: Duration) {
    if q.is_ours() {
        let mut timeouts = Timeouts {
            size: size_of::<Timeouts>() as u32,
            reserved: 0,
            read_ns: read.as_nanos() as u64,
            write_ns: write.as_nanos() as u64,
        };
        private::timeouts(end.as_fd(), private::IOC_SET_TIMEOUTS, &mut timeouts)
            .expect("IOC_SET_TIMEOUTS");
    } else {
        let value = |limit: Duration| TimeVal::microseconds(limit.as_micros() as i64);
        setsockopt(end, sockopt::ReceiveTimeout, &value(read)).expect("SO_RCVTIMEO");
        setsockopt(end, sockopt::SendTimeout, &value(write)).expect("SO_SNDTIMEO");
    }
}

fn get(end: &End) -> Timeouts {
    let mut timeouts = Timeouts {
        size: size_of::<Timeouts>() as u32,
        ..Timeouts::default()
    };
    private::timeouts(end.as_fd(), private::IOC_GET_TIMEOUTS, &mut timeouts)
        .expect("IOC_GET_TIMEOUTS");
    timeouts
}

/// Fails unless `part` takes as long as the short limit, and not much longer.
#[track_caller]
fn expect_limited<T>(part: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let result = part();
    let took = began.elapsed();
    assert!(took + TICK >= SHORT, "over after {took:?} of {SHORT:?}");
    assert!(took < patience(Duration::from_secs(5)), "took {took:?}");
    result
}

fn a_read_without_data_ends_with_eagain(q: &Queue) {
    let (reader, writer) = q.first_pair();
    set(q, &reader, SHORT, NONE);
    for _ in 0..2 {
        let read = expect_limited(|| reader.read(1));
        expect("read", read, Err(Errno::EAGAIN));
    }
    writer.write_all(b"x");
    expect("the next read", reader.read(1), Ok(b"x".to_vec()));
}

fn a_read_gets_what_comes_in_time(q: &Queue) {
    let (reader, writer) = q.first_pair();
    set(q, &reader, LONG, NONE);
    let part = Actor::asleep_in(Call::Read, "reader", move || reader.read(100));
    writer.write_all(b"in time");
    expect("read", part.join(), Ok(b"in time".to_vec()));
}

fn a_read_gets_the_end_of_file_in_time(q: &Queue) {
    let (reader, writer) = q.first_pair();
    set(q, &reader, LONG, NONE);
    let part = Actor::asleep_in(Call::Read, "reader", move || reader.read(100));
    writer.close();
    expect("read", part.join(), Ok(vec![]));
}

fn a_read_with_data_does_not_wait(q: &Queue) {
    let (reader, writer) = q.first_pair();
    set(q, &reader, LONG, NONE);
    writer.write_all(b"there");
    expect("read", reader.read(100), Ok(b"there".to_vec()));
}

fn a_write_to_a_full_queue_ends_with_eagain(q: &Queue) {
    let (reader, writer) = q.first_pair();
    fill_up(&writer);
    set(q, &writer, NONE, SHORT);
    let before = reader.queued();
    for _ in 0..2 {
        let written = expect_limited(|| writer.write(b"x"));
        expect("write", written, Err(Errno::EAGAIN));
    }
    expect("queued", reader.queued(), before);
}

/// Until not a byte more fits.
fn fill_up(writer: &End) {
    writer.fill();
    writer.set_mode(Mode::Nonblocking);
    while writer.write(b"x").is_ok() {}
    writer.set_mode(Mode::Blocking);
}

fn a_long_write_returns_what_it_wrote(q: &Queue) {
    let (reader, writer) = q.first_pair();
    set(q, &writer, NONE, SHORT);
    let data = pattern(2_000_000);
    let written = expect_limited(|| writer.write(&data)).expect("write");
    assert!((1..data.len()).contains(&written), "{written} bytes");
    expect_bytes("data", &reader.read_all(written), &data[..written]);
    let rest = reader.nonblocking().read(1);
    expect("nothing else", rest, Err(Errno::EAGAIN));
}

fn a_write_gets_room_that_comes_in_time(q: &Queue) {
    let (reader, writer) = q.first_pair();
    writer.fill();
    set(q, &writer, NONE, LONG);
    let part = Actor::asleep_in(Call::Write, "writer", move || writer.write(&[1; 4096]));
    reader.read_all(reader.queued());
    expect("write", part.join(), Ok(4096));
}

fn an_atomic_write_is_not_torn(q: &Queue) {
    let (reader, writer) = q.first_pair();
    writer.resize(4096).expect("resize");
    writer.write_all(b"x");
    set(q, &writer, NONE, SHORT);
    let written = expect_limited(|| writer.write(&[1; 4096]));
    expect("write", written, Err(Errno::EAGAIN));
    expect("queued", reader.queued(), 1);
}

fn a_read_with_a_limit_is_not_restarted(q: &Queue) {
    signals::handle(After::Restart);
    let (reader, _writer) = q.first_pair();
    set(q, &reader, LONG, NONE);
    let part = Actor::asleep_in(Call::Read, "reader", move || reader.read(1));
    part.signal(INTERRUPT);
    expect("read", part.join(), Err(Errno::EINTR));
}

fn a_write_with_a_limit_is_not_restarted(q: &Queue) {
    signals::handle(After::Restart);
    let (_reader, writer) = q.first_pair();
    fill_up(&writer);
    set(q, &writer, NONE, LONG);
    let part = Actor::asleep_in(Call::Write, "writer", move || writer.write(b"x"));
    part.signal(INTERRUPT);
    expect("write", part.join(), Err(Errno::EINTR));
}

fn without_a_limit_it_is_restarted(q: &Queue) {
    signals::handle(After::Restart);
    let (reader, writer) = q.first_pair();
    set(q, &reader, NONE, LONG);
    let part = Actor::asleep_in(Call::Read, "reader", move || reader.read(1));
    part.signal(INTERRUPT);
    wait_until("the signal handled", || signals::handled() == 1);
    part.wait_asleep_in(Call::Read);
    writer.write_all(b"x");
    expect("read", part.join(), Ok(b"x".to_vec()));
}

fn the_limits_of_both_sides_are_separate(q: &Queue) {
    let (reader, writer) = q.first_pair();
    set(q, &reader, NONE, SHORT);
    set(q, &writer, SHORT, NONE);
    let end = reader.clone();
    let part = Actor::asleep_in(Call::Read, "reader", move || end.read(100));
    std::thread::sleep(2 * SHORT);
    part.wait_asleep_in(Call::Read);
    writer.write_all(b"x");
    expect("read", part.join(), Ok(b"x".to_vec()));
    fill_up(&writer);
    let part = Actor::asleep_in(Call::Write, "writer", move || writer.write(b"x"));
    std::thread::sleep(2 * SHORT);
    part.wait_asleep_in(Call::Write);
    reader.read_all(reader.queued());
    expect("write", part.join(), Ok(1));
}

fn o_nonblock_does_not_wait_for_the_limit(q: &Queue) {
    let (reader, writer) = q.first_pair();
    set(q, &reader, LONG, LONG);
    set(q, &writer, LONG, LONG);
    let reader = reader.nonblocking();
    expect("read", reader.read(1), Err(Errno::EAGAIN));
    writer.fill();
    let writer = writer.nonblocking();
    expect("write", writer.write(&[1; 4096]), Err(Errno::EAGAIN));
}

fn poll_knows_no_limit(q: &Queue) {
    let (reader, writer) = q.first_pair();
    set(q, &reader, SHORT, NONE);
    let part = Actor::asleep_in(Call::Poll, "poller", move || {
        reader.wait_for(PollFlags::POLLIN)
    });
    std::thread::sleep(2 * SHORT);
    part.wait_asleep_in(Call::Poll);
    writer.write_all(b"x");
    expect("poll", part.join(), PollFlags::POLLIN);
}

fn zero_takes_the_limit_away(q: &Queue) {
    let (reader, writer) = q.first_pair();
    set(q, &reader, SHORT, NONE);
    set(q, &reader, NONE, NONE);
    let part = Actor::asleep_in(Call::Read, "reader", move || reader.read(1));
    std::thread::sleep(2 * SHORT);
    part.wait_asleep_in(Call::Read);
    writer.write_all(b"x");
    expect("read", part.join(), Ok(b"x".to_vec()));
}

fn a_duplicate_shares_the_limits(q: &Queue) {
    let (reader, _writer) = q.first_pair();
    let duplicate = reader.duplicate();
    set(q, &duplicate, SHORT, LONG);
    expect("limits", get(&reader), get(&duplicate));
    let read = expect_limited(|| reader.read(1));
    expect("read", read, Err(Errno::EAGAIN));
}

fn another_description_has_limits_of_its_own(q: &Queue) {
    let (reader, writer) = q.first_pair();
    set(q, &reader, SHORT, SHORT);
    let again = reader.reopen(OFlag::O_RDONLY).expect("open");
    expect(
        "limits",
        (get(&again).read_ns, get(&writer).read_ns),
        (0, 0),
    );
    let part = Actor::asleep_in(Call::Read, "reader", move || again.read(1));
    writer.write_all(b"x");
    expect("read", part.join(), Ok(b"x".to_vec()));
}

fn a_new_end_has_no_limits_and_tells_those_that_were_set(q: &Queue) {
    let (reader, writer) = q.first_pair();
    let mut wanted = Timeouts {
        size: size_of::<Timeouts>() as u32,
        ..Timeouts::default()
    };
    expect("at first", [get(&reader), get(&writer)], [wanted; 2]);
    (wanted.read_ns, wanted.write_ns) = (123_456_789, u64::MAX);
    let mut given = wanted;
    let result = private::timeouts(reader.as_fd(), private::IOC_SET_TIMEOUTS, &mut given);
    expect("IOC_SET_TIMEOUTS", result, Ok(()));
    expect("afterwards", get(&reader), wanted);
}

fn the_longest_limit_is_no_short_one(q: &Queue) {
    for limit in [u64::MAX, i64::MAX as u64, i64::MAX as u64 + 1] {
        let (reader, writer) = q.first_pair();
        let limits = Duration::from_nanos(limit);
        set(q, &reader, limits, limits);
        let part = Actor::asleep_in(Call::Read, "reader", move || reader.read(1));
        writer.write_all(b"x");
        expect("read", part.join(), Ok(b"x".to_vec()));
    }
}

const BOTH: [u32; 2] = [private::IOC_SET_TIMEOUTS, private::IOC_GET_TIMEOUTS];

fn another_size_is_einval(q: &Queue) {
    let (reader, _writer) = q.first_pair();
    let right = size_of::<Timeouts>() as u32;
    for request in BOTH {
        for size in [0, 1, right - 1, right + 1, u32::MAX] {
            let mut given = Timeouts {
                size,
                read_ns: 5,
                ..Timeouts::default()
            };
            let before = given;
            let result = private::timeouts(reader.as_fd(), request, &mut given);
            expect(&format!("size {size}"), result, Err(Errno::EINVAL));
            expect("the structure", given, before);
        }
    }
    expect("limit", get(&reader).read_ns, 0);
}

fn a_reserved_field_that_is_set_is_einval(q: &Queue) {
    let (reader, _writer) = q.first_pair();
    for request in BOTH {
        for reserved in [1, u32::MAX] {
            let mut given = Timeouts {
                size: size_of::<Timeouts>() as u32,
                reserved,
                read_ns: 5,
                write_ns: 5,
            };
            let result = private::timeouts(reader.as_fd(), request, &mut given);
            expect("reserved", result, Err(Errno::EINVAL));
        }
    }
    expect("limit", get(&reader).read_ns, 0);
}

fn wrong_pointers_are_efault(q: &Queue) {
    let (reader, _writer) = q.first_pair();
    let size = size_of::<Timeouts>();
    let forbidden = Mapping::of(&[Page::Forbidden]).all();
    for request in BOTH {
        let wrong = Span::wrong(size).into_iter();
        for (what, span) in wrong.chain([("forbidden", forbidden)]) {
            let result = raw::ioctl_at(reader.as_fd(), request, span);
            expect(what, result, Err(Errno::EFAULT));
        }
        let memory = Mapping::of(&[Page::Open, Page::Forbidden]);
        for inside in [1, 4, size - 1] {
            let span = memory.span(4096 - inside, size);
            let start = (size as u32).to_ne_bytes();
            memory.store(4096 - inside, &start[..inside.min(4)]);
            let result = raw::ioctl_at(reader.as_fd(), request, span);
            expect("at the end of a page", result, Err(Errno::EFAULT));
        }
    }
}

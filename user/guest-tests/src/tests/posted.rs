// SPDX-License-Identifier: MIT

//! What is on its way: a posted write leaves it behind, drain waits for it, and closing loses none of it.

use std::os::fd::AsFd;
use std::time::Duration;

use kpipe::{BottomHalf, Carrier};
use kpipe_abi::uapi::{self, Transport};
use nix::poll::PollFlags;

use crate::harness::{amount, patience};
use crate::tools::carry::{by, fast, name, pair, posted, set, slow, transfer};
use crate::tools::prelude::*;
use crate::tools::signals::{self, After};
use crate::tools::subject::observe;
use crate::tools::{needs, raw};

/// The table.
pub const TESTS: &[Test] = &[
    section("Posted writes", "it has nothing like that"),
    says("A posted write returns before; drain waits."),
    ours!(a_posted_write_returns_before_its_bytes_arrive).sets_transport(),
    ours!(posted_bytes_arrive_in_order_by_each_transport)
        .sets_transport()
        .needs(needs::edu)
        .deadline_secs(60),
    ours!(drain_returns_at_once_where_nothing_is_on_its_way).sets_transport(),
    ours!(drain_does_not_wait_for_a_reader).sets_transport(),
    ours!(a_signal_ends_a_drain).sets_transport(),
    ours!(a_drain_goes_on_after_a_signal_with_restart).sets_transport(),
    ours!(drain_with_an_argument_is_einval).sets_transport(),
    says("A write that is not posted waits for its own bytes, and for nobody else's."),
    ours!(a_write_does_not_wait_for_the_bytes_of_another).sets_transport(),
    says(
        "What is on its way moves along when the queue is resized, up to 1 MiB; above that: EBUSY.",
    ),
    ours!(one_mib_on_its_way_moves_along_and_no_more)
        .sets_transport()
        .needs(needs::cap_sys_resource),
    says("Who closes loses nothing: end of file comes behind the last byte."),
    ours!(a_reader_gets_what_was_on_its_way_at_the_close).sets_transport(),
    ours!(each_transport_carries_on_after_the_close)
        .sets_transport()
        .needs(needs::edu),
    ours!(what_was_on_its_way_at_the_last_close_does_not_come_later).sets_transport(),
    says("The last byte that arrives tells everybody that it was the last."),
    ours!(each_reader_is_told_of_the_end_behind_what_was_on_its_way).sets_transport(),
    ours!(a_poller_for_nothing_sees_the_hangup_behind_what_was_on_its_way).sets_transport(),
    ours!(the_last_close_ends_an_observers_drain).sets_transport(),
];

/// Long against anything that a test does meanwhile.
const SLOW_TICK: Duration = Duration::from_millis(500);

/// Nobody waits for this.
const NEVER: Duration = Duration::from_secs(60);

fn drain_with_an_argument_is_einval(q: &Queue) {
    let (_reader, writer) = q.pair();
    let refused = raw::ioctl_value(writer.as_fd(), uapi::IOC_DRAIN, 1);
    expect("drain", refused, Err(Errno::EINVAL));
}

fn a_posted_write_returns_before_its_bytes_arrive(q: &Queue) {
    let (reader, writer) = pair(q, slow(patience(SLOW_TICK)));
    let reader = reader.nonblocking();
    writer.write_all(b"abc");
    expect("queued at once", writer.queued(), 0);
    expect("read at once", reader.read(9), Err(Errno::EAGAIN));
    expect("ready at once", reader.readiness(), PollFlags::empty());
    expect("drain", writer.drain(), Ok(()));
    expect("queued then", writer.queued(), 3);
    let ready = PollFlags::POLLIN | PollFlags::POLLRDNORM;
    expect("ready then", reader.readiness(), ready);
    expect("read then", reader.read(9), Ok(b"abc".to_vec()));
}

fn posted_bytes_arrive_in_order_by_each_transport(q: &Queue) {
    for transport in fast() {
        let (reader, writer) = pair(q, posted(transport));
        let what = format!("{} posted", name(&transport));
        transfer(&what, &reader, writer, amount(1 << 20));
    }
}

fn drain_returns_at_once_where_nothing_is_on_its_way(q: &Queue) {
    let (reader, writer) = q.pair();
    let observer = observe(q.path()).expect("open for ioctl only");
    for end in [&reader, &writer, &observer] {
        expect("drain of an empty queue", end.drain(), Ok(()));
    }
    writer.write_all(b"x");
    for end in [&reader, &writer, &observer] {
        expect("drain of a direct queue", end.drain(), Ok(()));
    }
    reader.read_all(1);
    set(&writer, slow(NEVER));
    for end in [&reader, &writer, &observer] {
        expect("drain of an empty timer", end.drain(), Ok(()));
    }
}

fn a_write_does_not_wait_for_the_bytes_of_another(q: &Queue) {
    signals::handle(After::Fail);
    let one_by_one = Transport {
        flags: 0,
        bytes_per_tick: 1,
        ..slow(patience(SLOW_TICK))
    };
    let (reader, writer) = pair(q, one_by_one);
    let other = writer.clone();
    let short = Actor::asleep_in(Call::Write, "short", move || writer.write(b"a"));
    // More than anybody waits for.
    let long = Actor::asleep_in(Call::Write, "long", move || other.write(&pattern(5000)));
    expect("short write", short.join(), Ok(1));
    expect("queued then", reader.queued(), 1);
    // They are on their way whatever becomes of the wait.
    long.signal(signals::INTERRUPT);
    expect("long write", long.join(), Ok(5000));
}

fn drain_does_not_wait_for_a_reader(q: &Queue) {
    let (_reader, writer) = pair(q, posted(by(Carrier::Timer, BottomHalf::Bh)));
    // As much as there is room for.
    let len = writer.fill();
    expect("drain", writer.drain(), Ok(()));
    expect("queued", writer.queued(), len);
    expect("drain again", writer.drain(), Ok(()));
}

fn one_mib_on_its_way_moves_along_and_no_more(q: &Queue) {
    const MOST: usize = uapi::UNPRIVILEGED_CAPACITY_BYTES as usize;
    let (_reader, writer) = q.pair();
    expect("resize", writer.resize(4 << 20), Ok(4 << 20));
    set(&writer, slow(NEVER));
    writer.write_all(&pattern(MOST));
    expect("with 1 MiB", writer.resize(8 << 20), Ok(8 << 20));
    writer.write_all(b"x");
    expect("with more", writer.resize(4 << 20), Err(Errno::EBUSY));
    expect("capacity", writer.capacity(), 8 << 20);
}

/// One who drains a queue in which nothing will arrive.
fn drainer(q: &Queue) -> (End, Actor<nix::Result<()>>) {
    let (reader, writer) = pair(q, slow(NEVER));
    writer.write_all(b"x");
    let part = Actor::asleep_in(Call::Ioctl, "drainer", move || writer.drain());
    (reader, part)
}

fn a_signal_ends_a_drain(q: &Queue) {
    signals::handle(After::Fail);
    let (_reader, part) = drainer(q);
    part.signal(signals::INTERRUPT);
    expect("drain", part.join(), Err(Errno::EINTR));
}

fn a_drain_goes_on_after_a_signal_with_restart(q: &Queue) {
    signals::handle(After::Restart);
    let (reader, writer) = pair(q, slow(patience(SLOW_TICK)));
    writer.write_all(b"x");
    let part = Actor::asleep_in(Call::Ioctl, "drainer", move || writer.drain());
    part.signal(signals::INTERRUPT);
    expect("drain", part.join(), Ok(()));
    expect("signals", signals::handled(), 1);
    expect("queued", reader.queued(), 1);
}

fn a_reader_gets_what_was_on_its_way_at_the_close(q: &Queue) {
    const LEN: usize = 10_000;
    let (reader, writer) = pair(q, slow(patience(SLOW_TICK / 2)));
    let reader = reader.nonblocking();
    let data = pattern(LEN);
    writer.write_all(&data);
    writer.close();
    // Not the end of file: there is something to come.
    expect("read at once", reader.read(9), Err(Errno::EAGAIN));
    reader.set_mode(Mode::Blocking);
    expect_bytes("read", &reader.read_all(LEN), &data);
    expect("then", reader.read(9), Ok(vec![]));
}

fn each_transport_carries_on_after_the_close(q: &Queue) {
    for transport in fast() {
        for _ in 0..amount(100) {
            let (reader, writer) = pair(q, posted(transport));
            let data = pattern(10_000);
            writer.write_all(&data);
            writer.close();
            let what = name(&transport);
            expect_bytes(&what, &reader.read_all(data.len() + 1), &data);
        }
    }
}

fn what_was_on_its_way_at_the_last_close_does_not_come_later(q: &Queue) {
    let tick = patience(SLOW_TICK);
    for is_reader_first in [true, false] {
        let (reader, writer) = pair(q, slow(tick));
        writer.write_all(b"old");
        if is_reader_first {
            drop(reader);
            drop(writer);
        } else {
            drop(writer);
            drop(reader);
        }
        let (reader, writer) = pair(q, slow(tick));
        writer.write_all(b"new");
        expect("drain", writer.drain(), Ok(()));
        expect("read", reader.read(9), Ok(b"new".to_vec()));
    }
}

fn each_reader_is_told_of_the_end_behind_what_was_on_its_way(q: &Queue) {
    let (reader, writer) = pair(q, slow(patience(SLOW_TICK / 2)));
    let sleeper = || {
        let end = reader.clone();
        Actor::asleep_in(Call::Read, "reader", move || end.read(9))
    };
    let sleepers = [sleeper(), sleeper(), sleeper()];
    writer.write_all(b"x");
    writer.close();
    let mut got = sleepers.map(|part| part.join().expect("read"));
    got.sort();
    expect("reads", got, [vec![], vec![], b"x".to_vec()]);
}

fn a_poller_for_nothing_sees_the_hangup_behind_what_was_on_its_way(q: &Queue) {
    let (reader, writer) = pair(q, slow(patience(SLOW_TICK / 2)));
    writer.write_all(b"x");
    let part = Actor::asleep_in(Call::Poll, "poller", move || {
        reader.wait_for(PollFlags::empty())
    });
    writer.close();
    expect("poll", part.join(), PollFlags::POLLHUP);
}

fn the_last_close_ends_an_observers_drain(q: &Queue) {
    let (reader, writer) = pair(q, slow(NEVER));
    let observer = observe(q.path()).expect("open for ioctl only");
    writer.write_all(b"x");
    let part = Actor::asleep_in(Call::Ioctl, "observer", move || observer.drain());
    drop((reader, writer));
    expect("drain", part.join(), Ok(()));
}

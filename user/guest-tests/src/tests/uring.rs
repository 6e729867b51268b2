// SPDX-License-Identifier: MIT

//! io_uring(7) on a queue: it must neither block the caller nor need a worker thread.

use std::time::Duration;

use kpipe_abi::uapi::Transport;
use nix::poll::PollFlags;

use crate::tools::actor::wait_until;
use crate::tools::carry::{pair, slow};
use crate::tools::memory::{Mapping, Page};
use crate::tools::needs;
use crate::tools::prelude::*;
use crate::tools::raw::RWF_NOWAIT;
use crate::tools::uring::{has_workers, Ring};

/// The table.
pub const TESTS: &[Test] = &[
    section(
        "io_uring",
        "its ends serve both directions, or its buffer is counted otherwise",
    ),
    says("io_uring poll works."),
    each!(poll_completes_when_there_is_data)
        .and_socket()
        .needs(needs::io_uring),
    each!(poll_completes_when_there_is_room)
        .and_socket()
        .needs(needs::io_uring),
    each!(poll_completes_at_the_last_close).needs(needs::io_uring),
    says("Empty with io_uring's nowait: EAGAIN."),
    each!(nowait_is_eagain)
        .and_socket()
        .needs(needs::io_uring)
        .differs(&[&differences::NOWAIT]),
    says("RWF_NOWAIT is honoured, so io_uring need not punt."),
    each!(a_read_waits_for_data)
        .and_socket()
        .needs(needs::io_uring),
    each!(a_write_waits_for_room)
        .and_socket()
        .needs(needs::io_uring),
    each!(a_waiting_read_needs_no_worker)
        .and_socket()
        .needs(needs::io_uring),
    each!(a_waiting_write_needs_no_worker)
        .and_socket()
        .needs(needs::io_uring),
    ours!(a_write_does_not_wait_for_its_arrival)
        .sets_transport()
        .needs(needs::io_uring),
    each!(eof_and_a_broken_pipe_complete_at_once).needs(needs::io_uring),
];

fn a_write_does_not_wait_for_its_arrival(q: &Queue) {
    // Nobody waits for this tick.
    let never = Transport {
        flags: 0,
        ..slow(Duration::from_secs(60))
    };
    let (reader, writer) = pair(q, never);
    let memory = Mapping::of(&[Page::Open]);
    memory.store(0, b"abc");
    let mut ring = Ring::new();
    let part = Actor::start("submitter", move || {
        ring.write(&writer, memory.span(0, 3), 0);
        (ring.result(), writer)
    });
    let (result, _writer) = part.join();
    expect("result", result, Ok(3));
    expect("workers", has_workers(), false);
    expect("queued", reader.queued(), 0);
}

fn poll_completes_when_there_is_data(q: &Queue) {
    let (reader, writer) = q.pair();
    let mut ring = Ring::new();
    ring.poll(&reader, PollFlags::POLLIN);
    expect("pending while empty", ring.is_pending(), true);
    writer.write_all(b"x");
    expect("result", ring.result(), Ok(PollFlags::POLLIN.bits().into()));
}

fn poll_completes_when_there_is_room(q: &Queue) {
    let (reader, writer) = q.pair();
    let capacity = writer.fill();
    let mut ring = Ring::new();
    ring.poll(&writer, PollFlags::POLLOUT);
    expect("pending while full", ring.is_pending(), true);
    reader.read_all(capacity);
    expect(
        "result",
        ring.result(),
        Ok(PollFlags::POLLOUT.bits().into()),
    );
}

fn poll_completes_at_the_last_close(q: &Queue) {
    let (reader, writer) = q.pair();
    let mut ring = Ring::new();
    ring.poll(&reader, PollFlags::POLLIN);
    writer.close();
    expect(
        "result",
        ring.result(),
        Ok(PollFlags::POLLHUP.bits().into()),
    );
}

fn nowait_is_eagain(q: &Queue) {
    let (reader, writer) = q.first_pair();
    let memory = Mapping::of(&[Page::Open]);
    let mut ring = Ring::new();
    // Only an anonymous pipe has FMODE_NOWAIT.
    let wanted = if q.differs(&differences::NOWAIT) {
        Errno::EOPNOTSUPP
    } else {
        Errno::EAGAIN
    };
    ring.read(&reader, memory.all(), RWF_NOWAIT);
    expect("read of an empty queue", ring.result(), Err(wanted));
    writer.fill();
    ring.write(&writer, memory.all(), RWF_NOWAIT);
    expect("write to a full queue", ring.result(), Err(wanted));
}

/// Also with O_NONBLOCK: io_uring itself waits for readiness, the caller goes on in any case.
fn a_read_waits_for_data(q: &Queue) {
    let (reader, writer) = q.pair();
    let memory = Mapping::of(&[Page::Open]);
    for mode in [Mode::Blocking, Mode::Nonblocking] {
        reader.set_mode(mode);
        let mut ring = Ring::new();
        ring.read(&reader, memory.all(), 0);
        expect("pending while empty", ring.is_pending(), true);
        writer.write_all(b"now");
        expect("result", ring.result(), Ok(3));
        expect_bytes("data", &memory.load(0, 3), b"now");
    }
}

fn a_write_waits_for_room(q: &Queue) {
    let (reader, writer) = q.pair();
    let capacity = writer.fill();
    let memory = Mapping::of(&[Page::Open]);
    memory.store(0, &pattern(4096));
    let mut ring = Ring::new();
    ring.write(&writer, memory.all(), 0);
    expect("pending while full", ring.is_pending(), true);
    reader.read_all(capacity);
    expect("result", ring.result(), Ok(4096));
    expect_bytes("data", &reader.read_all(4096), &pattern(4096));
}

fn a_waiting_read_needs_no_worker(q: &Queue) {
    let (reader, writer) = q.pair();
    let memory = Mapping::of(&[Page::Open]);
    let mut ring = Ring::new();
    ring.read(&reader, memory.all(), 0);
    writer.write_all(b"now");
    expect("result", ring.result(), Ok(3));
    expect("a worker thread was started", has_workers(), false);
}

fn a_waiting_write_needs_no_worker(q: &Queue) {
    let (reader, writer) = q.pair();
    let capacity = writer.fill();
    let memory = Mapping::of(&[Page::Open]);
    let mut ring = Ring::new();
    ring.write(&writer, memory.all(), 0);
    reader.read_all(capacity);
    expect("result", ring.result(), Ok(4096));
    expect("a worker thread was started", has_workers(), false);
}

fn eof_and_a_broken_pipe_complete_at_once(q: &Queue) {
    let (reader, writer) = q.pair();
    let memory = Mapping::of(&[Page::Open]);
    let mut ring = Ring::new();
    writer.close();
    ring.read(&reader, memory.all(), 0);
    expect("read", ring.result(), Ok(0));
    let writer = q.writer();
    reader.close();
    // The ring may still hold the file of the read that is done.
    wait_until("the reader is gone", || {
        writer.readiness().contains(PollFlags::POLLERR)
    });
    ring.write(&writer, memory.all(), 0);
    expect("write", ring.result(), Err(Errno::EPIPE));
}

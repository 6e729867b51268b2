// SPDX-License-Identifier: MIT

//! Readiness through epoll(7): level, edge, exclusive.

use std::os::fd::AsFd;

use kpipe_abi::uapi::PIPE_BUF_BYTES;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::tools::actor::wait_until;
use crate::tools::prelude::*;

/// The table.
pub const TESTS: &[Test] = &[
    section("Epoll", "its ends serve both directions and say so"),
    says("Level-triggered: as long as it is so."),
    each!(level_triggered_reports_as_long_as_there_is_data).and_socket(),
    each!(level_triggered_reports_hangup_and_error_unasked),
    says("Edge-triggered: every write wakes a reader, not only empty -> non-empty."),
    each!(edge_triggered_reports_every_write).and_socket(),
    says("Writers are woken on full -> not full."),
    each!(edge_triggered_reports_room_once_after_full),
    each!(edge_triggered_reports_the_last_close),
    each!(oneshot_reports_once_until_rearmed).and_socket(),
    says("EPOLLEXCLUSIVE works."),
    each!(exclusive_wakes_one_of_two_waiters).and_socket(),
    each!(without_exclusive_both_waiters_wake).and_socket(),
    each!(closing_the_end_removes_it_from_epoll).and_socket(),
];

/// What has happened on `end`, without waiting.
fn now(epoll: &Epoll) -> EpollFlags {
    let mut events = [EpollEvent::empty()];
    match epoll.wait(&mut events, EpollTimeout::ZERO) {
        Ok(0) => EpollFlags::empty(),
        Ok(_) => events[0].events(),
        Err(e) => panic!("epoll_wait: {e}"),
    }
}

fn watch(end: &End, events: EpollFlags) -> Epoll {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).expect("epoll_create");
    let event = EpollEvent::new(events, 0);
    epoll.add(end.as_fd(), event).expect("EPOLL_CTL_ADD");
    epoll
}

const NOTHING: EpollFlags = EpollFlags::empty();
const IN: EpollFlags = EpollFlags::EPOLLIN;
const OUT: EpollFlags = EpollFlags::EPOLLOUT;
const HUP: EpollFlags = EpollFlags::EPOLLHUP;
const ERR: EpollFlags = EpollFlags::EPOLLERR;
const EDGE: EpollFlags = EpollFlags::EPOLLET;

fn level_triggered_reports_as_long_as_there_is_data(q: &Queue) {
    let (reader, writer) = q.pair();
    let epoll = watch(&reader, IN);
    expect("empty", now(&epoll), NOTHING);
    writer.write_all(b"ab");
    expect("2 bytes", now(&epoll), IN);
    expect("2 bytes, asked again", now(&epoll), IN);
    reader.read_all(1);
    expect("1 byte", now(&epoll), IN);
    reader.read_all(1);
    expect("empty again", now(&epoll), NOTHING);
}

fn level_triggered_reports_hangup_and_error_unasked(q: &Queue) {
    let (reader, writer) = q.pair();
    let of_reader = watch(&reader, NOTHING);
    writer.close();
    expect("read end", now(&of_reader), HUP);
    let writer = q.writer();
    let of_writer = watch(&writer, NOTHING);
    reader.close();
    expect("write end", now(&of_writer), ERR);
}

fn edge_triggered_reports_every_write(q: &Queue) {
    let (reader, writer) = q.pair();
    let epoll = watch(&reader, IN | EDGE);
    for n in 1..=3 {
        writer.write_all(b"x");
        expect(&format!("after write {n}"), now(&epoll), IN);
        expect(
            &format!("asked again after write {n}"),
            now(&epoll),
            NOTHING,
        );
    }
    expect("read", reader.read(10), Ok(b"xxx".to_vec()));
}

fn edge_triggered_reports_room_once_after_full(q: &Queue) {
    let (reader, writer) = q.pair();
    writer.fill();
    let epoll = watch(&writer, OUT | EDGE);
    expect("full", now(&epoll), NOTHING);
    reader.read_all(100);
    expect("100 bytes free", now(&epoll), NOTHING);
    reader.read_all(PIPE_BUF_BYTES - 100);
    expect("4096 bytes free", now(&epoll), OUT);
    expect("asked again", now(&epoll), NOTHING);
    reader.read_all(PIPE_BUF_BYTES);
    expect("8192 bytes free: it was not full", now(&epoll), NOTHING);
    writer.fill();
    reader.read_all(PIPE_BUF_BYTES);
    expect("4096 bytes free after full again", now(&epoll), OUT);
}

fn edge_triggered_reports_the_last_close(q: &Queue) {
    let (reader, writer) = q.pair();
    let epoll = watch(&reader, IN | EDGE);
    writer.close();
    expect("read end", now(&epoll), HUP);
    let writer = q.writer();
    writer.fill();
    let epoll = watch(&writer, OUT | EDGE);
    expect("full", now(&epoll), NOTHING);
    reader.close();
    expect("write end", now(&epoll), ERR);
}

fn oneshot_reports_once_until_rearmed(q: &Queue) {
    let (reader, writer) = q.pair();
    let events = IN | EpollFlags::EPOLLONESHOT;
    let epoll = watch(&reader, events);
    writer.write_all(b"x");
    expect("first", now(&epoll), IN);
    writer.write_all(b"x");
    expect("second", now(&epoll), NOTHING);
    let mut event = EpollEvent::new(events, 0);
    epoll
        .modify(reader.as_fd(), &mut event)
        .expect("EPOLL_CTL_MOD");
    expect("armed again", now(&epoll), IN);
}

/// A thread with an epoll instance of its own that waits for data on `reader`.
fn waiter(reader: &End, name: &str, events: EpollFlags) -> Actor<nix::Result<usize>> {
    let epoll = watch(reader, events);
    Actor::asleep_in(Call::EpollWait, name, move || {
        epoll.wait(&mut [EpollEvent::empty()], EpollTimeout::NONE)
    })
}

fn exclusive_wakes_one_of_two_waiters(q: &Queue) {
    let (reader, writer) = q.pair();
    let events = IN | EpollFlags::EPOLLEXCLUSIVE;
    let waiters = ["waiter 1", "waiter 2"].map(|name| waiter(&reader, name, events));
    let sleeps = waiters.each_ref().map(Actor::sleeps);
    writer.write_all(b"x");
    wait_until("a waiter is done", || waiters.iter().any(Actor::is_done));
    let (done, asleep): (Vec<_>, Vec<_>) = waiters
        .into_iter()
        .zip(sleeps)
        .partition(|(waiter, _)| waiter.is_done());
    for (waiter, sleeps) in &asleep {
        waiter.expect_not_woken_since(*sleeps, Call::EpollWait);
    }
    expect("waiters woken by one write", done.len(), 1);
    // The other one is for the next write. The queue has to be empty: a FIFO of Linux 7.3 wakes
    // for a write to a non-empty one only once it has seen an edge-triggered poller.
    reader.read_all(1);
    writer.write_all(b"y");
    for (waiter, _) in done.into_iter().chain(asleep) {
        expect("epoll_wait", waiter.join(), Ok(1));
    }
}

fn without_exclusive_both_waiters_wake(q: &Queue) {
    let (reader, writer) = q.pair();
    let waiters = ["waiter 1", "waiter 2"].map(|name| waiter(&reader, name, IN));
    writer.write_all(b"x");
    for waiter in waiters {
        expect("epoll_wait", waiter.join(), Ok(1));
    }
}

fn closing_the_end_removes_it_from_epoll(q: &Queue) {
    let (reader, writer) = q.pair();
    let epoll = watch(&writer, OUT);
    expect("open", now(&epoll), OUT);
    writer.close();
    expect("closed", now(&epoll), NOTHING);
    expect("the reader sees the end", reader.read(1), Ok(vec![]));
}

// SPDX-License-Identifier: MIT

//! Signals instead of waiting: `O_ASYNC`, `F_SETOWN`, `F_SETSIG`. fcntl(2), `kill_fasync()` in
//! fs/pipe.c.

use std::os::fd::AsRawFd;

use kpipe_abi::uapi::PIPE_BUF_BYTES;
use nix::sys::wait::WaitStatus;

use crate::tools::prelude::*;
use crate::tools::process::Process;
use crate::tools::sigio::{
    ask_for_none, ask_for_real_time_signals, ask_for_sigio, owner, Inbox, Told,
};

/// The table.
pub const TESTS: &[Test] = &[
    section(
        "Signal-driven input and output",
        "its ends serve both directions, and it signals for both",
    ),
    says("SIGIO to readers on every write."),
    each!(a_write_signals_a_reader).and_socket(),
    each!(every_write_signals_not_only_the_first).and_socket(),
    each!(a_write_that_sleeps_signals_before_it_is_done),
    each!(all_readers_that_asked_are_signalled),
    says("SIGIO to writers on reads."),
    each!(a_read_signals_a_writer),
    each!(every_read_signals_also_when_the_queue_was_not_full),
    says("SIGIO to both sides on the last close of an end."),
    each!(the_last_close_of_the_write_end_signals_readers),
    each!(the_last_close_of_the_read_end_signals_writers),
    each!(a_close_that_is_not_the_last_signals_nobody),
    says("Who did not ask is not signalled."),
    each!(without_o_async_nobody_is_signalled).and_socket(),
    each!(after_o_async_is_cleared_nobody_is_signalled).and_socket(),
    each!(a_closed_description_is_signalled_no_more).and_socket(),
    each!(a_reader_is_not_signalled_for_reads_nor_a_writer_for_writes),
    each!(an_open_signals_nobody),
    says("F_SETSIG: the signal tells descriptor and events, and queues up."),
    each!(a_signal_to_a_reader_tells_in),
    each!(a_signal_to_a_writer_tells_out),
    each!(real_time_signals_queue_up),
    each!(a_description_for_both_ends_is_told_both),
    says("O_ASYNC and the owner belong to the description."),
    each!(o_async_shows_in_f_getfl).and_socket(),
    each!(the_owner_is_who_was_set).and_socket(),
    each!(a_duplicate_shares_o_async),
    each!(another_process_can_be_the_owner_and_dies_of_sigio).and_socket(),
];

const POLL_IN: i32 = 1;
const POLL_OUT: i32 = 2;
/// POLLIN | POLLRDNORM, and POLLOUT | POLLWRNORM | POLLWRBAND: `band_table` in fs/fcntl.c.
const BAND_IN: i64 = 0x41;
const BAND_OUT: i64 = 0x304;

fn a_write_signals_a_reader(q: &Queue) {
    let inbox = Inbox::open();
    let (reader, writer) = q.first_pair();
    ask_for_sigio(&reader);
    expect("SIGIO before", inbox.has_sigio(), false);
    writer.write_all(b"x");
    expect("SIGIO", inbox.has_sigio(), true);
}

fn every_write_signals_not_only_the_first(q: &Queue) {
    let inbox = Inbox::open();
    let (reader, writer) = q.first_pair();
    ask_for_sigio(&reader);
    for n in 1..=5 {
        writer.write_all(b"x");
        expect(&format!("SIGIO for write {n}"), inbox.has_sigio(), true);
    }
}

fn a_write_that_sleeps_signals_before_it_is_done(q: &Queue) {
    let inbox = Inbox::open();
    let (reader, writer) = q.pair_of(PIPE_BUF_BYTES);
    ask_for_sigio(&reader);
    let part = Actor::asleep_in(Call::Write, "writer", move || writer.write(&[1; 10_000]));
    expect("SIGIO while it sleeps", inbox.has_sigio(), true);
    reader.read_all(10_000);
    expect("write", part.join(), Ok(10_000));
}

fn all_readers_that_asked_are_signalled(q: &Queue) {
    let inbox = Inbox::open();
    let (reader, writer) = q.first_pair();
    let second = reader.reopen(OFlag::O_RDONLY).expect("open");
    let third = reader.reopen(OFlag::O_RDONLY).expect("open");
    ask_for_real_time_signals(&reader);
    ask_for_real_time_signals(&third);
    writer.write_all(b"x");
    let mut told: Vec<_> = inbox.told().iter().map(|told| told.fd).collect();
    told.sort_unstable();
    let mut wanted = vec![reader.as_raw_fd(), third.as_raw_fd()];
    wanted.sort_unstable();
    expect("descriptors told", told, wanted);
    drop(second);
}

fn a_read_signals_a_writer(q: &Queue) {
    let inbox = Inbox::open();
    let (reader, writer) = q.first_pair();
    writer.fill();
    ask_for_sigio(&writer);
    expect("SIGIO before", inbox.has_sigio(), false);
    reader.read_all(PIPE_BUF_BYTES);
    expect("SIGIO", inbox.has_sigio(), true);
}

fn every_read_signals_also_when_the_queue_was_not_full(q: &Queue) {
    let inbox = Inbox::open();
    let (reader, writer) = q.first_pair();
    writer.write_all(b"abc");
    ask_for_sigio(&writer);
    for n in 1..=3 {
        reader.read_all(1);
        expect(&format!("SIGIO for read {n}"), inbox.has_sigio(), true);
    }
}

fn the_last_close_of_the_write_end_signals_readers(q: &Queue) {
    let inbox = Inbox::open();
    let (reader, writer) = q.first_pair();
    ask_for_real_time_signals(&reader);
    writer.close();
    let told: Vec<_> = inbox.told().iter().map(|told| told.code).collect();
    expect("told", told, vec![POLL_IN]);
}

fn the_last_close_of_the_read_end_signals_writers(q: &Queue) {
    let inbox = Inbox::open();
    let (reader, writer) = q.first_pair();
    ask_for_real_time_signals(&writer);
    reader.close();
    let told: Vec<_> = inbox.told().iter().map(|told| told.code).collect();
    expect("told", told, vec![POLL_OUT]);
}

fn a_close_that_is_not_the_last_signals_nobody(q: &Queue) {
    let inbox = Inbox::open();
    let (reader, writer) = q.first_pair();
    let more = [
        reader.reopen(OFlag::O_RDONLY),
        reader.reopen(OFlag::O_WRONLY),
        reader.reopen(OFlag::O_RDWR),
    ];
    ask_for_sigio(&reader);
    ask_for_sigio(&writer);
    for end in more {
        end.expect("open").close();
        expect("SIGIO", inbox.has_sigio(), false);
    }
}

fn without_o_async_nobody_is_signalled(q: &Queue) {
    let inbox = Inbox::open();
    let (reader, writer) = q.first_pair();
    for end in [&reader, &writer] {
        ask_for_sigio(end);
        ask_for_none(end);
    }
    writer.write_all(b"x");
    reader.read_all(1);
    expect("SIGIO", inbox.has_sigio(), false);
}

fn after_o_async_is_cleared_nobody_is_signalled(q: &Queue) {
    let inbox = Inbox::open();
    let (reader, writer) = q.first_pair();
    ask_for_sigio(&reader);
    writer.write_all(b"x");
    expect("SIGIO with O_ASYNC", inbox.has_sigio(), true);
    ask_for_none(&reader);
    writer.write_all(b"x");
    expect("SIGIO without", inbox.has_sigio(), false);
    ask_for_sigio(&reader);
    writer.write_all(b"x");
    expect("SIGIO with it again", inbox.has_sigio(), true);
}

fn a_closed_description_is_signalled_no_more(q: &Queue) {
    let inbox = Inbox::open();
    let (reader, writer) = q.first_pair();
    ask_for_sigio(&reader);
    reader.close();
    inbox.has_sigio();
    expect("write", writer.write(b"x"), Err(Errno::EPIPE));
    expect("SIGIO", inbox.has_sigio(), false);
}

fn a_reader_is_not_signalled_for_reads_nor_a_writer_for_writes(q: &Queue) {
    let inbox = Inbox::open();
    let (reader, writer) = q.first_pair();
    ask_for_sigio(&writer);
    writer.write_all(b"abc");
    expect("SIGIO to the writer", inbox.has_sigio(), false);
    ask_for_none(&writer);
    ask_for_sigio(&reader);
    reader.read_all(3);
    expect("SIGIO to the reader", inbox.has_sigio(), false);
}

fn an_open_signals_nobody(q: &Queue) {
    let inbox = Inbox::open();
    let (reader, writer) = q.first_pair();
    ask_for_sigio(&reader);
    ask_for_sigio(&writer);
    let _more = [OFlag::O_RDONLY, OFlag::O_WRONLY, OFlag::O_RDWR]
        .map(|flags| reader.reopen(flags).expect("open"));
    expect("SIGIO", inbox.has_sigio(), false);
}

fn a_signal_to_a_reader_tells_in(q: &Queue) {
    let inbox = Inbox::open();
    let (reader, writer) = q.first_pair();
    ask_for_real_time_signals(&reader);
    writer.write_all(b"x");
    let wanted = Told {
        code: POLL_IN,
        band: BAND_IN,
        fd: reader.as_raw_fd(),
    };
    expect("told", inbox.told(), vec![wanted]);
}

fn a_signal_to_a_writer_tells_out(q: &Queue) {
    let inbox = Inbox::open();
    let (reader, writer) = q.first_pair();
    writer.write_all(b"x");
    ask_for_real_time_signals(&writer);
    reader.read_all(1);
    let wanted = Told {
        code: POLL_OUT,
        band: BAND_OUT,
        fd: writer.as_raw_fd(),
    };
    expect("told", inbox.told(), vec![wanted]);
}

fn real_time_signals_queue_up(q: &Queue) {
    let inbox = Inbox::open();
    let (reader, writer) = q.first_pair();
    ask_for_real_time_signals(&reader);
    for _ in 0..5 {
        writer.write_all(b"x");
    }
    expect("signals", inbox.told().len(), 5);
}

fn a_description_for_both_ends_is_told_both(q: &Queue) {
    let inbox = Inbox::open();
    let (reader, _writer) = q.first_pair();
    let both = reader.reopen(OFlag::O_RDWR).expect("open");
    ask_for_real_time_signals(&both);
    let codes = || -> Vec<_> { inbox.told().iter().map(|told| told.code).collect() };
    both.write_all(b"x");
    expect("told of a write", codes(), vec![POLL_IN]);
    both.read_all(1);
    expect("told of a read", codes(), vec![POLL_OUT]);
}

fn o_async_shows_in_f_getfl(q: &Queue) {
    let (reader, writer) = q.first_pair();
    for end in [&reader, &writer] {
        let before = end.flags();
        ask_for_sigio(end);
        expect("F_GETFL", end.flags(), before | OFlag::O_ASYNC);
        ask_for_none(end);
        expect("F_GETFL after it", end.flags(), before);
    }
}

fn the_owner_is_who_was_set(q: &Queue) {
    // The closes at the end of the test would kill.
    let _inbox = Inbox::open();
    let (reader, _writer) = q.first_pair();
    expect("owner of a new one", owner(&reader), 0);
    ask_for_sigio(&reader);
    expect("owner", owner(&reader), std::process::id() as i32);
}

fn a_duplicate_shares_o_async(q: &Queue) {
    let inbox = Inbox::open();
    let (reader, writer) = q.first_pair();
    let duplicate = reader.duplicate();
    ask_for_sigio(&duplicate);
    duplicate.close();
    writer.write_all(b"x");
    expect("SIGIO", inbox.has_sigio(), true);
    ask_for_none(&reader);
    writer.write_all(b"x");
    expect("SIGIO without O_ASYNC", inbox.has_sigio(), false);
}

fn another_process_can_be_the_owner_and_dies_of_sigio(q: &Queue) {
    let (reader, writer) = q.first_pair();
    let (ready, tell) = nix::unistd::pipe().expect("pipe");
    let end = reader.clone();
    let owner = Process::start("owner", move || {
        ask_for_sigio(&end);
        nix::unistd::write(&tell, b"x").expect("write");
        loop {
            std::thread::park();
        }
    });
    nix::unistd::read(&ready, &mut [0]).expect("read");
    writer.write_all(b"x");
    let status = owner.wait();
    assert!(
        matches!(
            status,
            WaitStatus::Signaled(_, nix::sys::signal::Signal::SIGIO, _)
        ),
        "end of the owner: expected death by SIGIO, got {status:?}"
    );
}

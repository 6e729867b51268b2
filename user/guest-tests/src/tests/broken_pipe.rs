// SPDX-License-Identifier: MIT

//! Writing without readers: EPIPE and SIGPIPE. pipe(7), write(2), signal(7).

use std::os::fd::AsFd;

use kpipe_abi::uapi::PIPE_BUF_BYTES;
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;

use crate::tools::memory::{Mapping, Page};
use crate::tools::needs;
use crate::tools::prelude::*;
use crate::tools::process::Process;
use crate::tools::raw;
use crate::tools::signals::{let_sigpipe_kill, SigpipeWatch};

/// The table.
pub const TESTS: &[Test] = &[
    section(
        "Writing without readers",
        "its ends cannot be opened again, or its buffer is counted otherwise",
    ),
    says("Count 0 returns 0 even without readers."),
    each!(count_0_returns_0_even_without_readers),
    says("No readers: SIGPIPE and EPIPE (no signal for IOCB_NOSIGNAL)."),
    each!(a_write_without_readers_is_epipe_and_sends_sigpipe).and_socket(),
    each!(sigpipe_kills_a_program_that_does_not_care).and_socket(),
    each!(ignored_sigpipe_leaves_epipe).and_socket(),
    each!(rwf_nosignal_sends_no_signal)
        .and_socket()
        .needs(needs::rwf_nosignal),
    each!(a_full_queue_without_readers_is_epipe_not_eagain),
    each!(a_new_reader_revives_the_writer),
    says("Reader gone midway: the partial count, and SIGPIPE still sent."),
    each!(a_reader_gone_midway_gives_the_partial_count_and_sigpipe),
    each!(a_reader_gone_before_the_first_byte_gives_epipe),
    each!(rwf_nosignal_holds_for_a_reader_gone_midway).needs(needs::rwf_nosignal),
];

/// A write end without any reader.
fn lonely_writer(q: &Queue) -> End {
    let (reader, writer) = q.pair();
    reader.close();
    writer
}

fn count_0_returns_0_even_without_readers(q: &Queue) {
    let writer = lonely_writer(q);
    let sigpipe = SigpipeWatch::start();
    expect("write of nothing", writer.write(b""), Ok(0));
    let empty = Mapping::of(&[Page::Open]).span(0, 0);
    expect(
        "writev of nothing",
        raw::writev(writer.as_fd(), &[empty, empty]),
        Ok(0),
    );
    expect("SIGPIPE", sigpipe.has_come(), false);
    writer.set_mode(Mode::Nonblocking);
    expect("write of nothing, O_NONBLOCK", writer.write(b""), Ok(0));
}

fn a_write_without_readers_is_epipe_and_sends_sigpipe(q: &Queue) {
    let writer = lonely_writer(q);
    let sigpipe = SigpipeWatch::start();
    for mode in [Mode::Blocking, Mode::Nonblocking] {
        writer.set_mode(mode);
        for len in [1, PIPE_BUF_BYTES, 100_000] {
            let what = format!("{mode:?} write of {len}");
            expect(&what, writer.write(&pattern(len)), Err(Errno::EPIPE));
            expect(&format!("SIGPIPE after a {what}"), sigpipe.has_come(), true);
        }
    }
}

fn sigpipe_kills_a_program_that_does_not_care(q: &Queue) {
    let queue = q.clone();
    let program = Process::start("program", move || {
        let_sigpipe_kill();
        let writer = lonely_writer(&queue);
        let result = writer.write(b"x");
        panic!("still alive after {result:?}");
    });
    let status = program.wait();
    assert!(
        matches!(status, WaitStatus::Signaled(_, Signal::SIGPIPE, _)),
        "end of the program: expected death by SIGPIPE, got {status:?}"
    );
}

fn ignored_sigpipe_leaves_epipe(q: &Queue) {
    // Every Rust program starts with SIGPIPE ignored.
    let writer = lonely_writer(q);
    expect("write", writer.write(b"x"), Err(Errno::EPIPE));
}

fn rwf_nosignal_sends_no_signal(q: &Queue) {
    let writer = lonely_writer(q);
    let sigpipe = SigpipeWatch::start();
    let written = raw::write_with(writer.as_fd(), b"x", raw::RWF_NOSIGNAL);
    expect("pwritev2 with RWF_NOSIGNAL", written, Err(Errno::EPIPE));
    expect("SIGPIPE", sigpipe.has_come(), false);
}

fn a_full_queue_without_readers_is_epipe_not_eagain(q: &Queue) {
    let (reader, writer) = q.pair_of(PIPE_BUF_BYTES);
    writer.fill();
    reader.close();
    expect("write", writer.nonblocking().write(b"x"), Err(Errno::EPIPE));
}

fn a_new_reader_revives_the_writer(q: &Queue) {
    let writer = lonely_writer(q);
    expect("write", writer.write(b"x"), Err(Errno::EPIPE));
    let reader = q.reader();
    writer.write_all(b"alive again");
    expect("read", reader.read(100), Ok(b"alive again".to_vec()));
}

/// A writer asleep in a write of `len` bytes to `writer`, and whether it was sent SIGPIPE.
fn sleeping_writer(writer: End, len: usize, flags: i32) -> Actor<(nix::Result<usize>, bool)> {
    let part = Actor::start("writer", move || {
        let sigpipe = SigpipeWatch::start();
        let result = match flags {
            0 => writer.write(&pattern(len)),
            flags => raw::write_with(writer.as_fd(), &pattern(len), flags),
        };
        (result, sigpipe.has_come())
    });
    part.wait_asleep_in(if flags == 0 {
        Call::Write
    } else {
        Call::Pwritev2
    });
    part
}

fn a_reader_gone_midway_gives_the_partial_count_and_sigpipe(q: &Queue) {
    let (reader, writer) = q.pair_of(2 * PIPE_BUF_BYTES);
    let part = sleeping_writer(writer, 50_000, 0);
    reader.close();
    let wanted = (Ok(2 * PIPE_BUF_BYTES), true);
    expect("write, SIGPIPE", part.join(), wanted);
}

fn a_reader_gone_before_the_first_byte_gives_epipe(q: &Queue) {
    for len in [1, PIPE_BUF_BYTES, 50_000] {
        let (reader, writer) = q.pair_of(PIPE_BUF_BYTES);
        writer.fill();
        let part = sleeping_writer(writer, len, 0);
        reader.close();
        expect("write, SIGPIPE", part.join(), (Err(Errno::EPIPE), true));
    }
}

fn rwf_nosignal_holds_for_a_reader_gone_midway(q: &Queue) {
    let (reader, writer) = q.pair_of(2 * PIPE_BUF_BYTES);
    let part = sleeping_writer(writer, 50_000, raw::RWF_NOSIGNAL);
    reader.close();
    let wanted = (Ok(2 * PIPE_BUF_BYTES), false);
    expect("write, SIGPIPE", part.join(), wanted);
}

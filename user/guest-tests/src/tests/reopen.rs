// SPDX-License-Identifier: MIT

//! Opening an end again, by the names that a process has for its descriptors: /dev/stdin, /dev/fd/N,
//! /proc/self/fd/N. Shells and interpreters do that. proc_pid_fd(5), `fifo_open()` in fs/pipe.c.

use std::os::fd::AsRawFd;

use nix::fcntl::open;
use nix::poll::PollFlags;
use nix::sys::stat::{fstat, Mode as FileMode};
use nix::unistd::dup2_stdin;

use crate::tools::prelude::*;
use crate::tools::process::Process;

/// The table.
pub const TESTS: &[Test] = &[
    section("Opening an end again", "opening a socket is ENXIO"),
    says("Opening an end again never blocks and needs no partner: a pipe's rule."),
    each!(reopening_for_reading_without_writers_does_not_wait).differs(&[&differences::NAMED]),
    each!(reopening_for_writing_without_readers_is_no_enxio).differs(&[&differences::NAMED]),
    each!(dev_stdin_gives_what_was_piped_in_by_a_writer_that_left).differs(&[&differences::NAMED]),
    each!(a_reopened_read_end_hangs_up_at_once_without_writers).differs(&[&differences::NAMED]),
    says("It gives the same queue."),
    each!(every_name_of_a_descriptor_gives_the_same_queue),
    each!(a_read_end_can_be_opened_for_writing_and_the_reverse),
    each!(a_reopened_end_counts_as_an_end),
    each!(a_reopened_end_keeps_queued_data),
    each!(both_ends_are_one_inode),
    unnamed!(the_link_in_proc_tells_kind_and_inode).differs(&[&differences::LINK]),
    says("It is a description of its own."),
    each!(a_reopened_end_has_flags_of_its_own),
    each!(a_reopened_end_shows_what_open_was_given),
];

/// Opens in a thread, so that a wait is a failure that names the step.
fn reopened(end: &End, flags: OFlag) -> nix::Result<End> {
    let end = end.clone();
    Actor::start("opener", move || end.reopen(flags)).join()
}

fn reopening_for_reading_without_writers_does_not_wait(q: &Queue) {
    let (reader, writer) = q.first_pair();
    writer.close();
    if q.differs(&differences::NAMED) {
        let end = reader.clone();
        let part = Actor::asleep_in(Call::Open, "opener", move || end.reopen(OFlag::O_RDONLY));
        drop(q.writer());
        part.join().expect("open");
        return;
    }
    let again = reopened(&reader, OFlag::O_RDONLY).expect("open");
    expect("read", again.read(1), Ok(vec![]));
}

fn reopening_for_writing_without_readers_is_no_enxio(q: &Queue) {
    let (reader, writer) = q.first_pair();
    reader.close();
    let again = writer.reopen(OFlag::O_WRONLY | OFlag::O_NONBLOCK);
    if q.differs(&differences::NAMED) {
        return expect("open", again.err(), Some(Errno::ENXIO));
    }
    let again = again.expect("open with O_NONBLOCK");
    expect("write", again.write(b"x"), Err(Errno::EPIPE));
    let again = reopened(&writer, OFlag::O_WRONLY).expect("open without O_NONBLOCK");
    expect("write", again.write(b"x"), Err(Errno::EPIPE));
}

/// What `printf data | program /dev/stdin` does.
fn dev_stdin_gives_what_was_piped_in_by_a_writer_that_left(q: &Queue) {
    let (reader, writer) = q.first_pair();
    writer.write_all(b"data");
    writer.close();
    let differs = q.differs(&differences::NAMED);
    let program = Process::start("program", move || {
        dup2_stdin(&reader).expect("dup2");
        reader.close();
        let opened = open("/dev/stdin", OFlag::O_RDONLY, FileMode::empty());
        let stdin = End::from(opened.expect("open /dev/stdin"));
        expect("read", stdin.read(100), Ok(b"data".to_vec()));
        expect("then", stdin.read(100), Ok(vec![]));
    });
    if differs {
        program.wait_asleep_in(Call::Open);
        drop(q.writer());
    }
    program.wait_success();
}

fn a_reopened_read_end_hangs_up_at_once_without_writers(q: &Queue) {
    let (reader, writer) = q.first_pair();
    writer.close();
    let again = reader.reopen(OFlag::O_RDONLY | OFlag::O_NONBLOCK);
    let wanted = if q.differs(&differences::NAMED) {
        // fifo(7): no hangup before the first writer.
        PollFlags::empty()
    } else {
        PollFlags::POLLHUP
    };
    expect("poll", again.expect("open").readiness(), wanted);
}

fn every_name_of_a_descriptor_gives_the_same_queue(q: &Queue) {
    let (reader, writer) = q.first_pair();
    let number = reader.as_raw_fd();
    for path in [
        format!("/dev/fd/{number}"),
        format!("/proc/self/fd/{number}"),
        format!("/proc/thread-self/fd/{number}"),
        format!("/proc/{}/fd/{number}", std::process::id()),
    ] {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let again = open(&*path, flags, FileMode::empty());
        let again = End::from(again.unwrap_or_else(|e| panic!("open {path}: {e}")));
        writer.write_all(path.as_bytes());
        expect(&path, again.read(100), Ok(path.as_bytes().to_vec()));
        expect("left for the first end", reader.queued(), 0);
    }
}

fn a_read_end_can_be_opened_for_writing_and_the_reverse(q: &Queue) {
    let (reader, writer) = q.first_pair();
    let other_writer = reader.reopen(OFlag::O_WRONLY).expect("open the read end");
    let other_reader = writer.reopen(OFlag::O_RDONLY).expect("open the write end");
    other_writer.write_all(b"by another way");
    expect(
        "read",
        other_reader.read(100),
        Ok(b"by another way".to_vec()),
    );
    let both = reader.reopen(OFlag::O_RDWR).expect("open for both");
    both.write_all(b"x");
    expect("read", both.read(100), Ok(b"x".to_vec()));
}

fn a_reopened_end_counts_as_an_end(q: &Queue) {
    let (reader, writer) = q.first_pair();
    let second = writer.reopen(OFlag::O_WRONLY).expect("open");
    writer.close();
    let reader = reader.nonblocking();
    expect("read with it", reader.read(1), Err(Errno::EAGAIN));
    second.close();
    expect("read without it", reader.read(1), Ok(vec![]));
}

fn a_reopened_end_keeps_queued_data(q: &Queue) {
    let (reader, writer) = q.first_pair();
    let data = pattern(10_000);
    writer.write_all(&data);
    for flags in [OFlag::O_RDONLY, OFlag::O_WRONLY, OFlag::O_RDWR] {
        let again = reader.reopen(flags | OFlag::O_TRUNC).expect("open");
        expect("queued", again.queued(), data.len());
    }
    expect_bytes("data", &reader.read_all(data.len()), &data);
}

fn both_ends_are_one_inode(q: &Queue) {
    let (reader, writer) = q.first_pair();
    let inode = |end: &End| {
        let stat = fstat(end).expect("fstat");
        (stat.st_dev, stat.st_ino)
    };
    expect("inode of the write end", inode(&writer), inode(&reader));
    let (other, _other_writer) = q.another().first_pair();
    assert_ne!(inode(&other), inode(&reader), "inode of another queue");
}

fn the_link_in_proc_tells_kind_and_inode(q: &Queue) {
    let (reader, writer) = q.first_pair();
    let kind = if q.differs(&differences::LINK) {
        "kpipe"
    } else {
        "pipe"
    };
    for end in [&reader, &writer] {
        let link = std::fs::read_link(end.path()).expect("readlink");
        let inode = fstat(end).expect("fstat").st_ino;
        expect(
            "link",
            link.display().to_string(),
            format!("{kind}:[{inode}]"),
        );
    }
}

fn a_reopened_end_has_flags_of_its_own(q: &Queue) {
    let (reader, _writer) = q.first_pair();
    let again = reader.reopen(OFlag::O_RDONLY | OFlag::O_NONBLOCK);
    let again = again.expect("open");
    expect("read of the new one", again.read(1), Err(Errno::EAGAIN));
    let is_nonblocking = |end: &End| end.flags().contains(OFlag::O_NONBLOCK);
    expect(
        "new, old",
        (is_nonblocking(&again), is_nonblocking(&reader)),
        (true, false),
    );
    // A duplicate is the same description.
    let duplicate = again.duplicate();
    duplicate.set_mode(Mode::Blocking);
    expect(
        "after F_SETFL of a duplicate",
        is_nonblocking(&again),
        false,
    );
}

fn a_reopened_end_shows_what_open_was_given(q: &Queue) {
    // What open(2) adds in every 64-bit program (include/uapi/asm-generic/fcntl.h).
    let large_file = OFlag::from_bits_retain(0o100_000);
    let (reader, _writer) = q.first_pair();
    for flags in [
        OFlag::O_RDONLY,
        OFlag::O_WRONLY | OFlag::O_NONBLOCK,
        OFlag::O_RDWR | OFlag::O_APPEND,
    ] {
        let again = reader.reopen(flags).expect("open");
        expect("F_GETFL", again.flags(), flags | large_file);
    }
}

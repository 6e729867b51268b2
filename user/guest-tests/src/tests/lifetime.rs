// SPDX-License-Identifier: MIT

//! How long data and ends live: open file descriptions are the ends, and any of them keeps the data.
//! fifo(7), dup(2), fork(2).

use std::os::fd::AsRawFd;

use nix::sys::signal::Signal;

use crate::tools::prelude::*;
use crate::tools::process::Process;

/// The table.
pub const TESTS: &[Test] = &[
    section("Life of data and ends", "its ends cannot be opened again"),
    says("A second open never disturbs queued data."),
    each!(a_second_open_of_any_kind_keeps_queued_data),
    says("Unread data lives while any descriptor is open, then is freed."),
    each!(unread_data_outlives_its_writer).and_socket(),
    each!(unread_data_waits_for_the_next_reader_while_a_writer_is_there),
    each!(unread_data_is_gone_after_the_last_close),
    says("Open file descriptions, not descriptors, are the ends (open(2), dup(2), fork(2))."),
    each!(a_duplicate_keeps_the_end_open).and_socket(),
    each!(a_child_inherits_the_end_and_keeps_it_open).and_socket(),
    each!(a_killed_process_closes_its_ends),
];

fn a_second_open_of_any_kind_keeps_queued_data(q: &Queue) {
    let (reader, writer) = q.pair();
    let data = pattern(10_000);
    writer.write_all(&data);
    let nonblock = OFlag::O_NONBLOCK;
    for flags in [OFlag::O_RDONLY, OFlag::O_WRONLY, OFlag::O_RDWR] {
        for flags in [
            flags,
            flags | nonblock,
            flags | OFlag::O_TRUNC,
            flags | OFlag::O_APPEND,
        ] {
            let _second = q.must_open(flags);
            expect(
                &format!("queued after open with {flags:?}"),
                reader.queued(),
                data.len(),
            );
        }
    }
    expect_bytes("data", &reader.read_all(data.len()), &data);
}

fn unread_data_outlives_its_writer(q: &Queue) {
    let (reader, writer) = q.pair();
    writer.write_all(b"left behind");
    writer.close();
    expect("read", reader.read(100), Ok(b"left behind".to_vec()));
    expect("then", reader.read(100), Ok(vec![]));
}

fn unread_data_waits_for_the_next_reader_while_a_writer_is_there(q: &Queue) {
    let (reader, writer) = q.pair();
    writer.write_all(b"for the next");
    reader.close();
    let next = q.reader();
    expect(
        "read by the next reader",
        next.read(100),
        Ok(b"for the next".to_vec()),
    );
}

fn unread_data_is_gone_after_the_last_close(q: &Queue) {
    let (reader, writer) = q.pair();
    writer.write_all(b"nobody reads this");
    reader.close();
    writer.close();
    let (reader, _writer) = q.pair();
    expect("queued", reader.queued(), 0);
    expect("read", reader.nonblocking().read(100), Err(Errno::EAGAIN));
}

fn a_duplicate_keeps_the_end_open(q: &Queue) {
    let (reader, writer) = q.pair();
    let duplicate = writer.duplicate();
    writer.close();
    let reader = reader.nonblocking();
    expect(
        "read with a duplicate left",
        reader.read(1),
        Err(Errno::EAGAIN),
    );
    duplicate.close();
    expect("read with none left", reader.read(1), Ok(vec![]));
}

fn a_child_inherits_the_end_and_keeps_it_open(q: &Queue) {
    let (reader, writer) = q.pair();
    let (gate_reader, gate) = nix::unistd::pipe().expect("pipe");
    let child = Process::start("child", || {
        // Only the parent's copy of this end may keep the gate shut.
        nix::unistd::close(gate.as_raw_fd()).expect("close");
        nix::unistd::read(&gate_reader, &mut [0]).expect("the gate opens");
        writer.write_all(b"from the child");
    });
    writer.close();
    let reader = reader.nonblocking();
    expect(
        "read while the child has it",
        reader.read(1),
        Err(Errno::EAGAIN),
    );
    drop(gate);
    child.wait_success();
    expect(
        "read after the child",
        reader.read(100),
        Ok(b"from the child".to_vec()),
    );
    expect("then", reader.read(100), Ok(vec![]));
}

fn a_killed_process_closes_its_ends(q: &Queue) {
    let reader = q.reader();
    let queue = q.clone();
    let writer = Process::start("writer", move || {
        let writer = queue.writer();
        writer.fill();
        writer.write_all(b"this write sleeps until the end");
    });
    writer.wait_asleep_in(Call::Write);
    writer.signal(Signal::SIGKILL);
    writer.wait();
    let rest = reader.read_all(2 * reader.capacity());
    expect(
        "bytes before the end of file",
        rest.len(),
        reader.capacity(),
    );
}

// SPDX-License-Identifier: MIT

//! Mistakes that teaching drivers are known for, each as a test that it is not made here.
//!
//! Those that are ordinary promises of a queue are tested where the promise is: wakeups that are not
//! exclusive in `wakeups.rs`; missing EOF, EPIPE, HUP and ERR in `read.rs`, `broken_pipe.rs` and
//! `poll.rs`. Locks taken in the wrong context are for the debug kernel, whose complaints fail every
//! test.

use std::time::{Duration, Instant};

use kpipe_abi::uapi::PIPE_BUF_BYTES;
use nix::poll::PollFlags;

use crate::harness::amount;
use crate::tools::actor::wait_until;
use crate::tools::memory::{Mapping, Page, PAGE_BYTES};
use crate::tools::needs;
use crate::tools::page_fault::Trap;
use crate::tools::prelude::*;
use crate::tools::raw;
use std::os::fd::AsFd;

/// The table.
pub const TESTS: &[Test] = &[
    section("Mistakes of other drivers", "it is about opening again or about room"),
    says("A second open destroys no data, also at the ring's wrap (some drivers reset it at every open)."),
    each!(a_second_open_does_not_reset_a_wrapped_ring),
    says("Who sleeps holds no lock that another call needs (some sleep with the read lock)."),
    each!(a_sleeping_reader_delays_nobody),
    each!(a_sleeping_writer_delays_nobody),
    says("The ring's wrap is not to be seen (some writes end there, and are not atomic)."),
    each!(writes_and_reads_are_whole_at_every_place_of_the_ring),
    says("What is queued is never overwritten."),
    each!(a_full_queue_never_overwrites),
    says("No lock of one side is held up by the other's copy."),
    ours!(a_reader_goes_on_while_a_writer_stands_in_a_page_fault).needs(needs::userfaultfd),
    ours!(a_writer_goes_on_while_a_reader_stands_in_a_page_fault).needs(needs::userfaultfd),
    ours!(who_asks_does_not_wait_for_a_reader_in_a_page_fault).needs(needs::userfaultfd),
    ours!(a_write_in_a_page_fault_is_not_seen_before_it_is_whole).needs(needs::userfaultfd),
    says("A short read is no error, and the end of file is 0."),
    each!(short_reads_add_up).and_socket(),
    says("No queue delays another."),
    each!(a_full_queue_does_not_delay_another).and_socket(),
    says("Much opening and closing from all sides leaves nothing behind."),
    each!(open_and_close_from_many_threads_leave_nothing_behind).deadline_secs(30),
];

fn a_second_open_does_not_reset_a_wrapped_ring(q: &Queue) {
    let (reader, writer) = q.pair_of(PIPE_BUF_BYTES);
    writer.write_all(&pattern(3000));
    reader.read_all(3000);
    let data = pattern(2500);
    writer.write_all(&data[..1000]);
    drop(q.must_open(OFlag::O_RDWR));
    writer.write_all(&data[1000..]);
    drop(q.must_open(OFlag::O_RDWR));
    expect_bytes("data", &reader.read_all(data.len()), &data);
}

fn a_sleeping_reader_delays_nobody(q: &Queue) {
    let (reader, writer) = q.pair();
    let end = reader.clone();
    let sleeper = Actor::asleep_in(Call::Read, "sleeper", move || end.read(1));
    let second = q.reader().nonblocking();
    expect("nonblocking read", second.read(1), Err(Errno::EAGAIN));
    expect("FIONREAD", second.queued(), 0);
    expect("poll", second.readiness(), PollFlags::empty());
    expect("resize", second.resize(8192), Ok(8192));
    second.close();
    writer.write_all(b"x");
    expect("read of the sleeper", sleeper.join(), Ok(b"x".to_vec()));
}

fn a_sleeping_writer_delays_nobody(q: &Queue) {
    let (reader, writer) = q.pair_of(PIPE_BUF_BYTES);
    writer.fill();
    let sleeper = Actor::asleep_in(Call::Write, "sleeper", move || writer.write(&[1; 10_000]));
    let second = q.writer().nonblocking();
    expect("nonblocking write", second.write(b"x"), Err(Errno::EAGAIN));
    expect("FIONREAD", second.queued(), PIPE_BUF_BYTES);
    expect("poll", second.readiness(), PollFlags::empty());
    expect("resize to what it is", second.resize(4096), Ok(4096));
    second.close();
    expect(
        "bytes read",
        reader.read_all(PIPE_BUF_BYTES + 10_000).len(),
        PIPE_BUF_BYTES + 10_000,
    );
    expect("write of the sleeper", sleeper.join(), Ok(10_000));
}

fn writes_and_reads_are_whole_at_every_place_of_the_ring(q: &Queue) {
    let (reader, writer) = q.pair_of(PIPE_BUF_BYTES);
    let data = pattern(PIPE_BUF_BYTES);
    for (step, len) in [(61, 4096), (1, 4095), (127, 2049)] {
        for _ in 0..PIPE_BUF_BYTES / step.max(61) {
            expect("write", writer.write(&data[..len]), Ok(len));
            expect_bytes("read", &reader.read(len).expect("read"), &data[..len]);
            // Moves on, so that the next one starts at another place.
            writer.write_all(&data[..step]);
            expect("read", reader.read(step).map(|bytes| bytes.len()), Ok(step));
        }
    }
}

fn a_full_queue_never_overwrites(q: &Queue) {
    let (reader, writer) = q.pair_of(PIPE_BUF_BYTES);
    let data = pattern(PIPE_BUF_BYTES);
    writer.write_all(&data);
    let writer = writer.nonblocking();
    for len in [1, 100, 4096, 10_000] {
        expect(
            "write to a full queue",
            writer.write(&vec![0; len]),
            Err(Errno::EAGAIN),
        );
    }
    expect_bytes("data", &reader.read_all(data.len()), &data);
}

/// A thread in write(2) of `len` bytes, of which only the first page is there.
fn writer_in_a_trap(writer: End, len: usize) -> (Trap, Actor<nix::Result<usize>>) {
    let memory = Mapping::of(&[Page::Open; 2]);
    memory.store(0, &[1; PAGE_BYTES]);
    let mut trap = Trap::set(&memory, 1);
    let span = memory.span(0, len);
    let part = Actor::start("writer", move || raw::write(writer.as_fd(), span));
    trap.wait_for_fault();
    (trap, part)
}

fn a_reader_goes_on_while_a_writer_stands_in_a_page_fault(q: &Queue) {
    let (reader, writer) = q.pair();
    writer.write_all(b"queued before");
    let (trap, stuck) = writer_in_a_trap(writer, 2 * PAGE_BYTES);
    let end = reader.clone();
    let read = Actor::start("reader", move || end.read(13));
    expect("read", read.join(), Ok(b"queued before".to_vec()));
    trap.release(&[2; PAGE_BYTES]);
    expect("write", stuck.join(), Ok(2 * PAGE_BYTES));
    let mut wanted = vec![1; PAGE_BYTES];
    wanted.extend([2; PAGE_BYTES]);
    expect_bytes(
        "what the writer wrote",
        &reader.read_all(2 * PAGE_BYTES),
        &wanted,
    );
}

fn a_writer_goes_on_while_a_reader_stands_in_a_page_fault(q: &Queue) {
    let (reader, writer) = q.pair();
    let data = pattern(2 * PAGE_BYTES);
    writer.write_all(&data);
    let memory = Mapping::of(&[Page::Open; 2]);
    memory.store(0, &[0; PAGE_BYTES]);
    let mut trap = Trap::set(&memory, 1);
    let (end, span) = (reader.clone(), memory.all());
    let stuck = Actor::start("reader", move || raw::read(end.as_fd(), span));
    trap.wait_for_fault();
    let write = Actor::start("writer", move || writer.write(b"written meanwhile"));
    expect("write", write.join(), Ok(17));
    trap.release(&[0; PAGE_BYTES]);
    let taken = stuck.join().expect("read");
    let mut all = memory.load(0, taken);
    all.extend(reader.read_all(data.len() + 17 - taken));
    expect_bytes("data", &all, &[&data, &b"written meanwhile"[..]].concat());
}

fn who_asks_does_not_wait_for_a_reader_in_a_page_fault(q: &Queue) {
    let (reader, writer) = q.pair();
    writer.set_flags(OFlag::O_DIRECT).expect("packets");
    writer.write_all(b"packet");
    let memory = Mapping::of(&[Page::Open]);
    let mut trap = Trap::set(&memory, 0);
    let (end, span) = (reader.clone(), memory.all());
    let stuck = Actor::start("reader", move || raw::read(end.as_fd(), span));
    trap.wait_for_fault();
    let asker = Actor::start("asker", move || writer.info());
    assert!(asker.join().queued_bytes >= 6, "the packet is there");
    trap.release(&[0; PAGE_BYTES]);
    expect("read", stuck.join(), Ok(6));
}

fn a_write_in_a_page_fault_is_not_seen_before_it_is_whole(q: &Queue) {
    let (reader, writer) = q.pair();
    let memory = Mapping::of(&[Page::Open; 2]);
    memory.store(0, &[1; PAGE_BYTES]);
    let mut trap = Trap::set(&memory, 1);
    // 4096 bytes over two pages: an atomic write.
    let span = memory.span(2048, PIPE_BUF_BYTES);
    let stuck = Actor::start("writer", move || raw::write(writer.as_fd(), span));
    trap.wait_for_fault();
    expect("bytes queued meanwhile", reader.queued(), 0);
    let reader = reader.nonblocking();
    expect("read meanwhile", reader.read(1), Err(Errno::EAGAIN));
    trap.release(&[2; PAGE_BYTES]);
    expect("write", stuck.join(), Ok(PIPE_BUF_BYTES));
    expect(
        "bytes read",
        reader.read(10_000).map(|b| b.len()),
        Ok(PIPE_BUF_BYTES),
    );
}

fn short_reads_add_up(q: &Queue) {
    let (reader, writer) = q.pair();
    let data = pattern(1000);
    let bytes = data.clone();
    let sender = Actor::start("sender", move || {
        for piece in bytes.chunks(7) {
            writer.write_all(piece);
        }
    });
    let mut got = Vec::new();
    loop {
        let part = reader.read(100).expect("read");
        if part.is_empty() {
            break;
        }
        got.extend(part);
    }
    expect_bytes("data", &got, &data);
    sender.join();
}

fn a_full_queue_does_not_delay_another(q: &Queue) {
    let (_full_reader, full_writer) = q.pair();
    full_writer.fill();
    let end = full_writer.clone();
    let _stuck = Actor::asleep_in(Call::Write, "stuck writer", move || end.write(b"x"));
    let (reader, writer) = q.another().pair();
    let data = pattern(200_000);
    let bytes = data.clone();
    let sender = Actor::start("sender", move || writer.write(&bytes));
    expect_bytes("data", &reader.read_all(data.len()), &data);
    expect("write", sender.join(), Ok(data.len()));
    // The stuck writer ends with the process: closing its reader is not needed.
}

fn open_and_close_from_many_threads_leave_nothing_behind(q: &Queue) {
    let until = Instant::now() + Duration::from_millis(amount(1000).max(200) as u64);
    let flags = [
        OFlag::O_RDONLY | OFlag::O_NONBLOCK,
        OFlag::O_WRONLY | OFlag::O_NONBLOCK,
        OFlag::O_RDWR,
        OFlag::O_RDWR | OFlag::O_NONBLOCK,
    ];
    let parts: Vec<_> = flags
        .into_iter()
        .map(|flags| {
            let queue = q.clone();
            Actor::start(&format!("{flags:?}"), move || {
                let mut opened = 0_u64;
                while Instant::now() < until {
                    match queue.open(flags) {
                        Ok(end) => {
                            opened += 1;
                            if flags.contains(OFlag::O_RDWR) {
                                // Another thread may be faster and take it.
                                end.set_mode(Mode::Nonblocking);
                                let _ = (end.write(b"x"), end.read(2));
                            }
                        }
                        Err(e) => expect("open", e, Errno::ENXIO),
                    }
                }
                opened
            })
        })
        .collect();
    wait_until("the time is over", || Instant::now() >= until);
    for part in parts {
        part.join();
    }
    let (reader, _writer) = q.pair();
    expect("bytes queued", reader.queued(), 0);
}

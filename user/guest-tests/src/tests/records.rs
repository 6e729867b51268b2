// SPDX-License-Identifier: MIT

//! What packets must not do to those who wait, look or read much at the same time.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

use kpipe_abi::uapi::{self, PIPE_BUF_BYTES};
use nix::fcntl::{splice, SpliceFFlags};

use crate::harness::amount;
use crate::tools::memory::{Mapping, Page, PAGE_BYTES};
use crate::tools::page_fault::Trap;
use crate::tools::prelude::*;
use crate::tools::subject::observe;
use crate::tools::{needs, raw};

/// The table.
pub const TESTS: &[Test] = &[
    section("Packets among others", "it is a stream"),
    says("A read of any length cuts no packet that fits into its buffer."),
    each!(a_read_of_more_than_the_capacity_cuts_no_packet),
    says("The first packet changes nothing for who waits."),
    each!(a_writer_that_waits_goes_on_after_the_first_packet),
    says("Who asks is answered while the last end closes."),
    ours!(the_bytes_are_never_less_than_none),
    says("Who looks does not wait for a page that somebody else waits for."),
    ours!(a_look_does_not_wait_for_a_copy).needs(needs::userfaultfd),
    says("splice(2) into packets does not wait where it must not."),
    ours!(a_nonblocking_splice_into_packets_returns),
    ours!(a_splice_waits_no_longer_than_the_limit),
];

fn as_packets(end: &End) -> End {
    let other = end.reopen(OFlag::O_WRONLY).expect("another description");
    other.set_flags(OFlag::O_DIRECT).expect("F_SETFL O_DIRECT");
    other
}

fn a_read_of_more_than_the_capacity_cuts_no_packet(q: &Queue) {
    for _ in 0..amount(100) {
        let (reader, writer) = q.pair();
        let packets = as_packets(&writer);
        let filled = writer.fill();
        let part = Actor::asleep_in(Call::Write, "packet writer", move || {
            packets.write(&[7; PIPE_BUF_BYTES])
        });
        let mut total = 0;
        while total < filled + PIPE_BUF_BYTES {
            total += reader.read(1 << 20).expect("read").len();
        }
        expect("write", part.join(), Ok(PIPE_BUF_BYTES));
        expect("bytes in all", total, filled + PIPE_BUF_BYTES);
    }
}

fn a_writer_that_waits_goes_on_after_the_first_packet(q: &Queue) {
    let (reader, writer) = q.pair_of(PIPE_BUF_BYTES);
    writer.write_all(&[1; 100]);
    let end = writer.clone();
    let part = Actor::asleep_in(Call::Write, "writer", move || {
        end.write(&[2; PIPE_BUF_BYTES])
    });
    // On a pipe it joins the 100 bytes; on the driver's queues it makes room for itself.
    as_packets(&writer).write_all(&[3; 10]);
    expect("bytes", reader.read_all(110).len(), 110);
    expect("write", part.join(), Ok(PIPE_BUF_BYTES));
}

fn the_bytes_are_never_less_than_none(q: &Queue) {
    let observer = observe(q.path()).expect("access mode 3");
    let is_over = Arc::new(AtomicBool::new(false));
    let (queue, stop) = (q.clone(), is_over.clone());
    let part = Actor::start("writer", move || {
        while !stop.load(Ordering::Relaxed) {
            let both = queue.must_open(OFlag::O_RDWR);
            both.set_flags(OFlag::O_DIRECT).expect("F_SETFL O_DIRECT");
            for _ in 0..3 {
                both.write_all(b"x");
            }
        }
    });
    for _ in 0..amount(100_000) {
        let queued = observer.queued();
        assert!(queued <= 3, "{queued} bytes are queued");
    }
    is_over.store(true, Ordering::Relaxed);
    part.join();
}

/// IOC_INFO and fdinfo, while a reader waits for its buffer with the lock of its side.
fn a_look_does_not_wait_for_a_copy(q: &Queue) {
    let (reader, writer) = q.pair();
    as_packets(&writer).write_all(b"abc");
    let memory = Mapping::of(&[Page::Open]);
    let mut trap = Trap::set(&memory, 0);
    let span = memory.all();
    let stuck = Actor::start("reader", move || raw::read(reader.as_fd(), span));
    trap.wait_for_fault();
    let look = Actor::start("look", move || {
        let fdinfo = format!("/proc/self/fdinfo/{}", writer.as_raw_fd());
        let fdinfo = std::fs::read_to_string(fdinfo).expect("fdinfo");
        (writer.info().queued_bytes > 0, fdinfo.contains("queued"))
    });
    expect("IOC_INFO, fdinfo", look.join(), (true, true));
    trap.release(&[0; PAGE_BYTES]);
    expect("read", stuck.join(), Ok(3));
}

/// A full pipe to splice from.
fn source() -> (OwnedFd, OwnedFd) {
    let (reader, writer) = nix::unistd::pipe().expect("pipe");
    let writer = End::from(writer);
    writer.fill();
    (reader, writer.as_fd().try_clone_to_owned().expect("dup"))
}

fn a_nonblocking_splice_into_packets_returns(q: &Queue) {
    for prepare in [
        (|_: &End| ()) as fn(&End),
        |writer| writer.set_flags(OFlag::O_DIRECT).expect("F_SETFL"),
        |writer| kpipe_abi::set_mode(writer, uapi::MODE_PACKET).expect("IOC_SET_MODE"),
    ] {
        let (reader, writer) = q.pair();
        // A ring of records from here on, except in the second round.
        prepare(&writer);
        let packets = as_packets(&writer);
        packets.write_all(b"x");
        reader.read_all(1);
        let (from, _kept) = source();
        let part = Actor::start("splice", move || {
            splice(
                from,
                None,
                &writer,
                None,
                65536,
                SpliceFFlags::SPLICE_F_NONBLOCK,
            )
        });
        let moved = part.join().expect("splice");
        assert!(moved > 0, "nothing was moved into an empty queue");
        expect("queued", reader.queued(), moved);
        kpipe_abi::set_mode(&packets, uapi::MODE_STREAM).expect("IOC_SET_MODE");
    }
}

fn a_splice_waits_no_longer_than_the_limit(q: &Queue) {
    let (_reader, writer) = q.pair();
    writer.fill();
    kpipe_abi::set_timeouts(&writer, None, Some(Duration::from_millis(10))).expect("a limit");
    let (from, _kept) = source();
    let part = Actor::start("splice", move || {
        splice(from, None, &writer, None, 4096, SpliceFFlags::empty())
    });
    expect("splice", part.join(), Err(Errno::EAGAIN));
}

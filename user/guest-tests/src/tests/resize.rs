// SPDX-License-Identifier: MIT

//! Another capacity at run time: `KPIPE_IOC_RESIZE` as `F_SETPIPE_SZ` (fcntl(2), pipe(7)).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use kpipe_abi::uapi::{self, MAX_CAPACITY_BYTES, PIPE_BUF_BYTES, UNPRIVILEGED_CAPACITY_BYTES};
use nix::poll::PollFlags;

use crate::harness::amount;
use crate::tools::bytes::{Random, Stream};
use crate::tools::needs;
use crate::tools::prelude::*;
use crate::tools::process::{become_ordinary_user, Process};

/// The table.
pub const TESTS: &[Test] = &[
    section(
        "Capacity",
        "its buffer is set by SO_SNDBUF and counted otherwise",
    ),
    says("At least one page, rounded up to a power of two; returns the actual size."),
    each!(resize_rounds_up_and_returns_the_capacity),
    each!(resize_works_on_either_end),
    each!(the_new_capacity_holds_as_many_bytes),
    says("EINVAL above the largest of all."),
    each!(resize_to_2_to_the_63_is_einval),
    ours!(resize_above_the_maximum_is_einval),
    says("EPERM above the limit without CAP_SYS_RESOURCE."),
    each!(an_ordinary_user_gets_at_most_1_mib).needs(needs::cap_sys_resource),
    each!(an_ordinary_user_may_shrink_what_is_above_the_limit).needs(needs::cap_sys_resource),
    says("EBUSY below what is queued."),
    each!(resize_below_what_is_queued_is_ebusy),
    says("Queued data and its order survive."),
    each!(queued_data_survives_growing_and_shrinking),
    each!(queued_data_survives_in_a_wrapped_ring),
    each!(data_survives_resizing_while_it_flows).deadline_secs(60),
    says("Wakes writers."),
    each!(growing_wakes_sleeping_writers),
    each!(growing_wakes_a_poller),
    says("A capacity that was set is for the present users."),
    each!(a_capacity_lasts_until_the_last_close).differs(&[&differences::KEPT]),
];

fn resize_rounds_up_and_returns_the_capacity(q: &Queue) {
    let (_reader, writer) = q.pair();
    for (asked, wanted) in [
        (0, 4096),
        (1, 4096),
        (3, 4096),
        (4095, 4096),
        (4096, 4096),
        (4097, 8192),
        (65535, 65536),
        (65537, 131_072),
        (1 << 20, 1 << 20),
    ] {
        let what = format!("resize to {asked}");
        expect(&what, writer.resize(asked), Ok(wanted));
        expect("capacity", writer.capacity(), wanted);
    }
}

fn resize_works_on_either_end(q: &Queue) {
    let (reader, writer) = q.pair();
    let both = q.must_open(OFlag::O_RDWR);
    for (end, bytes) in [(&reader, 4096), (&writer, 8192), (&both, 16384)] {
        expect("resize", end.resize(bytes as u64), Ok(bytes));
        expect("capacity", reader.capacity(), bytes);
    }
}

fn the_new_capacity_holds_as_many_bytes(q: &Queue) {
    let (reader, writer) = q.pair();
    for capacity in [4096, 1 << 20, 16384] {
        expect("resize", writer.resize(capacity as u64), Ok(capacity));
        expect("bytes that filled it", writer.fill(), capacity);
        expect("bytes read", reader.read_all(capacity).len(), capacity);
    }
}

fn resize_to_2_to_the_63_is_einval(q: &Queue) {
    let (reader, writer) = q.pair();
    writer.write_all(b"x");
    for bytes in [1 << 63, u64::MAX, (1 << 31) + 1] {
        expect(
            &format!("resize to {bytes}"),
            writer.resize(bytes),
            Err(Errno::EINVAL),
        );
    }
    expect("capacity", writer.capacity(), 65536);
    expect("data", reader.read(2), Ok(b"x".to_vec()));
}

fn resize_above_the_maximum_is_einval(q: &Queue) {
    let (_reader, writer) = q.pair();
    for bytes in [MAX_CAPACITY_BYTES + 1, 2 * MAX_CAPACITY_BYTES, 1 << 40] {
        expect(
            &format!("resize to {bytes}"),
            writer.resize(bytes),
            Err(Errno::EINVAL),
        );
    }
    expect("capacity", writer.capacity(), 65536);
}

fn an_ordinary_user_gets_at_most_1_mib(q: &Queue) {
    let (_reader, writer) = q.pair();
    Process::start("ordinary user", || {
        become_ordinary_user();
        let limit = UNPRIVILEGED_CAPACITY_BYTES;
        expect("resize to 1 MiB", writer.resize(limit), Ok(limit as usize));
        expect(
            "resize to 1 MiB + 1",
            writer.resize(limit + 1),
            Err(Errno::EPERM),
        );
        expect("capacity", writer.capacity(), limit as usize);
    })
    .wait_success();
    let above = 2 * UNPRIVILEGED_CAPACITY_BYTES;
    expect(
        "root resizes to 2 MiB",
        writer.resize(above),
        Ok(above as usize),
    );
}

fn an_ordinary_user_may_shrink_what_is_above_the_limit(q: &Queue) {
    let (_reader, writer) = q.pair_of(4 << 20);
    Process::start("ordinary user", || {
        become_ordinary_user();
        expect(
            "resize from 4 to 2 MiB",
            writer.resize(2 << 20),
            Ok(2 << 20),
        );
        expect("and back", writer.resize(4 << 20), Err(Errno::EPERM));
    })
    .wait_success();
}

fn resize_below_what_is_queued_is_ebusy(q: &Queue) {
    let (reader, writer) = q.pair();
    let data = pattern(2 * PIPE_BUF_BYTES + 1);
    writer.write_all(&data);
    expect("resize to 8192", writer.resize(8192), Err(Errno::EBUSY));
    expect("resize to 4096", writer.resize(4096), Err(Errno::EBUSY));
    expect("capacity", writer.capacity(), 65536);
    expect("resize to 16384", writer.resize(16384), Ok(16384));
    let mut got = reader.read_all(PIPE_BUF_BYTES);
    expect(
        "resize to 8192 with 4097 queued",
        writer.resize(8192),
        Ok(8192),
    );
    got.extend(reader.read_all(data.len() - got.len()));
    expect_bytes("data", &got, &data);
}

fn queued_data_survives_growing_and_shrinking(q: &Queue) {
    let (reader, writer) = q.pair();
    let data = pattern(3 * PIPE_BUF_BYTES);
    writer.write_all(&data[..2 * PIPE_BUF_BYTES]);
    for capacity in [1 << 20, 8192, 16384] {
        expect("resize", writer.resize(capacity), Ok(capacity as usize));
    }
    writer.write_all(&data[2 * PIPE_BUF_BYTES..]);
    expect_bytes("data", &reader.read_all(data.len()), &data);
}

fn queued_data_survives_in_a_wrapped_ring(q: &Queue) {
    for offset in [1, 4095, 4096, 5000, 8191] {
        let (reader, writer) = q.pair_of(2 * PIPE_BUF_BYTES);
        // Moves the start of the ring to `offset`, then lets the data run over its end.
        writer.write_all(&pattern(offset));
        reader.read_all(offset);
        let data = pattern(PIPE_BUF_BYTES + 500);
        writer.write_all(&data);
        for capacity in [16384, 8192] {
            expect("resize", reader.resize(capacity), Ok(capacity as usize));
        }
        let what = format!("data over the end of the ring, from {offset}");
        expect_bytes(&what, &reader.read_all(data.len()), &data);
    }
}

fn data_survives_resizing_while_it_flows(q: &Queue) {
    let total = amount(8 << 20);
    let (reader, writer) = q.pair();
    let is_done = Arc::new(AtomicBool::new(false));
    let (end, done) = (writer.clone(), is_done.clone());
    let resizer = Actor::start("resizer", move || {
        let mut random = Random::new(3);
        let mut resized = 0;
        while !done.load(Ordering::Relaxed) {
            match end.resize(4096 << random.up_to(6)) {
                Ok(_) => resized += 1,
                Err(e) => expect("resize", e, Errno::EBUSY),
            }
        }
        resized
    });
    let sender = Actor::start("sender", move || {
        let (stream, mut random, mut sent) = (Stream::new(), Random::new(1), 0);
        while sent < total {
            let len = random.up_to(20_000).min(total - sent);
            writer.write_all(stream.piece(sent, len));
            sent += len;
        }
    });
    let (stream, mut random, mut received) = (Stream::new(), Random::new(2), 0);
    while received < total {
        let part = reader.read(random.up_to(20_000)).expect("read");
        expect_bytes(
            &format!("from byte {received}"),
            &part,
            stream.piece(received, part.len()),
        );
        received += part.len();
    }
    is_done.store(true, Ordering::Relaxed);
    sender.join();
    let resized = resizer.join();
    assert!(resized > 0, "nothing was resized meanwhile");
}

fn growing_wakes_sleeping_writers(q: &Queue) {
    let (reader, writer) = q.pair_of(PIPE_BUF_BYTES);
    writer.fill();
    let parts: Vec<_> = (0..2)
        .map(|n| {
            let writer = writer.clone();
            Actor::asleep_in(Call::Write, &format!("writer {n}"), move || {
                writer.write(&[n; PIPE_BUF_BYTES])
            })
        })
        .collect();
    expect("resize", reader.resize(16384), Ok(16384));
    for part in parts {
        expect("write", part.join(), Ok(PIPE_BUF_BYTES));
    }
    expect("queued", reader.queued(), 3 * PIPE_BUF_BYTES);
}

fn growing_wakes_a_poller(q: &Queue) {
    let (reader, writer) = q.pair_of(PIPE_BUF_BYTES);
    writer.fill();
    let part = Actor::asleep_in(Call::Poll, "poller", move || {
        writer.wait_for(PollFlags::POLLOUT)
    });
    expect("resize", reader.resize(8192), Ok(8192));
    expect("poll", part.join(), PollFlags::POLLOUT);
}

fn a_capacity_lasts_until_the_last_close(q: &Queue) {
    let (reader, writer) = q.pair_of(8192);
    reader.close();
    expect("capacity with a writer left", writer.capacity(), 8192);
    writer.close();
    let (reader, writer) = q.pair();
    let wanted = if q.differs(&differences::KEPT) {
        8192
    } else {
        uapi::DEFAULT_CAPACITY_BYTES as usize
    };
    expect("capacity after the last close", reader.capacity(), wanted);
    expect("bytes that fill it", writer.fill(), wanted);
}

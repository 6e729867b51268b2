// SPDX-License-Identifier: MIT

//! Transports: who carries the bytes, and how it is set. What is on its
//! way is in `posted.rs`, where the work of the interrupt is done in `halves.rs`, devices that go away in
//! `removal.rs`.
//!
//! Each test sets the transport of its queue itself. That a queue is a FIFO on each of them is shown by all
//! the other tests: `kpipe-tests --transport`.

use std::os::fd::AsFd;
use std::time::Duration;

use kpipe::{BottomHalf, Carrier};
use kpipe_abi::uapi::{self, Transport};

use crate::harness::amount;
use crate::tools::carry::{by, each_of, fast, name, pair, posted, set, slow, transfer};
use crate::tools::module::{load, traces, unload};
use crate::tools::prelude::*;
use crate::tools::process::{become_ordinary_user, Process};
use crate::tools::subject::observe;
use crate::tools::{edu, needs, raw};

/// The table.
pub const TESTS: &[Test] = &[
    section("Transports", "it has nothing like that"),
    says("A queue is direct unless somebody says otherwise."),
    ours!(a_queue_is_direct_unless_told).sets_transport(),
    ours!(what_was_set_is_what_is_got).sets_transport(),
    ours!(zero_stands_for_the_modules_tick).sets_transport(),
    device!(the_transport_survives_the_last_close).sets_transport(),
    plain!(queues_get_the_transport_of_the_parameter).sets_transport(),
    plain!(a_transport_that_does_not_exist_is_refused)
        .sets_transport()
        .deadline_secs(60)
        .logs(&[
            "kpipe: parameters tick_ns and bytes_per_tick",
            "kpipe: parameters transport",
            "kpipe: parameter posted",
        ]),
    says("What is wrong has one errno each, and changes nothing."),
    ours!(a_bad_field_is_einval).sets_transport(),
    ours!(a_timer_has_no_thread).sets_transport(),
    ours!(a_read_only_end_may_not_set).sets_transport(),
    ours!(an_ordinary_user_may_not_order_a_storm_of_interrupts).sets_transport(),
    ours!(queued_bytes_are_ebusy).sets_transport(),
    ours!(bytes_on_their_way_are_ebusy).sets_transport(),
    ours!(without_a_device_it_is_enodev)
        .sets_transport()
        .needs(needs::edu),
    ours!(setting_and_resetting_do_not_wait_for_each_other).sets_transport(),
    says("It can be set while somebody sleeps."),
    ours!(a_reader_that_sleeps_gets_what_comes_by_another_transport).sets_transport(),
    says("Bytes arrive whole and in order."),
    ours!(megabytes_arrive_by_each_transport)
        .sets_transport()
        .needs(needs::edu)
        .deadline_secs(60),
    ours!(pages_arrive_by_dma)
        .sets_transport()
        .needs(needs::edu)
        .deadline_secs(30),
    ours!(a_write_returns_when_its_bytes_have_arrived)
        .sets_transport()
        .needs(needs::edu),
];

/// Nobody waits for this.
const NEVER: Duration = Duration::from_secs(60);

/// They take the same locks, and once did so in another order.
fn setting_and_resetting_do_not_wait_for_each_other(q: &Queue) {
    const ROUNDS: usize = 3000;
    let (_reader, writer) = q.pair();
    let end = writer.clone();
    let part = Actor::start("resetter", move || {
        for _ in 0..amount(ROUNDS) {
            kpipe_abi::reset_counters(&end).expect("reset");
        }
    });
    for _ in 0..amount(ROUNDS) {
        set(&writer, by(Carrier::Timer, BottomHalf::Bh));
    }
    part.join();
}

fn a_queue_is_direct_unless_told(q: &Queue) {
    let (_reader, writer) = q.pair();
    let wanted = Transport {
        size: size_of::<Transport>() as u32,
        transport: uapi::TRANSPORT_DIRECT,
        bottom_half: uapi::BOTTOM_HALF_BH,
        flags: 0,
        tick_ns: uapi::DEFAULT_TICK_NS,
        bytes_per_tick: uapi::DEFAULT_BYTES_PER_TICK,
        reserved: 0,
    };
    expect("transport", writer.transport(), wanted);
    kpipe_abi::reset_counters(&writer).expect("reset");
    writer.write_all(b"x");
    expect(
        "interrupts, transfers",
        writer.interrupts_and_transfers(),
        (0, 0),
    );
}

fn what_was_set_is_what_is_got(q: &Queue) {
    let (reader, writer) = q.pair();
    let mut all = each_of(&[Carrier::Direct, Carrier::Timer]);
    if needs::edu().is_ok() {
        all.extend(each_of(&[Carrier::Doorbell, Carrier::Dma]));
    }
    for transport in all {
        for wanted in [transport, posted(transport)] {
            let wanted = Transport {
                size: size_of::<Transport>() as u32,
                tick_ns: 12_345,
                bytes_per_tick: 17,
                ..wanted
            };
            set(&writer, wanted);
            expect(&name(&wanted), reader.transport(), wanted);
        }
    }
}

fn zero_stands_for_the_modules_tick(q: &Queue) {
    let (_reader, writer) = q.pair();
    set(&writer, slow(NEVER));
    let zero = Transport {
        tick_ns: 0,
        bytes_per_tick: 0,
        ..slow(NEVER)
    };
    set(&writer, zero);
    let got = writer.transport();
    let wanted = (uapi::DEFAULT_TICK_NS, uapi::DEFAULT_BYTES_PER_TICK);
    expect("tick", (got.tick_ns, got.bytes_per_tick), wanted);
}

fn the_transport_survives_the_last_close(q: &Queue) {
    let wanted = by(Carrier::Timer, BottomHalf::Work);
    let (reader, writer) = pair(q, wanted);
    drop((reader, writer));
    let (reader, writer) = q.pair();
    kpipe_abi::reset_counters(&writer).expect("reset");
    expect(
        "after it",
        writer.transport().transport,
        uapi::TRANSPORT_TIMER,
    );
    writer.write_all(b"x");
    expect("read", reader.read(9), Ok(b"x".to_vec()));
    expect(
        "interrupts, transfers",
        writer.interrupts_and_transfers(),
        (1, 1),
    );
}

fn queues_get_the_transport_of_the_parameter() {
    unload().expect("rmmod");
    load("transport=1 bottom_half=2 posted=1 tick_ns=777 bytes_per_tick=55").expect("insmod");
    let (_reader, writer) = Queue::new(Subject::Device).pair();
    let wanted = Transport {
        size: size_of::<Transport>() as u32,
        tick_ns: 777,
        bytes_per_tick: 55,
        ..posted(by(Carrier::Timer, BottomHalf::Work))
    };
    expect("of the device", writer.transport(), wanted);
    let (_reader, writer) = Queue::new(Subject::Pair).pair();
    expect("of a private queue", writer.transport(), wanted);
}

fn a_transport_that_does_not_exist_is_refused() {
    unload().expect("rmmod");
    for parameters in [
        "transport=4",
        "bottom_half=4",
        "posted=2",
        "tick_ns=0",
        "tick_ns=60000000001",
        "bytes_per_tick=0",
        "transport=1 bottom_half=3",
    ] {
        let loaded = load(parameters);
        assert!(loaded.is_err(), "insmod {parameters}: {loaded:?}");
        expect("left behind", traces(), vec![]);
    }
}

/// Tries to set what cannot be, and looks at what is set then.
#[track_caller]
fn expect_refused(end: &End, transport: Transport, errno: Errno) {
    let before = end.transport();
    let what = format!("{transport:?}");
    expect(&what, end.set_transport(transport), Err(errno));
    expect(&format!("after {what}"), end.transport(), before);
}

fn a_bad_field_is_einval(q: &Queue) {
    let (_reader, writer) = q.pair();
    let good = by(Carrier::Timer, BottomHalf::Bh);
    for bad in [
        Transport {
            transport: 4,
            ..good
        },
        Transport {
            transport: u32::MAX,
            ..good
        },
        Transport {
            bottom_half: 4,
            ..good
        },
        Transport { flags: 4, ..good },
        Transport {
            flags: 1 << 31,
            ..good
        },
        Transport {
            tick_ns: uapi::MAX_TICK_NS + 1,
            ..good
        },
        Transport {
            tick_ns: u64::MAX,
            ..good
        },
        Transport {
            reserved: 1,
            ..good
        },
    ] {
        expect_refused(&writer, bad, Errno::EINVAL);
    }
    for size in [0, 31, 33, u32::MAX] {
        let mut bad = Transport { size, ..good };
        for request in [uapi::IOC_SET_TRANSPORT, uapi::IOC_GET_TRANSPORT] {
            let what = format!("size {size} to {request:#x}");
            let refused = raw::transport(writer.as_fd(), request, &mut bad);
            expect(&what, refused, Err(Errno::EINVAL));
        }
    }
}

fn a_timer_has_no_thread(q: &Queue) {
    let (_reader, writer) = q.pair();
    let thread = by(Carrier::Timer, BottomHalf::Thread);
    expect_refused(&writer, thread, Errno::EOPNOTSUPP);
}

fn a_read_only_end_may_not_set(q: &Queue) {
    let (reader, _writer) = q.pair();
    let timer = by(Carrier::Timer, BottomHalf::Bh);
    expect_refused(&reader, timer, Errno::EBADF);
    let observer = observe(q.path()).expect("open for ioctl only");
    set(&observer, timer);
    expect(
        "as seen by the reader",
        reader.transport().transport,
        uapi::TRANSPORT_TIMER,
    );
}

fn queued_bytes_are_ebusy(q: &Queue) {
    let (reader, writer) = q.pair();
    let timer = by(Carrier::Timer, BottomHalf::Bh);
    let direct = by(Carrier::Direct, BottomHalf::Bh);
    for (from, to) in [(direct, timer), (timer, timer), (timer, direct)] {
        set(&writer, from);
        writer.write_all(b"xy");
        expect_refused(&writer, to, Errno::EBUSY);
        expect("read", reader.read(1), Ok(b"x".to_vec()));
        expect_refused(&writer, to, Errno::EBUSY);
        expect("read", reader.read(1), Ok(b"y".to_vec()));
        set(&writer, to);
    }
}

fn an_ordinary_user_may_not_order_a_storm_of_interrupts(q: &Queue) {
    use uapi::{UNPRIVILEGED_BYTES_PER_TICK as LEAST_BYTES, UNPRIVILEGED_TICK_NS as SHORTEST_NS};
    let timer = Transport {
        tick_ns: SHORTEST_NS,
        bytes_per_tick: LEAST_BYTES,
        ..by(Carrier::Timer, BottomHalf::Bh)
    };
    let limited = Transport {
        flags: uapi::TRANSPORT_LIMITED,
        bytes_per_tick: LEAST_BYTES,
        ..by(Carrier::Doorbell, BottomHalf::Work)
    };
    let shorter = |transport| Transport {
        tick_ns: SHORTEST_NS - 1,
        ..transport
    };
    let smaller = |transport| Transport {
        bytes_per_tick: LEAST_BYTES - 1,
        ..transport
    };
    let (_reader, writer) = q.pair();
    // A device that is not there is another matter.
    let may_be = |answer| matches!(answer, Ok(()) | Err(Errno::ENODEV));
    let start = |part: &dyn Fn()| {
        Process::start("ordinary user", || {
            become_ordinary_user();
            part();
        })
        .wait_success();
    };
    start(&|| {
        let halves = [BottomHalf::Hard, BottomHalf::Thread];
        let carriers = [Carrier::Doorbell, Carrier::Dma];
        let mut refused: Vec<_> = { halves.iter() }
            .flat_map(|half| carriers.map(|carrier| by(carrier, *half)))
            .collect();
        refused.push(by(Carrier::Timer, BottomHalf::Hard));
        refused.extend([shorter(timer), smaller(timer), smaller(limited)]);
        for transport in refused {
            expect_refused(&writer, transport, Errno::EPERM);
        }
        // Where it means nothing it harms nobody.
        let unlimited = smaller(shorter(by(Carrier::Doorbell, BottomHalf::Bh)));
        let direct = smaller(shorter(by(Carrier::Direct, BottomHalf::Hard)));
        for transport in [timer, shorter(limited), unlimited, direct] {
            let answer = writer.set_transport(transport);
            assert!(may_be(answer), "{}: {answer:?}", name(&transport));
        }
    });
    let roots = by(Carrier::Timer, BottomHalf::Hard);
    set(&writer, roots);
    start(&|| {
        set(&writer, writer.transport());
        set(&writer, timer);
        expect_refused(&writer, roots, Errno::EPERM);
    });
}

fn bytes_on_their_way_are_ebusy(q: &Queue) {
    let (_reader, writer) = pair(q, slow(NEVER));
    writer.write_all(b"x");
    expect_refused(&writer, by(Carrier::Direct, BottomHalf::Bh), Errno::EBUSY);
}

fn without_a_device_it_is_enodev(q: &Queue) {
    let (reader, writer) = q.pair();
    edu::unbind_all();
    for transport in each_of(&[Carrier::Doorbell, Carrier::Dma]) {
        expect_refused(&writer, transport, Errno::ENODEV);
    }
    set(&writer, by(Carrier::Timer, BottomHalf::Bh));
    writer.write_all(b"x");
    expect("read", reader.read(9), Ok(b"x".to_vec()));
    edu::bind_all();
    set(&writer, by(Carrier::Doorbell, BottomHalf::Bh));
    writer.write_all(b"y");
    expect("read", reader.read(9), Ok(b"y".to_vec()));
}

fn a_reader_that_sleeps_gets_what_comes_by_another_transport(q: &Queue) {
    let (reader, writer) = q.pair();
    kpipe_abi::reset_counters(&writer).expect("reset");
    let part = Actor::asleep_in(Call::Read, "reader", move || reader.read(9));
    set(&writer, by(Carrier::Timer, BottomHalf::Work));
    writer.write_all(b"x");
    expect("read", part.join(), Ok(b"x".to_vec()));
    expect(
        "interrupts, transfers",
        writer.interrupts_and_transfers(),
        (1, 1),
    );
}

fn megabytes_arrive_by_each_transport(q: &Queue) {
    for transport in fast() {
        let (reader, writer) = pair(q, transport);
        transfer(&name(&transport), &reader, writer, amount(2 << 20));
    }
}

fn pages_arrive_by_dma(q: &Queue) {
    for transport in each_of(&[Carrier::Dma]) {
        let (reader, writer) = pair(q, transport);
        transfer(&name(&transport), &reader, writer, 3 * 4096 + 5);
    }
}

fn a_write_returns_when_its_bytes_have_arrived(q: &Queue) {
    for transport in fast() {
        let (reader, writer) = pair(q, transport);
        let reader = reader.nonblocking();
        for len in [1, 4096, 10_000] {
            let data = pattern(len);
            writer.write_all(&data);
            let what = name(&transport);
            expect(&format!("{what}: queued"), reader.queued(), len);
            expect_bytes(&what, &reader.read(len).expect("read"), &data);
        }
        // Not waiting is about room and partners, not about the device.
        writer.set_mode(Mode::Nonblocking);
        writer.write_all(b"x");
        expect("queued", reader.queued(), 1);
    }
}

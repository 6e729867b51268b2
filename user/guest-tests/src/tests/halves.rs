// SPDX-License-Identifier: MIT

//! Interrupts and what is done for them, in each of the places that the kernel has for it: they are
//! counted, they stop when there is no room, and what they coalesce into is not lost.

use std::time::Duration;

use kpipe::{BottomHalf, Carrier};
use kpipe_abi::uapi::Transport;
use nix::fcntl::{splice, SpliceFFlags};

use crate::harness::amount;
use crate::tools::actor::wait_until;
use crate::tools::carry::{by, each_of, fast, name, pair, posted, receive, send, set, transfer};
use crate::tools::edu::{self, interrupts, lines};
use crate::tools::module::{load, unload};
use crate::tools::needs;
use crate::tools::prelude::*;
use crate::tools::registers::Registers;
use crate::tools::schedule::{on_processor, processors, undisturbed};

/// The table.
pub const TESTS: &[Test] = &[
    section("Interrupts", "it has none"),
    says("Each transfer of the device is an interrupt in /proc/interrupts, by DMA two."),
    ours!(a_direct_queue_has_no_interrupts)
        .sets_transport()
        .needs(needs::edu),
    ours!(each_transfer_is_an_interrupt_of_the_device)
        .sets_transport()
        .needs(needs::edu),
    ours!(a_page_by_dma_takes_two_interrupts)
        .sets_transport()
        .needs(needs::edu)
        .deadline_secs(20),
    ours!(each_tick_carries_as_many_bytes_as_it_may).sets_transport(),
    says("A full queue stops the device and not the machine; room starts it again."),
    ours!(a_full_queue_stops_the_interrupts)
        .sets_transport()
        .needs(needs::edu),
    says("Causes coalesce, and nothing is lost."),
    ours!(posted_writes_share_ticks).sets_transport(),
    ours!(posted_writes_that_outrun_the_device_share_interrupts)
        .sets_transport()
        .needs(needs::edu),
    ours!(two_queues_at_once_lose_nothing)
        .sets_transport()
        .needs(needs::edu)
        .deadline_secs(60),
    ours!(two_bottom_halves_at_once_lose_nothing)
        .sets_transport()
        .needs(needs::edu)
        .deadline_secs(60),
    says("MSI gives each device an interrupt of its own; without it they share a line."),
    plain!(with_msi_each_device_has_its_own)
        .sets_transport()
        .needs(needs::edu),
    plain!(without_msi_the_devices_share_a_line)
        .sets_transport()
        .needs(needs::edu),
    plain!(bytes_arrive_by_the_shared_line)
        .sets_transport()
        .needs(needs::edu)
        .deadline_secs(60),
    plain!(an_interrupt_of_another_device_is_not_ours)
        .sets_transport()
        .needs(needs::edu_and_two_processors),
    says("Each wakeup of a reader by an arrival is measured, also if the writer leaves before it runs."),
    ours!(each_wakeup_is_measured).sets_transport(),
    ours!(the_wakeup_of_a_splice_is_measured).sets_transport(),
];

/// `echo`: a reader that sleeps is woken by an arrival, and then by the close, before it runs. How often `read` was
/// woken by arrivals, as the last two stages have it.
fn wakeups_measured(q: &Queue, call: Call, read: fn(&End)) -> (u64, u64) {
    let (reader, writer) = pair(q, by(Carrier::Timer, BottomHalf::Bh));
    kpipe_abi::reset_counters(&writer).expect("reset");
    let end = reader.clone();
    let part = Actor::asleep_in(call, "reader", move || read(&end));
    writer.write_all(b"hello");
    drop(writer);
    part.join();
    let [.., wakeup, awake] = kpipe_abi::stages(&reader).expect("KPIPE_IOC_STAGES").stages;
    (wakeup.count, awake.count)
}

fn each_wakeup_is_measured(q: &Queue) {
    for _ in 0..amount(40) {
        let read = |end: &End| expect("read", end.read(9), Ok(b"hello".to_vec()));
        expect(
            "wakeup, awake",
            wakeups_measured(q, Call::Read, read),
            (1, 1),
        );
    }
}

fn the_wakeup_of_a_splice_is_measured(q: &Queue) {
    let splice = |end: &End| {
        let (_kept, to) = nix::unistd::pipe().expect("pipe");
        let moved = splice(end, None, to, None, 9, SpliceFFlags::empty());
        expect("splice", moved, Ok(5));
    };
    expect(
        "wakeup, awake",
        wakeups_measured(q, Call::Splice, splice),
        (1, 1),
    );
}

fn doorbells() -> Vec<Transport> {
    each_of(&[Carrier::Doorbell])
}

fn a_direct_queue_has_no_interrupts(q: &Queue) {
    let (reader, writer) = q.pair();
    let before = interrupts();
    for _ in 0..100 {
        writer.write_all(b"x");
        reader.read_all(1);
    }
    expect("interrupts", interrupts() - before, 0);
}

fn each_transfer_is_an_interrupt_of_the_device(q: &Queue) {
    const WRITES: u64 = 100;
    for transport in doorbells() {
        let (reader, writer) = pair(q, transport);
        let (before, of_queue) = (interrupts(), writer.interrupts_and_transfers());
        for _ in 0..WRITES {
            writer.write_all(&pattern(100));
            reader.read_all(100);
        }
        let what = name(&transport);
        let (now, of_queue_now) = (interrupts(), writer.interrupts_and_transfers());
        let of_queue = (of_queue_now.0 - of_queue.0, of_queue_now.1 - of_queue.1);
        expect(&format!("{what}: of the queue"), of_queue, (WRITES, WRITES));
        expect(&format!("{what}: of the device"), now - before, WRITES);
    }
}

fn a_page_by_dma_takes_two_interrupts(q: &Queue) {
    for transport in each_of(&[Carrier::Dma]) {
        let (reader, writer) = pair(q, transport);
        let before = interrupts();
        let data = pattern(4096 + 100);
        writer.write_all(&data);
        let what = name(&transport);
        expect_bytes(&what, &reader.read_all(data.len()), &data);
        expect(&format!("{what}: interrupts"), interrupts() - before, 4);
    }
}

fn each_tick_carries_as_many_bytes_as_it_may(q: &Queue) {
    let transport = Transport {
        bytes_per_tick: 16,
        ..by(Carrier::Timer, BottomHalf::Hard)
    };
    let (reader, writer) = pair(q, transport);
    let before = writer.interrupts_and_transfers().0;
    let data = pattern(1000);
    writer.write_all(&data);
    let ticks = writer.interrupts_and_transfers().0 - before;
    expect("ticks for 1000 bytes", ticks, 1000_u64.div_ceil(16));
    expect_bytes("read", &reader.read_all(1000), &data);
    // And none while there is nothing to carry.
    keep_busy();
    let later = writer.interrupts_and_transfers().0 - before;
    expect("ticks of an idle queue", later, ticks);
}

/// Does something else that takes its time: a MiB through a pipe of the kernel.
fn keep_busy() {
    let (reader, writer) = Queue::new(Subject::Pipe).pair();
    for _ in 0..256 {
        writer.write_all(&[1; 4096]);
        expect("bytes of another pipe", reader.read_all(4096).len(), 4096);
    }
}

fn a_full_queue_stops_the_interrupts(q: &Queue) {
    const CAPACITY: usize = 4096;
    const TOTAL: usize = 50_000;
    for transport in fast() {
        let what = name(&transport);
        let (reader, writer) = q.pair_of(CAPACITY);
        set(&writer, transport);
        let observed = reader.clone();
        let part = Actor::start("writer", move || send(&writer, TOTAL));
        wait_until(&format!("{what}: full"), || observed.queued() == CAPACITY);
        part.wait_asleep_in(Call::Write);
        let (before, of_queue) = (interrupts(), observed.interrupts_and_transfers());
        let sleeps = part.sleeps();
        keep_busy();
        part.expect_not_woken_since(sleeps, Call::Write);
        let of_device = interrupts() - before;
        expect(&format!("{what}: of the device while full"), of_device, 0);
        let now = observed.interrupts_and_transfers();
        expect(&format!("{what}: of the queue while full"), now, of_queue);
        expect(&what, observed.queued(), CAPACITY);
        drop(observed);
        expect(&format!("{what}: received"), receive(&what, &reader), TOTAL);
        part.join();
    }
}

fn posted_writes_share_ticks(q: &Queue) {
    const WRITES: u64 = 1000;
    for half in [BottomHalf::Hard, BottomHalf::Bh, BottomHalf::Work] {
        let transport = Transport {
            tick_ns: Duration::from_millis(5).as_nanos() as u64,
            ..posted(by(Carrier::Timer, half))
        };
        let (reader, writer) = pair(q, transport);
        let before = writer.interrupts_and_transfers();
        let data = pattern(WRITES as usize * 4);
        data.chunks(4).for_each(|part| writer.write_all(part));
        let what = name(&transport);
        expect_bytes(&what, &reader.read_all(data.len()), &data);
        let ticks = writer.interrupts_and_transfers().0 - before.0;
        assert!(ticks < WRITES, "{what}: {ticks} ticks for {WRITES} writes");
    }
}

/// The bottom half has to wait for the writer here, and so do the interrupts.
fn posted_writes_that_outrun_the_device_share_interrupts(q: &Queue) {
    const WRITES: u64 = 2000;
    let transport = posted(by(Carrier::Doorbell, BottomHalf::Work));
    let (reader, writer) = pair(q, transport);
    let processor = processors()[0];
    let lines = lines();
    let move_to =
        |place: &str| -> Vec<_> { lines.iter().map(|line| line.move_to(place)).collect() };
    let places = move_to(&processor.to_string());
    // The first interrupt after that may still go to the old place.
    writer.write_all(b"x");
    reader.read_all(1);
    let before = interrupts();
    let data = pattern(WRITES as usize * 4);
    on_processor(processor, || {
        undisturbed(|| data.chunks(4).for_each(|part| writer.write_all(part)));
    });
    expect_bytes("read", &reader.read_all(data.len()), &data);
    let count = interrupts() - before;
    for (line, place) in lines.iter().zip(places) {
        line.move_to(place.trim());
    }
    assert!(
        count <= WRITES / 10,
        "{count} interrupts for {WRITES} writes that nothing disturbed"
    );
}

/// Data through several queues at once, and every byte of each is looked at.
fn at_once(queues: Vec<(Queue, Transport)>, total: usize) {
    let mut parts = vec![];
    for (q, transport) in queues {
        let (reader, writer) = pair(&q, transport);
        let what = name(&transport);
        parts.push(Actor::start("sender", move || {
            send(&writer, total);
            total
        }));
        parts.push(Actor::start("receiver", move || receive(&what, &reader)));
    }
    for part in parts {
        expect("bytes", part.join_within(Duration::from_secs(30)), total);
    }
}

fn two_queues_at_once_lose_nothing(q: &Queue) {
    for transport in doorbells() {
        for transport in [transport, posted(transport)] {
            let queues = vec![(q.clone(), transport), (q.another(), transport)];
            at_once(queues, amount(1 << 20));
        }
    }
}

fn two_bottom_halves_at_once_lose_nothing(q: &Queue) {
    let all = doorbells();
    for (n, &transport) in all.iter().enumerate() {
        let other = posted(all[(n + 1) % all.len()]);
        let queues = vec![(q.clone(), transport), (q.another(), other)];
        at_once(queues, amount(1 << 20));
    }
}

/// Loads the module anew.
#[track_caller]
fn reload(parameters: &str) {
    unload().expect("rmmod");
    load(parameters).unwrap_or_else(|e| panic!("insmod {parameters}: {e}"));
}

fn with_msi_each_device_has_its_own() {
    reload("");
    let lines = lines();
    expect("lines", lines.len(), edu::slots().len());
    for line in lines {
        expect(
            &format!("{line:?}"),
            (line.devices, line.is_intx),
            (1, false),
        );
    }
}

fn without_msi_the_devices_share_a_line() {
    reload("msi=0");
    let lines = lines();
    let seen: Vec<_> = lines
        .iter()
        .map(|line| (line.devices, line.is_intx))
        .collect();
    expect(
        "devices of each line",
        seen,
        vec![(edu::slots().len(), true)],
    );
}

fn bytes_arrive_by_the_shared_line() {
    reload("msi=0");
    for transport in doorbells() {
        let (reader, writer) = pair(&Queue::new(Subject::Device), transport);
        let before = interrupts();
        transfer(&name(&transport), &reader, writer, amount(1 << 20));
        assert!(interrupts() > before, "{}: no interrupts", name(&transport));
    }
}

fn an_interrupt_of_another_device_is_not_ours() {
    const PULSES: usize = 10;
    reload("msi=0");
    let slots = edu::slots();
    let foreign = slots.last().expect("two devices");
    edu::unbind(foreign);
    let registers = Registers::map(foreign).unwrap_or_else(|e| panic!("{foreign}: {e}"));
    let (reader, writer) = Queue::new(Subject::Device).pair();
    set(&writer, by(Carrier::Doorbell, BottomHalf::Bh));
    let line = lines().first().cloned().expect("a line");
    expect("devices of the line", line.devices, 1);

    // The line stays raised until it is acknowledged, by a processor that it does not interrupt.
    let [first, second] = processors()[..] else {
        unreachable!("this needs two processors")
    };
    line.move_to(&first.to_string());
    on_processor(second, || {
        for n in 0..PULSES {
            let unhandled = line.unhandled();
            registers.pulse();
            // Noted after the handlers have answered; nobody took it for theirs.
            wait_until(&format!("pulse {n} is unhandled"), || {
                line.unhandled() != unhandled
            });
            writer.write_all(b"x");
            expect("read", reader.read(9), Ok(b"x".to_vec()));
        }
    });
    expect(
        "transfers",
        writer.interrupts_and_transfers(),
        (PULSES as u64, PULSES as u64),
    );
}

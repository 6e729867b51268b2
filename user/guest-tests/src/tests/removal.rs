// SPDX-License-Identifier: MIT

//! The device goes while queues use it: by unbinding its driver, or out of the machine. Who sleeps is woken
//! and told, nothing is freed under anyone, and when it is back all goes on.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

use kpipe::{BottomHalf, Carrier};
use kpipe_abi::uapi::Transport;
use nix::poll::PollFlags;

use crate::harness::{amount, amount_of_heavy};
use crate::tools::actor::wait_until;
use crate::tools::carry::{by, each_of, name, pair, posted, set, transfer};
use crate::tools::edu::{bind_all, unbind_all, Way};
use crate::tools::memory::{Mapping, Page, PAGE_BYTES};
use crate::tools::module::unload;
use crate::tools::page_fault::Trap;
use crate::tools::prelude::*;
use crate::tools::signals::SigpipeWatch;
use crate::tools::subject::observe;
use crate::tools::{needs, raw};

/// The table.
pub const TESTS: &[Test] = &[
    section("Devices that go away", "it has none"),
    says("Who sleeps wakes with ENODEV, whatever takes the device away."),
    ours!(a_reader_that_sleeps_gets_enodev)
        .sets_transport()
        .deadline_secs(30)
        .needs(needs::edu_and_monitor),
    ours!(a_writer_that_sleeps_gets_enodev_and_no_signal)
        .sets_transport()
        .needs(needs::edu_and_monitor),
    ours!(a_poller_that_sleeps_sees_a_hangup_and_an_error)
        .sets_transport()
        .needs(needs::edu_and_monitor),
    ours!(an_observer_that_polls_hears_of_it)
        .sets_transport()
        .needs(needs::edu),
    device!(an_opener_that_sleeps_gets_enodev)
        .sets_transport()
        .needs(needs::edu_and_monitor),
    ours!(a_drainer_that_sleeps_gets_enodev)
        .sets_transport()
        .needs(needs::edu_and_monitor),
    ours!(a_write_whose_bytes_are_on_their_way_gets_enodev)
        .sets_transport()
        .needs(needs::edu_and_monitor),
    says("What had arrived can be read; everything else is ENODEV until the last close."),
    ours!(what_had_arrived_can_be_read)
        .sets_transport()
        .needs(needs::edu_and_monitor),
    ours!(later_calls_are_enodev)
        .sets_transport()
        .needs(needs::edu_and_monitor),
    ours!(a_write_that_is_refused_is_not_counted)
        .sets_transport()
        .needs(needs::edu),
    device!(a_device_that_comes_back_serves_after_the_last_close)
        .sets_transport()
        .needs(needs::edu_and_monitor),
    ours!(a_direct_queue_does_not_notice)
        .sets_transport()
        .needs(needs::edu_and_monitor),
    says("Nobody can hold up the removal, nor what the other queues hear of it."),
    ours!(a_queue_whose_lock_is_held_holds_up_nobody)
        .sets_transport()
        .needs(needs::edu_and_userfaultfd),
    says("As often as one likes, with data on its way."),
    device!(transfers_go_on_after_each_way_and_bottom_half)
        .sets_transport()
        .needs(needs::edu_and_monitor)
        .deadline_secs(60),
    device!(a_thousand_unbinds_under_load_harm_nothing)
        .sets_transport()
        .needs(needs::edu)
        .deadline_secs(900),
    says("rmmod is refused while a queue with a device is open, and harms nothing."),
    ours!(rmmod_is_refused_while_the_device_is_used)
        .sets_transport()
        .needs(needs::edu),
];

/// All of them, but on a kernel where each removal takes seconds the first.
fn some_of(carriers: &[Carrier]) -> Vec<Transport> {
    let mut all = each_of(carriers);
    all.truncate(amount(all.len()));
    all
}

/// Runs the test for each way in which the devices can go, and gives them back after it. On a kernel where pulling
/// them out takes most of a minute only for the first one; `transfers_go_on_after_each_way_...` has both there too.
fn each_way(test: impl Fn(Way)) {
    for way in Way::ALL.into_iter().take(amount(Way::ALL.len())) {
        test(way);
        way.give_all_back();
    }
}

fn a_reader_that_sleeps_gets_enodev(q: &Queue) {
    each_way(|way| {
        for transport in some_of(&[Carrier::Doorbell, Carrier::Dma]) {
            let (reader, writer) = pair(q, transport);
            let part = Actor::asleep_in(Call::Read, "reader", move || reader.read(9));
            way.take_all();
            let what = format!("{way:?}, {}: read", name(&transport));
            expect(&what, part.join(), Err(Errno::ENODEV));
            drop(writer);
            way.give_all_back();
        }
    });
}

fn a_writer_that_sleeps_gets_enodev_and_no_signal(q: &Queue) {
    each_way(|way| {
        let (_reader, writer) = pair(q, by(Carrier::Doorbell, BottomHalf::Work));
        writer.fill();
        let part = Actor::asleep_in(Call::Write, "writer", move || {
            let sigpipe = SigpipeWatch::start();
            (writer.write(&pattern(10_000)), sigpipe.has_come())
        });
        way.take_all();
        let what = format!("{way:?}: write, SIGPIPE");
        expect(&what, part.join(), (Err(Errno::ENODEV), false));
    });
}

fn a_poller_that_sleeps_sees_a_hangup_and_an_error(q: &Queue) {
    each_way(|way| {
        let (reader, _writer) = pair(q, by(Carrier::Doorbell, BottomHalf::Bh));
        let part = Actor::asleep_in(Call::Poll, "poller", move || {
            reader.wait_for(PollFlags::POLLIN)
        });
        way.take_all();
        let wanted = PollFlags::POLLHUP | PollFlags::POLLERR;
        let seen = part.join();
        assert!(seen.contains(wanted), "{way:?}: poll: {seen:?}");
    });
}

fn an_observer_that_polls_hears_of_it(q: &Queue) {
    let (_reader, _writer) = pair(q, by(Carrier::Doorbell, BottomHalf::Bh));
    let observer = observe(q.path()).expect("open for ioctl only");
    let part = Actor::asleep_in(Call::Poll, "observer", move || {
        observer.wait_for(PollFlags::empty())
    });
    unbind_all();
    expect("poll", part.join(), PollFlags::POLLHUP | PollFlags::POLLERR);
    bind_all();
}

fn an_opener_that_sleeps_gets_enodev(q: &Queue) {
    let observer = observe(q.path()).expect("open for ioctl only");
    set(&observer, by(Carrier::Doorbell, BottomHalf::Bh));
    drop(observer);
    each_way(|way| {
        for flags in [OFlag::O_RDONLY, OFlag::O_WRONLY] {
            let q = q.clone();
            let part = Actor::asleep_in(Call::Open, "opener", move || q.open(flags).map(drop));
            way.take_all();
            let what = format!("{way:?}: open with {flags:?}");
            expect(&what, part.join(), Err(Errno::ENODEV));
            way.give_all_back();
        }
    });
}

fn a_drainer_that_sleeps_gets_enodev(q: &Queue) {
    each_way(|way| {
        // By DMA the bytes take their time.
        let (_reader, writer) = pair(q, posted(by(Carrier::Dma, BottomHalf::Bh)));
        writer.write_all(&pattern(60_000));
        let part = Actor::asleep_in(Call::Ioctl, "drainer", move || writer.drain());
        way.take_all();
        expect(&format!("{way:?}: drain"), part.join(), Err(Errno::ENODEV));
    });
}

fn a_write_whose_bytes_are_on_their_way_gets_enodev(q: &Queue) {
    each_way(|way| {
        let (_reader, writer) = pair(q, by(Carrier::Dma, BottomHalf::Thread));
        let part = Actor::asleep_in(Call::Write, "writer", move || {
            writer.write(&pattern(60_000))
        });
        way.take_all();
        expect(&format!("{way:?}: write"), part.join(), Err(Errno::ENODEV));
    });
}

fn what_had_arrived_can_be_read(q: &Queue) {
    each_way(|way| {
        let (reader, writer) = pair(q, by(Carrier::Doorbell, BottomHalf::Thread));
        writer.write_all(b"hello");
        writer.drain().expect("drain");
        way.take_all();
        let what = format!("{way:?}: read");
        expect(&what, reader.read(2), Ok(b"he".to_vec()));
        expect(&what, reader.read(9), Ok(b"llo".to_vec()));
        expect(&what, reader.read(9), Err(Errno::ENODEV));
        writer.close();
        expect(
            &format!("{what} without a writer"),
            reader.read(9),
            Err(Errno::ENODEV),
        );
    });
}

fn later_calls_are_enodev(q: &Queue) {
    each_way(|way| {
        let (reader, writer) = pair(q, by(Carrier::Doorbell, BottomHalf::Hard));
        way.take_all();
        for mode in [Mode::Blocking, Mode::Nonblocking] {
            reader.set_mode(mode);
            writer.set_mode(mode);
            let what = format!("{way:?}, {mode:?}");
            expect(&format!("{what}: read"), reader.read(9), Err(Errno::ENODEV));
            let sigpipe = SigpipeWatch::start();
            let written = writer.write(b"x");
            expect(&format!("{what}: write"), written, Err(Errno::ENODEV));
            expect(&format!("{what}: SIGPIPE"), sigpipe.has_come(), false);
        }
        for flags in [OFlag::O_RDONLY, OFlag::O_WRONLY, OFlag::O_RDWR] {
            let what = format!("{way:?}: open with {flags:?}");
            let opened = q.open(flags | OFlag::O_NONBLOCK).map(drop);
            expect(&what, opened, Err(Errno::ENODEV));
        }
        let wanted = PollFlags::POLLHUP | PollFlags::POLLERR;
        for end in [&reader, &writer] {
            let seen = end.readiness();
            assert!(seen.contains(wanted), "{way:?}: poll: {seen:?}");
        }
        // Nothing is on its way.
        let _ = writer.drain();
        // Coming back does not help those who have it open.
        way.give_all_back();
        let what = format!("{way:?}: later");
        expect(&what, reader.read(9), Err(Errno::ENODEV));
        // Nor does it become a broken pipe when the readers leave because of it.
        reader.close();
        let sigpipe = SigpipeWatch::start();
        expect(&what, writer.write(b"x"), Err(Errno::ENODEV));
        expect(&format!("{what}: SIGPIPE"), sigpipe.has_come(), false);
    });
}

fn a_write_that_is_refused_is_not_counted(q: &Queue) {
    let (reader, writer) = pair(q, by(Carrier::Doorbell, BottomHalf::Bh));
    writer.write_all(b"x");
    expect("read", reader.read(9), Ok(b"x".to_vec()));
    unbind_all();
    expect("read", reader.read(9), Err(Errno::ENODEV));
    let work = || (writer.info().write, writer.interrupts_and_transfers());
    let before = work();
    for len in [1, 10_000] {
        let refused = writer.write(&pattern(len));
        expect("write", refused, Err(Errno::ENODEV));
    }
    expect("counters", work(), before);
    bind_all();
}

fn a_device_that_comes_back_serves_after_the_last_close(q: &Queue) {
    each_way(|way| {
        let (reader, writer) = pair(q, by(Carrier::Doorbell, BottomHalf::Work));
        writer.write_all(b"old");
        way.take_all();
        way.give_all_back();
        drop((reader, writer));
        let (reader, writer) = q.pair();
        let wanted = Carrier::Doorbell.number();
        expect("transport", writer.transport().transport, wanted);
        writer.write_all(b"new");
        expect(
            &format!("{way:?}: read"),
            reader.read(9),
            Ok(b"new".to_vec()),
        );
    });
}

fn a_direct_queue_does_not_notice(q: &Queue) {
    each_way(|way| {
        let (reader, writer) = q.pair();
        writer.write_all(b"x");
        way.take_all();
        expect(&format!("{way:?}: read"), reader.read(9), Ok(b"x".to_vec()));
        writer.write_all(b"y");
        expect(&format!("{way:?}: read"), reader.read(9), Ok(b"y".to_vec()));
    });
}

/// A reader waits for a page of its buffer with the lock of its side, and a resize for that lock with the one of
/// the opens.
fn a_queue_whose_lock_is_held_holds_up_nobody(q: &Queue) {
    let (reader, writer) = pair(q, by(Carrier::Doorbell, BottomHalf::Bh));
    let (other_reader, _other_writer) = pair(&q.another(), by(Carrier::Doorbell, BottomHalf::Bh));
    writer.write_all(b"x");
    let memory = Mapping::of(&[Page::Open]);
    let mut trap = Trap::set(&memory, 0);
    let (end, span) = (reader.clone(), memory.all());
    let stuck = Actor::start("reader", move || raw::read(end.as_fd(), span));
    trap.wait_for_fault();
    // The queue hears of it when the resize is over. Until then its writer is there, or a read would see the end of file.
    let end = writer.clone();
    let resizer = Actor::start("resizer", move || end.resize(1 << 17));
    resizer.wait_stuck_in(Call::Ioctl);
    let other = Actor::asleep_in(Call::Read, "other reader", move || other_reader.read(9));
    Actor::start("unbinder", unbind_all).join();
    expect("read of the other", other.join(), Err(Errno::ENODEV));
    trap.release(&[0; PAGE_BYTES]);
    expect("read", stuck.join(), Ok(1));
    expect("resize", resizer.join(), Ok(1 << 17));
    expect("read again", reader.read(9), Err(Errno::ENODEV));
    bind_all();
}

fn transfers_go_on_after_each_way_and_bottom_half(q: &Queue) {
    for transport in some_of(&[Carrier::Doorbell]) {
        for way in Way::ALL {
            let (reader, writer) = pair(q, transport);
            let filler = writer.clone();
            writer.fill();
            way.take_all();
            drop((reader, writer, filler));
            way.give_all_back();
            let (reader, writer) = pair(q, transport);
            let what = format!("{way:?}, {}", name(&transport));
            transfer(&what, &reader, writer, amount(256 << 10));
        }
    }
}

/// One who opens the queue again and again and moves data until the device is gone. `moved` counts.
fn load(q: &Queue, flags: OFlag, is_over: &Arc<AtomicBool>, moved: &Arc<AtomicU64>) -> Actor<()> {
    let (q, is_over, moved) = (q.clone(), is_over.clone(), moved.clone());
    Actor::start("load", move || {
        while !is_over.load(Ordering::Relaxed) {
            // Never waits for its partner: that one may be done already.
            let end = match q.open(flags | OFlag::O_NONBLOCK) {
                Ok(end) => end,
                Err(Errno::ENODEV | Errno::ENXIO) => continue,
                Err(e) => panic!("open with {flags:?}: {e}"),
            };
            loop {
                let done = match flags {
                    OFlag::O_WRONLY => end.write(&[7; 3000]),
                    _ => end.read(5000).map(|part| part.len()),
                };
                match done {
                    Ok(0) => break,
                    Ok(len) => moved.fetch_add(len as u64, Ordering::Relaxed),
                    Err(Errno::EAGAIN) if !is_over.load(Ordering::Relaxed) => {
                        let events = PollFlags::POLLIN | PollFlags::POLLOUT;
                        end.wait_for(events);
                        continue;
                    }
                    Err(Errno::ENODEV | Errno::EPIPE | Errno::EAGAIN) => break,
                    Err(e) => panic!("load with {flags:?}: {e}"),
                };
            }
        }
    })
}

fn a_thousand_unbinds_under_load_harm_nothing(q: &Queue) {
    let transports = each_of(&[Carrier::Doorbell]);
    let rounds = amount_of_heavy(1000);
    for (n, transport) in transports.iter().enumerate() {
        let transport = if n % 2 == 0 {
            *transport
        } else {
            posted(*transport)
        };
        let observer = observe(q.path()).expect("open for ioctl only");
        wait_until("the queue is empty", || {
            observer.set_transport(transport) != Err(Errno::EBUSY)
        });
        expect(
            "transport",
            observer.transport().bottom_half,
            transport.bottom_half,
        );
        drop(observer);
        let is_over = Arc::new(AtomicBool::new(false));
        let moved = Arc::new(AtomicU64::new(0));
        let parts =
            [OFlag::O_RDONLY, OFlag::O_WRONLY].map(|flags| load(q, flags, &is_over, &moved));
        for round in 0..rounds.div_ceil(transports.len()) {
            let before = moved.load(Ordering::Relaxed);
            wait_until(
                &format!("{}: data in round {round}", name(&transport)),
                || moved.load(Ordering::Relaxed) > before,
            );
            unbind_all();
            bind_all();
        }
        is_over.store(true, Ordering::Relaxed);
        // Whoever waits for the other sees it go.
        unbind_all();
        for part in parts {
            part.join_within(Duration::from_secs(5));
        }
        bind_all();
    }
    let (reader, writer) = q.pair();
    transfer("at the end", &reader, writer, amount(256 << 10));
}

fn rmmod_is_refused_while_the_device_is_used(q: &Queue) {
    for transport in each_of(&[Carrier::Doorbell]) {
        let (reader, writer) = pair(q, posted(transport));
        writer.write_all(b"abc");
        expect("rmmod", unload(), Err(Errno::EWOULDBLOCK));
        let what = name(&transport);
        expect(&what, writer.drain(), Ok(()));
        expect(&what, reader.read(9), Ok(b"abc".to_vec()));
    }
}

// SPDX-License-Identifier: MIT

//! Wakeups in numbers: a hundred sleepers, and a hundred thousand races of a wakeup with a signal.
//! What each wakeup is for stands in `wakeups.rs`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kpipe::Carrier;
use kpipe_abi::uapi::PIPE_BUF_BYTES;

use crate::harness::{amount, patience};
use crate::tools::actor::wait_until;
use crate::tools::prelude::*;
use crate::tools::schedule::{on_one_processor, on_processor, processors, undisturbed};
use crate::tools::signals::{self, After, INTERRUPT};
use crate::tools::transport;

/// The table.
pub const TESTS: &[Test] = &[
    section("Wakeups in numbers", "it wakes by rules of its own"),
    says("With 100 blocked readers one write wakes exactly one."),
    each!(one_write_wakes_exactly_one_of_100_readers).deadline_secs(30),
    each!(one_read_wakes_exactly_one_of_100_writers).deadline_secs(30),
    each!(one_hundred_writes_wake_one_hundred_readers_once_each).deadline_secs(30),
    says("Closing an end wakes everyone."),
    each!(closing_the_write_end_wakes_100_readers).deadline_secs(30),
    each!(closing_the_read_end_wakes_100_writers).deadline_secs(30),
    says("A reader that is woken and signalled at once loses nothing."),
    each!(signalled_readers_lose_nothing).deadline_secs(60),
    each!(signalled_writers_lose_nothing).deadline_secs(60),
];

const HERD: usize = 100;

/// As many readers of one byte, all asleep.
fn readers(reader: &End) -> Vec<Actor<nix::Result<Vec<u8>>>> {
    herd(Call::Read, || {
        let end = reader.clone();
        move || end.read(1)
    })
}

/// As many writers of an atomic block, all asleep: the queue must be full.
fn writers(writer: &End) -> Vec<Actor<nix::Result<usize>>> {
    herd(Call::Write, || {
        let end = writer.clone();
        move || end.write(&[1; PIPE_BUF_BYTES])
    })
}

fn herd<T: Send + 'static, F: FnOnce() -> T + Send + 'static>(
    call: Call,
    part: impl Fn() -> F,
) -> Vec<Actor<T>> {
    let start = |n| Actor::start(&format!("sleeper {n}"), part());
    let herd: Vec<_> = (0..HERD).map(start).collect();
    for sleeper in &herd {
        sleeper.wait_asleep_in(call);
    }
    herd
}

/// Lets `wake` happen, waits for the one that it woke, and looks at every other one.
fn expect_one_woken<T: Send + 'static>(
    herd: &mut Vec<Actor<T>>,
    call: Call,
    wake: impl FnOnce(),
) -> T {
    let sleeps: Vec<_> = herd.iter().map(Actor::sleeps).collect();
    wake();
    wait_until("one is done", || herd.iter().any(Actor::is_done));
    let done = herd.iter().position(Actor::is_done).expect("just seen");
    for (n, (sleeper, sleeps)) in herd.iter().zip(sleeps).enumerate() {
        if n != done {
            sleeper.expect_not_woken_since(sleeps, call);
        }
    }
    herd.remove(done).join()
}

fn one_write_wakes_exactly_one_of_100_readers(q: &Queue) {
    let (reader, writer) = q.pair();
    let mut herd = readers(&reader);
    let wakeups = || q.is_ours().then(|| reader.info().read.wakeups);
    let before = wakeups();
    let read = expect_one_woken(&mut herd, Call::Read, || writer.write_all(b"x"));
    expect("read", read, Ok(b"x".to_vec()));
    // The driver's own count, where there is one.
    expect("wakeups counted", wakeups(), before.map(|count| count + 1));
    writer.close();
    for sleeper in herd {
        expect("read", sleeper.join(), Ok(vec![]));
    }
}

fn one_read_wakes_exactly_one_of_100_writers(q: &Queue) {
    let (reader, writer) = q.pair();
    writer.fill();
    let mut herd = writers(&writer);
    let wakeups = || q.is_ours().then(|| reader.info().write.wakeups);
    let before = wakeups();
    let written = expect_one_woken(&mut herd, Call::Write, || {
        reader.read_all(PIPE_BUF_BYTES);
    });
    expect("write", written, Ok(PIPE_BUF_BYTES));
    expect("wakeups counted", wakeups(), before.map(|count| count + 1));
    reader.close();
    for sleeper in herd {
        expect("write", sleeper.join(), Err(Errno::EPIPE));
    }
}

/// All writes come before any reader can run. The first write wakes one reader, and each reader that
/// leaves data behind the next.
fn one_hundred_writes_wake_one_hundred_readers_once_each(q: &Queue) {
    let (reader, writer) = q.pair();
    let wakeups = || q.is_ours().then(|| reader.info().read.wakeups);
    let before = wakeups();
    let mut got = on_one_processor(|| {
        let herd = readers(&reader);
        undisturbed(|| (0..HERD as u8).for_each(|byte| writer.write_all(&[byte])));
        let bytes = herd.into_iter().map(|sleeper| sleeper.join());
        Vec::from_iter(bytes.map(|bytes| bytes.expect("read")[0]))
    });
    got.sort_unstable();
    expect_bytes("read", &got, &Vec::from_iter(0..HERD as u8));
    let wanted = before.map(|count| count + HERD as u64);
    expect("wakeups counted", wakeups(), wanted);
}

fn closing_the_write_end_wakes_100_readers(q: &Queue) {
    let (reader, writer) = q.pair();
    let herd = readers(&reader);
    writer.close();
    for sleeper in herd {
        expect("read", sleeper.join(), Ok(vec![]));
    }
}

fn closing_the_read_end_wakes_100_writers(q: &Queue) {
    let (reader, writer) = q.pair();
    writer.fill();
    let herd = writers(&writer);
    reader.close();
    for sleeper in herd {
        expect("write", sleeper.join(), Err(Errno::EPIPE));
    }
}

/// How often a wakeup and a signal meet, on all processors together. The private pair runs the code of
/// the device, and the kernel's own are only the reference, so a part of it is enough for them.
fn tries(q: &Queue) -> u64 {
    let tries = match q.subject() {
        Subject::Device => 100_000,
        _ => 10_000,
    };
    match transport::carrier() {
        Carrier::Direct => amount(tries) as u64,
        // What is tried is the same, and each takes an interrupt and more.
        _ => amount(tries / 10).max(100) as u64,
    }
}

/// What two sleepers have done, of what they were woken for.
#[derive(Default)]
struct Tally {
    begun: AtomicU64,
    done: AtomicU64,
    interrupted: AtomicU64,
}

impl Tally {
    /// Counts the results of `call` until it gives 0 or fails with EPIPE.
    ///
    /// Who was interrupted leaves what is there to the other one: taking it would hide that the other
    /// was not told.
    fn count(&self, call: impl Fn() -> nix::Result<usize>) {
        loop {
            match call() {
                Ok(0) | Err(Errno::EPIPE) => return,
                Ok(_) => {
                    self.done.fetch_add(1, Ordering::SeqCst);
                }
                Err(Errno::EINTR) => {
                    self.interrupted.fetch_add(1, Ordering::SeqCst);
                    self.wait_for_the_other();
                }
                Err(e) => panic!("{e}"),
            };
        }
    }

    /// Until all that was begun is done.
    fn wait_for_the_other(&self) {
        let deadline = Instant::now() + patience(Duration::from_secs(5));
        loop {
            let begun = self.begun.load(Ordering::SeqCst);
            if self.done.load(Ordering::SeqCst) >= begun {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "try {begun}: what is there reaches nobody; a wakeup was lost"
            );
            match transport::carrier() {
                // An idle time costs nothing with --icount.
                Carrier::Dma => std::thread::sleep(Duration::from_millis(1)),
                _ => std::thread::yield_now(),
            }
        }
    }
}

/// Two sleepers in `call` on `end`, all on one processor. Each try wakes one by the other end, and
/// signals the first at once (or in the other order), before either can run. If the signalled one swallowed the wakeup, the
/// other would sleep on beside what is there for it, and the try would never be done.
fn signal_and_wake(
    processor: usize,
    tries: u64,
    name: Call,
    (end, call): (End, fn(&End) -> nix::Result<usize>),
    (other_end, wake): (End, fn(&End)),
) {
    on_processor(processor, || {
        let tally = Arc::new(Tally::default());
        let sleepers = ["signalled", "other"].map(|name| {
            let (tally, end) = (tally.clone(), end.clone());
            Actor::start(name, move || tally.count(|| call(&end)))
        });
        let before: u64 = sleepers.iter().map(Actor::sleeps).sum();
        for begun in 1..=tries {
            // With --icount waiting costs nothing. Elsewhere it would take most of the time, and enough tries find
            // them asleep without.
            if transport::carrier() == Carrier::Dma {
                sleepers
                    .iter()
                    .for_each(|sleeper| sleeper.wait_asleep_in(name));
            }
            tally.begun.store(begun, Ordering::SeqCst);
            if begun % 2 == 0 {
                wake(&other_end);
                sleepers[0].signal(INTERRUPT);
            } else {
                sleepers[0].signal(INTERRUPT);
                wake(&other_end);
            }
            tally.wait_for_the_other();
        }
        let sleeps = sleepers.iter().map(Actor::sleeps).sum::<u64>() - before;
        other_end.close();
        for sleeper in sleepers {
            sleeper.join();
        }
        expect("done", tally.done.load(Ordering::SeqCst), tries);
        // The tries mean something: most of them found sleepers. On a transport the waker sleeps until its
        // bytes have arrived, and whom they woke mostly runs before the signal.
        let share = match transport::carrier() {
            Carrier::Direct => 10,
            _ => 50,
        };
        let interrupted = tally.interrupted.load(Ordering::SeqCst);
        assert!(sleeps > tries / 2, "{sleeps} sleeps in {tries} tries");
        assert!(
            interrupted > tries / share,
            "{interrupted} EINTR in {tries} tries"
        );
    });
}

/// Shares the tries among the processors, each with a queue of its own.
fn on_all_processors(q: &Queue, part: impl Fn(usize, u64, Queue) + Clone + Send + 'static) {
    signals::handle(After::Fail);
    let processors = processors();
    let share = tries(q).div_ceil(processors.len() as u64);
    let parts: Vec<_> = processors
        .into_iter()
        .zip([q.clone(), q.another()])
        .map(|(processor, queue)| {
            let part = part.clone();
            let name = format!("processor {processor}");
            Actor::start(&name, move || part(processor, share, queue))
        })
        .collect();
    for part in parts {
        part.join_within(Duration::from_secs(55));
    }
}

fn signalled_readers_lose_nothing(q: &Queue) {
    on_all_processors(q, |processor, tries, queue| {
        let (reader, writer) = queue.pair();
        let read: fn(&End) -> _ = |end| nix::unistd::read(end, &mut [0]);
        let wake: fn(&End) = |end| end.write_all(b"x");
        signal_and_wake(processor, tries, Call::Read, (reader, read), (writer, wake));
    });
}

fn signalled_writers_lose_nothing(q: &Queue) {
    on_all_processors(q, |processor, tries, queue| {
        let (reader, writer) = queue.pair_of(PIPE_BUF_BYTES);
        writer.fill();
        let write: fn(&End) -> _ = |end| nix::unistd::write(end, &[1; PIPE_BUF_BYTES]);
        let wake: fn(&End) = |end| drop(end.read_all(PIPE_BUF_BYTES));
        // A page at a time is slow, and the way of the wakeup is the same.
        signal_and_wake(
            processor,
            tries / 10,
            Call::Write,
            (writer, write),
            (reader, wake),
        );
    });
}

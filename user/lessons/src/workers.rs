// SPDX-License-Identifier: MIT

//! Row 19: the queue of a pool of workers: take an item or sleep. The queue in the kernel does all of it: each
//! item is a packet, so no two workers get the same one or halves of one; an item wakes one sleeping worker and
//! leaves the others alone; and when the last writer closes, all see the end. The server's model `pool`
//! works this way (user/server/src/models/pool.rs).

use crate::over::{info, Over};
use crate::stage::{until, Call, Fork, Part, SLEEPS};
use crate::{Notes, Result};
use nix::fcntl::OFlag;
use nix::unistd::{pipe2, read, write};
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;

const WORKERS: [&str; 3] = ["worker 1", "worker 2", "worker 3"];
const ITEMS: [&[u8]; 3] = [b"one", b"two", b"three"];

pub fn play(over: Over, notes: &mut Notes) -> Result<()> {
    notes.step("three workers, and nothing to do");
    let (rx, tx) = over.packet_queue(notes)?;
    let (results_rx, results_tx) = pipe2(OFlag::O_CLOEXEC)?;
    let mut workers = Vec::new();
    for name in WORKERS {
        let worker = match notes.fork(name)? {
            Fork::Child(me) => me.play(|me| {
                drop(tx);
                work(me, &rx, &results_tx)
            }),
            Fork::Parent(worker) => worker,
        };
        worker.until_asleep_in(Call::READ, notes)?;
        workers.push(worker);
    }

    notes.step("an item wakes one of them: who has slept longest");
    for (item, n) in ITEMS.iter().zip(0..) {
        let before = sleeps_of(&workers)?;
        notes.write("tx", &tx, item)?;
        until("a worker has taken it and sleeps again", || {
            Ok(sleeps_of(&workers)? != before)
        })?;
        let now = sleeps_of(&workers)?;
        let awake = now
            .iter()
            .zip(&before)
            .filter(|(now, before)| now != before);
        notes.saw("workers that have been awake", awake.count());
        workers[n].hear(notes)?;
    }
    if let Some(info) = info(&rx) {
        notes.saw("items in, by the driver", info.write.operations);
        notes.saw("items out", info.read.operations);
        notes.saw("workers woken", info.read.wakeups);
    }

    notes.step("more items than workers: they wait in the queue");
    for item in ITEMS.iter().chain(&ITEMS) {
        notes.write("tx", &tx, item)?;
    }
    notes.close("tx", tx)?;
    for worker in workers {
        worker.end(notes)?;
    }
    let mut taken = [0; 3];
    File::from(results_rx).read_exact(&mut taken)?;
    // Who took how many is chance.
    notes.saw("items that they took, together", taken.iter().sum::<u8>());
    Ok(())
}

/// A worker's life: take an item or sleep, until the queue has ended.
fn work(me: &mut Notes, rx: &OwnedFd, results: &OwnedFd) -> Result<()> {
    me.read("rx", rx, 64)?;
    let mut taken = 0;
    loop {
        let mut item = [0; 64];
        match read(rx, &mut item)? {
            0 => break,
            len if ITEMS.contains(&&item[..len]) => taken += 1,
            len => me.saw("a torn item, bytes", len),
        }
    }
    write(results, &[taken])?;
    Ok(())
}

fn sleeps_of(workers: &[Part]) -> Result<Vec<u64>> {
    workers
        .iter()
        .map(|worker| worker.counter(SLEEPS))
        .collect()
}

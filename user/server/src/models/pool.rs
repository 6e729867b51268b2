// SPDX-License-Identifier: MIT

//! v5: a few threads that take clients from a queue. However many come, the server has as many threads as it
//! was given; the others wait in the queue, and when that is full, in the backlog.
//!
//! The queue is one of the device, in packet mode: an item is a packet with the number of a client's
//! descriptor. Who takes items need not be told how to share them: one write wakes exactly one sleeping
//! reader, and no two readers get the same packet. Where the module is not loaded a pipe with `O_DIRECT` is
//! the queue.

use super::Ended;
use crate::server::{Error, Result, Server, Task, Wanted};
use crate::Log;
use kpipe::channel::Channel;
use kpipe::{Control, Mode, PairOptions};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::unistd::{pipe2, read, write};
use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

/// An item: the number of the descriptor that a client is heard on.
const ITEM_BYTES: usize = size_of::<RawFd>();

/// Clients that are in the queue, by their item.
type Waiting = Mutex<HashMap<RawFd, Box<dyn Channel>>>;

/// The queue's ends. Once `tx` is dropped, workers that find it empty see end of file.
struct WorkQueue {
    rx: Arc<Rx>,
    tx: OwnedFd,
}

enum Rx {
    Device(kpipe::Reader),
    Pipe(OwnedFd),
}

pub(crate) fn run(server: &mut Server) -> Result<()> {
    let WorkQueue { rx, tx } = WorkQueue::open(server.log)?;
    let waiting = Arc::new(Waiting::default());
    let ended = Ended::new()?;
    let mut workers = Vec::new();
    for number in 1..=server.settings.workers {
        let (task, rx) = (server.task(), Arc::clone(&rx));
        let (waiting, ended) = (Arc::clone(&waiting), ended.clone());
        let body = move || work(&task, &rx, &waiting, &ended);
        let worker = thread::Builder::new().name(format!("worker {number}"));
        workers.push(worker.spawn(body).map_err(Error::io("starting a worker"))?);
    }
    feed(server, &tx, &waiting, &ended)?;
    server.close();
    drop(tx);
    for worker in workers {
        worker.join().expect("a worker survives its clients");
    }
    server.log.detail(|| rx.counts());
    Ok(())
}

/// Takes clients while the queue has room.
fn feed(server: &mut Server, tx: &OwnedFd, waiting: &Waiting, ended: &Ended) -> Result<()> {
    let mut connections = 0;
    loop {
        // A full queue gets room when a worker is done with a client.
        let woken = server.wait(Wanted {
            clients: connections < server.settings.max_connections && has_room(tx),
            stop: true,
            extra: Some(ended.as_fd()),
        })?;
        if woken.extra {
            connections -= ended.take()?;
            server.release();
        }
        if woken.stop {
            return Ok(());
        }
        if !woken.client {
            continue;
        }
        if let Some(channel) = server.accept() {
            connections += 1;
            let item = channel.rx().as_raw_fd();
            locked(waiting).insert(item, channel);
            write(tx, &item.to_ne_bytes()).map_err(Error::io("the work queue"))?;
        }
    }
}

/// A worker's life: an item, its client, the next.
fn work(task: &Task, rx: &Rx, waiting: &Waiting, ended: &Ended) {
    let mut item = [0; ITEM_BYTES];
    loop {
        match read(rx, &mut item) {
            Ok(ITEM_BYTES) => {}
            Ok(0) => return,
            Err(Errno::EINTR) => continue,
            other => unreachable!("an item is a packet: {other:?}"),
        }
        let channel = locked(waiting).remove(&RawFd::from_ne_bytes(item));
        task.serve(channel.expect("it is there before its item is"), || {});
        ended.tell();
    }
}

fn locked(waiting: &Waiting) -> MutexGuard<'_, HashMap<RawFd, Box<dyn Channel>>> {
    waiting.lock().expect("nobody panics with it")
}

fn has_room(tx: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(tx.as_fd(), PollFlags::POLLOUT)];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

impl WorkQueue {
    fn open(log: Log) -> Result<Self> {
        let of_device = PairOptions {
            mode: Mode::Packet,
            ..PairOptions::default()
        };
        let (rx, tx) = match of_device.open() {
            Ok((rx, tx)) => {
                log.detail(|| "the work queue is of the device, in packet mode".to_owned());
                (Rx::Device(rx), tx.into())
            }
            Err(error) => {
                let (rx, tx) =
                    pipe2(OFlag::O_CLOEXEC | OFlag::O_DIRECT).map_err(Error::io("pipe2"))?;
                log.detail(|| format!("the work queue is a pipe with O_DIRECT, because {error}"));
                (Rx::Pipe(rx), tx)
            }
        };
        let rx = Arc::new(rx);
        Ok(Self { rx, tx })
    }
}

impl Rx {
    /// What the queue has counted, for the log.
    fn counts(&self) -> String {
        let Self::Device(reader) = self else {
            return "the work queue, a pipe, counts nothing".to_owned();
        };
        match reader.info() {
            Ok(info) => format!(
                "the work queue: {} items in, {} out; workers slept {} times and were woken {} times",
                info.write.operations, info.read.operations, info.read.sleeps, info.read.wakeups
            ),
            Err(error) => error.to_string(),
        }
    }
}

impl AsFd for Rx {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Device(reader) => reader.as_fd(),
            Self::Pipe(fd) => fd.as_fd(),
        }
    }
}

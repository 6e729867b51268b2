// SPDX-License-Identifier: MIT

//! Channels of two one-way queues: of the device, FIFOs, or pipes.
//!
//! With names, server and client meet by opening. The server holds the read end of the first queue
//! open and polls it. A client opens, waiting for nobody, its read end of the second queue and the write
//! end of the first (`ENXIO`: nobody serves). The server sees its first bytes, or that it has gone again, and opens
//! the write end of the second queue; a client that says nothing is not seen before it does, and until then has the
//! place for as long as it likes.
//!
//! Queues know no connections, so a second client's bytes would mix with the first one's. Therefore each
//! side locks the queue that it writes to (flock(2), which holds for the inode), and a client also looks whether
//! the server still has the second queue locked for another.

use super::duplex::Duplex;
use super::half::{Is, Partner};
use super::{
    Address, Carries, Channel, Error, Listener, Names, Options, QueueKind, Receiver, Result, Sender,
};
use crate::{PairOptions, Queue, Wait};
use nix::fcntl::OFlag;
use nix::unistd::{self, pipe2};
use rustix::fs::{flock, FlockOperation};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

/// Between two clients the server has the first queue closed for a moment: how long a client takes a server that is
/// not there for one of these.
const MOMENT: Duration = Duration::from_secs(1);
/// How often it looks.
const LOOK: Duration = Duration::from_millis(5);

/// A server's place for one client.
#[derive(Debug)]
struct Place {
    address: Address,
    there: Queue,
    back: Queue,
    kind: QueueKind,
    /// The read end of `there`, unless a client has it.
    entry: Option<OwnedFd>,
}

pub(super) fn connect(address: &Address, options: &Options) -> Result<Box<dyn Channel>> {
    let began = Instant::now();
    let (there, back, kind) = parts(address);
    options.tell(|| format!("opening {there} for writing and {back} for reading"));
    loop {
        let result = try_connect(address, there, back, kind);
        let patience = match &result {
            Err(Error::Taken { .. }) => options.connect_timeout,
            Err(Error::NobodyListens { .. }) => MOMENT.min(options.connect_timeout),
            _ => Duration::ZERO,
        };
        if began.elapsed() < patience {
            thread::sleep(LOOK);
            continue;
        }
        if result.is_ok() {
            options.tell(|| "connected: the server opens its ends at the first bytes".to_owned());
        }
        return result;
    }
}

fn try_connect(
    address: &Address,
    there: &Queue,
    back: &Queue,
    kind: QueueKind,
) -> Result<Box<dyn Channel>> {
    let taken = || Error::Taken {
        address: Box::new(address.clone()),
    };
    let look = OwnedFd::from(back.reader(Wait::Never)?);
    let tx = match there.writer(Wait::Never) {
        Err(crate::Error::NoReader { .. }) => {
            return Err(Error::NobodyListens {
                address: Box::new(address.clone()),
            })
        }
        opened => OwnedFd::from(opened?),
    };
    lock(&tx).ok_or_else(taken)?;
    lock(&look).ok_or_else(taken)?;
    flock(&look, FlockOperation::Unlock).map_err(Error::io(address, "flock"))?;
    // Of a client that has gone, unseen by the server, which would take it for ours; or of one that still reads.
    for queue in [&tx, &look] {
        if kpipe_abi::queued_bytes(queue).map_err(Error::io(address, "FIONREAD"))? > 0 {
            return Err(taken());
        }
    }
    // The kernel takes the lock of a file that is closed before it counts its writer out. An end of file
    // that belongs to the client before must not be ours.
    if !matches!(unistd::read(&look, &mut [0]), Ok(0)) {
        return Err(taken());
    }
    // Opened without a writer there, so that its end of file comes after one.
    let rx = OwnedFd::from(back.reader(Wait::Never)?);
    let receiver = Receiver::new(rx, Is::File, Partner::Awaited);
    Duplex::boxed(
        receiver,
        Sender::new(tx, Is::File),
        names(kind, back, there),
        Carries::Bytes,
    )
    .map_err(Error::io(address, "fcntl"))
}

/// Only who has locked a queue's write end writes; `None` if that is somebody else.
fn lock(fd: &OwnedFd) -> Option<()> {
    flock(fd, FlockOperation::NonBlockingLockExclusive).ok()
}

pub(super) fn listen(address: &Address, options: &Options) -> Result<Box<dyn Listener>> {
    let (there, back, kind) = parts(address);
    let mut place = Place {
        address: address.clone(),
        there: there.clone(),
        back: back.clone(),
        kind,
        entry: None,
    };
    // Two servers would share the clients' bytes among them.
    match there.writer(Wait::Never) {
        Err(crate::Error::NoReader { .. }) => {}
        opened => {
            opened?;
            return Err(Error::InUse {
                address: Box::new(address.clone()),
            });
        }
    }
    // What a client would be answered through has to be there, and to be allowed.
    match back.writer(Wait::Never) {
        Err(crate::Error::NoReader { .. }) => {}
        opened => drop(opened?),
    }
    place.release()?;
    options.tell(|| format!("reading {there}, one client at a time"));
    Ok(Box::new(place))
}

impl Listener for Place {
    fn accept(&mut self) -> Result<Option<Box<dyn Channel>>> {
        if self.entry.is_none() {
            return Ok(None);
        }
        let tx = match self.back.writer(Wait::Never) {
            // It has gone again, and what it wrote goes with it.
            Err(crate::Error::NoReader { .. }) => {
                self.entry = None;
                self.release()?;
                return Ok(None);
            }
            // The client stays at the entry, and is taken when that is mended.
            opened => OwnedFd::from(opened?),
        };
        // A client that looks whether it is free holds it for a moment, and whoever may open it for as long as
        // they like: the client stays at the entry then, too.
        flock(&tx, FlockOperation::NonBlockingLockExclusive)
            .map_err(Error::io(&self.address, "flock"))?;
        let rx = self.entry.take().expect("as was seen above");
        let receiver = Receiver::new(rx, Is::File, Partner::Known);
        Duplex::boxed(
            receiver,
            Sender::new(tx, Is::File),
            names(self.kind, &self.there, &self.back),
            Carries::Bytes,
        )
        .map(Some)
        .map_err(Error::io(&self.address, "fcntl"))
    }

    fn ready(&self) -> Option<BorrowedFd<'_>> {
        self.entry.as_ref().map(AsFd::as_fd)
    }

    fn release(&mut self) -> Result<()> {
        if self.entry.is_none() {
            self.entry = Some(self.there.reader(Wait::Never)?.into());
        }
        Ok(())
    }

    fn address(&self) -> Address {
        self.address.clone()
    }
}

/// Both sides of queues with names. Nobody else may have them open: the bytes would mix.
pub(super) fn pair(address: &Address) -> Result<(Box<dyn Channel>, Box<dyn Channel>)> {
    let (there, back, kind) = parts(address);
    let way = |queue: &Queue| -> Result<_> {
        let rx = OwnedFd::from(queue.reader(Wait::Never)?);
        Ok((rx, OwnedFd::from(queue.writer(Wait::Never)?)))
    };
    both_sides(address, way(there)?, way(back)?, names(kind, back, there))
}

/// Both sides of private queues.
pub(super) fn new_pair(address: &Address) -> Result<(Box<dyn Channel>, Box<dyn Channel>)> {
    let way = || -> Result<_> {
        let (rx, tx) = PairOptions::default().open()?;
        Ok((rx.into(), tx.into()))
    };
    both_sides(address, way()?, way()?, nameless("kpipe"))
}

/// Both sides of pipes.
pub(super) fn pipe_pair(address: &Address) -> Result<(Box<dyn Channel>, Box<dyn Channel>)> {
    let way = || pipe2(OFlag::O_CLOEXEC).map_err(Error::io(address, "pipe2"));
    both_sides(address, way()?, way()?, nameless("pipe"))
}

type Way = (OwnedFd, OwnedFd);

fn both_sides(
    address: &Address,
    there: Way,
    back: Way,
    names: Names,
) -> Result<(Box<dyn Channel>, Box<dyn Channel>)> {
    let side = |rx, tx, names| {
        Duplex::boxed(
            Receiver::new(rx, Is::File, Partner::Known),
            Sender::new(tx, Is::File),
            names,
            Carries::Bytes,
        )
        .map_err(Error::io(address, "fcntl"))
    };
    let mirrored = Names {
        protocol: names.protocol,
        local: names.peer.clone(),
        peer: names.local.clone(),
    };
    Ok((
        side(back.0, there.1, names)?,
        side(there.0, back.1, mirrored)?,
    ))
}

fn parts(address: &Address) -> (&Queue, &Queue, QueueKind) {
    match address {
        Address::Queues { there, back, kind } => (there, back, *kind),
        other => unreachable!("{other} has no queues with names"),
    }
}

/// As a client or a server reads and writes.
fn names(kind: QueueKind, reads: &Queue, writes: &Queue) -> Names {
    Names {
        protocol: match kind {
            QueueKind::Kpipe => "kpipe",
            QueueKind::Fifo => "fifo",
        },
        local: format!("reads {reads}"),
        peer: format!("reads {writes}"),
    }
}

fn nameless(protocol: &'static str) -> Names {
    Names {
        protocol,
        local: "one end".to_owned(),
        peer: "the other".to_owned(),
    }
}

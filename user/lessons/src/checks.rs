// SPDX-License-Identifier: MIT

//! Row 2: what is between a descriptor and a driver. A descriptor names an open file description (with its
//! flags and offset), that one an inode, whose driver has a table of operations. vfs_read() checks a call
//! before the driver sees it, and counts it for the process: proc_pid_io(5). A call that it refuses is not
//! counted, and that is how one sees who refused.

use crate::stage::ffi::{read_to_address, EMPTY_ADDRESS, KERNEL_ADDRESS};
use crate::stage::{Fork, IO_READS, IO_READ_BYTES};
use crate::{Notes, Over, Result};
use nix::fcntl::{fcntl, open, FcntlArg, OFlag};
use nix::sys::epoll::{Epoll, EpollCreateFlags};
use nix::sys::stat::{fstat, Mode};
use nix::unistd::{dup, read, write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

pub fn play(over: Over, notes: &mut Notes) -> Result<()> {
    descriptor_description_inode(over, notes)?;
    what_is_checked_before_the_driver(over, notes)
}

fn descriptor_description_inode(over: Over, notes: &mut Notes) -> Result<()> {
    notes.step("two descriptors of one description, and a description of its own");
    let (rx, _tx) = over.queue(notes)?;
    let copy = notes.call("dup(rx)", || dup(&rx))?;
    let path = format!("/proc/self/fd/{}", rx.as_raw_fd());
    let again = notes.call("open(rx by its name in /proc, O_RDONLY)", || {
        open(
            path.as_str(),
            OFlag::O_RDONLY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )
    })?;
    notes.call("fcntl(copy, F_SETFL, O_NONBLOCK)", || {
        fcntl(&copy, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))
    })?;
    for (name, fd) in [("rx", &rx), ("copy", &copy), ("again", &again)] {
        let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
        let is_set = flags.contains(OFlag::O_NONBLOCK);
        notes.saw(format_args!("O_NONBLOCK of {name}"), is_set);
    }
    let inode = |fd: &OwnedFd| fstat(fd).map(|stat| (stat.st_dev, stat.st_ino));
    notes.saw(
        "rx and copy are the same inode",
        inode(&rx)? == inode(&copy)?,
    );
    notes.saw(
        "rx and again are the same inode",
        inode(&rx)? == inode(&again)?,
    );
    Ok(())
}

/// A read, and what it is to show.
type Attempt = (&'static str, fn(&Ends) -> nix::Result<usize>);

struct Ends {
    rx: OwnedFd,
    tx: OwnedFd,
    /// A file whose table has no entry for reading.
    epoll: Epoll,
}

/// In the order in which vfs_read() checks; the last three get as far as the driver.
const ATTEMPTS: [Attempt; 6] = [
    ("read(tx): not open for reading", |ends| read_byte(&ends.tx)),
    ("read(epoll): its table has no read", |ends| {
        read_byte(&ends.epoll.0)
    }),
    ("read(rx) to an address of the kernel", |ends| {
        read_to_address(&ends.rx, KERNEL_ADDRESS)
    }),
    ("read(rx) to an address where nothing is", |ends| {
        read_to_address(&ends.rx, EMPTY_ADDRESS)
    }),
    ("read(rx)", |ends| read(&ends.rx, &mut [0; 64])),
    ("read(rx) of an empty queue, O_NONBLOCK", |ends| {
        read(&ends.rx, &mut [0; 64])
    }),
];

fn what_is_checked_before_the_driver(over: Over, notes: &mut Notes) -> Result<()> {
    notes.step("calls that are refused before the driver, by it, and not at all");
    let (rx, tx) = over.queue(notes)?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    fcntl(&rx, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    write(&tx, b"hello")?;
    let ends = Ends { rx, tx, epoll };
    let mut caller = match notes.fork("caller")? {
        Fork::Child(me) => me.play(|me| {
            for (what, attempt) in ATTEMPTS {
                // Most are meant to fail.
                let _ = me.call_counted(what, || attempt(&ends))?;
            }
            Ok(())
        }),
        Fork::Parent(caller) => caller,
    };
    for _ in ATTEMPTS {
        let [calls, bytes] = caller.count([IO_READS, IO_READ_BYTES], notes)?;
        notes.saw_of("caller", "counted in /proc/PID/io: calls", calls);
        notes.saw_of("caller", "counted in /proc/PID/io: bytes", bytes);
    }
    caller.end(notes)
}

fn read_byte(fd: impl AsFd) -> nix::Result<usize> {
    read(fd, &mut [0])
}

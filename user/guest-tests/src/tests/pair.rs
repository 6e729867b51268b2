// SPDX-License-Identifier: MIT

//! Queues without a name: pipe2(2) and `IOC_PAIR` make one with both ends. What only the driver's have
//! is in `clone_node.rs`.

use std::os::fd::{AsFd, AsRawFd};

use nix::sys::signal::Signal;
use nix::sys::stat::{fstat, SFlag};

use crate::harness::amount;
use crate::tools::bytes::Random;
use crate::tools::descriptors::{self, take_all_descriptors};
use crate::tools::memory::{Mapping, Page, Span};
use crate::tools::prelude::*;
use crate::tools::private::{self, ask, handle};
use crate::tools::process::{become_ordinary_user, Process};
use crate::tools::raw;

/// The table.
pub const TESTS: &[Test] = &[
    section("Queues without a name", "it is made by another call"),
    says("The call gives two descriptors on a fresh queue."),
    unnamed!(the_call_gives_both_ends_of_a_queue).and_socket(),
    unnamed!(each_call_gives_another_queue).and_socket(),
    unnamed!(the_lowest_free_descriptors_are_given_the_read_end_first),
    unnamed!(thousands_of_queues_may_be_open_at_once).deadline_secs(30),
    unnamed!(the_inode_is_a_fifo_of_its_maker),
    unnamed!(ends_go_on_after_privileges_are_dropped).and_socket(),
    says("With the descriptor table full: EMFILE, and nothing is left."),
    unnamed!(without_a_free_descriptor_it_is_emfile).and_socket(),
    unnamed!(with_one_free_descriptor_it_is_emfile_and_that_one_stays_free).and_socket(),
    says("Bad memory: EFAULT, and nothing is left."),
    unnamed!(bad_memory_is_efault_and_leaves_no_descriptor),
    says("Killed halfway, nothing is left."),
    unnamed!(a_killed_maker_leaves_nothing)
        .and_socket()
        .deadline_secs(30),
];

fn made(q: &Queue) -> (End, End) {
    q.make(OFlag::O_CLOEXEC).expect("a new queue")
}

fn the_call_gives_both_ends_of_a_queue(q: &Queue) {
    let (reader, writer) = made(q);
    writer.write_all(b"hello");
    expect("read", reader.read(100), Ok(b"hello".to_vec()));
    writer.close();
    expect("then", reader.read(100), Ok(vec![]));
}

fn each_call_gives_another_queue(q: &Queue) {
    let ((reader, writer), (other, _other_writer)) = (made(q), made(q));
    writer.write_all(b"x");
    expect("queued in the other", other.queued(), 0);
    expect("queued", reader.queued(), 1);
}

fn the_lowest_free_descriptors_are_given_the_read_end_first(q: &Queue) {
    // What the call itself needs of descriptors is open meanwhile.
    let made_once = made(q);
    let wanted = (made_once.0.as_raw_fd(), made_once.1.as_raw_fd());
    assert!(wanted.0 < wanted.1, "{wanted:?}");
    drop(made_once);
    let again = made(q);
    let got = (again.0.as_raw_fd(), again.1.as_raw_fd());
    expect("descriptors of the next one", got, wanted);
}

fn thousands_of_queues_may_be_open_at_once(q: &Queue) {
    let number = amount(2000).max(500);
    descriptors::limit(2 * number as u64 + 100);
    let all: Vec<_> = (0..number).map(|_| made(q)).collect();
    for (n, (_, writer)) in all.iter().enumerate() {
        writer.write_all(&n.to_ne_bytes());
    }
    for (n, (reader, _)) in all.iter().enumerate() {
        expect("read", reader.read(100), Ok(n.to_ne_bytes().to_vec()));
    }
}

fn the_inode_is_a_fifo_of_its_maker(q: &Queue) {
    let handle = q.is_ours().then(handle);
    let queue = q.clone();
    let look = move || {
        let (reader, _writer) = match &handle {
            Some(handle) => ask(handle.as_fd(), &mut private::arguments(OFlag::empty())),
            None => queue.make(OFlag::empty()),
        }
        .expect("a new queue");
        let stat = fstat(&reader).expect("fstat");
        let kind = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
        expect("type", kind, SFlag::S_IFIFO);
        expect("mode", stat.st_mode & 0o7777, 0o600);
        let owner = (nix::unistd::geteuid(), nix::unistd::getegid());
        let (uid, gid) = (stat.st_uid.into(), stat.st_gid.into());
        expect("owner", (uid, gid), owner);
    };
    look();
    Process::start("ordinary user", move || {
        become_ordinary_user();
        look();
    })
    .wait_success();
}

fn ends_go_on_after_privileges_are_dropped(q: &Queue) {
    let (reader, writer) = made(q);
    Process::start("ordinary user", move || {
        become_ordinary_user();
        writer.write_all(b"x");
        expect("queued", reader.queued(), 1);
        expect("read", reader.read(100), Ok(b"x".to_vec()));
    })
    .wait_success();
}

fn without_a_free_descriptor_it_is_emfile(q: &Queue) {
    // On the driver's the handle is there before.
    let maker = Maker::new(q);
    let all = take_all_descriptors();
    for _ in 0..3 {
        expect("the call", maker.make().err(), Some(Errno::EMFILE));
    }
    drop(all);
    maker.make().expect("the call with free descriptors");
}

fn with_one_free_descriptor_it_is_emfile_and_that_one_stays_free(q: &Queue) {
    let maker = Maker::new(q);
    let mut all = take_all_descriptors();
    drop(all.pop());
    for _ in 0..3 {
        expect("the call", maker.make().err(), Some(Errno::EMFILE));
    }
    all.push(
        std::fs::File::open("/dev/null")
            .expect("a descriptor is free")
            .into(),
    );
    let full = std::fs::File::open("/dev/null").map_err(|e| e.raw_os_error());
    expect("another", full.err(), Some(Some(Errno::EMFILE as i32)));
    drop((all.pop(), all.pop()));
    maker.make().expect("the call with two free descriptors");
}

/// The call alone, without what has to be opened for it.
struct Maker {
    queue: Queue,
    handle: Option<End>,
}

impl Maker {
    fn new(q: &Queue) -> Self {
        Self {
            queue: q.clone(),
            handle: q.is_ours().then(handle),
        }
    }

    fn make(&self) -> nix::Result<(End, End)> {
        let flags = OFlag::O_CLOEXEC;
        match &self.handle {
            Some(handle) => ask(handle.as_fd(), &mut private::arguments(flags)),
            None => self.queue.make(flags),
        }
    }
}

fn bad_memory_is_efault_and_leaves_no_descriptor(q: &Queue) {
    let maker = Maker::new(q);
    let before = descriptors::number();
    let forbidden = Mapping::of(&[Page::Forbidden]).all();
    for (what, span) in Span::wrong(32)
        .into_iter()
        .chain([("forbidden", forbidden)])
    {
        let result = match &maker.handle {
            Some(handle) => raw::ioctl_at(handle.as_fd(), private::IOC_PAIR, span).map(drop),
            None => raw::pipe2_at(span),
        };
        expect(what, result, Err(Errno::EFAULT));
    }
    expect("descriptors", descriptors::number(), before);
}

/// The harness looks for what is left: queues, ends, references to the module.
fn a_killed_maker_leaves_nothing(q: &Queue) {
    let mut random = Random::new(5);
    for _ in 0..amount(20) {
        let maker = Maker::new(q);
        let process = Process::start("maker", move || loop {
            drop(maker.make());
        });
        std::thread::sleep(std::time::Duration::from_micros(random.up_to(3000) as u64));
        process.signal(Signal::SIGKILL);
        process.wait();
    }
}

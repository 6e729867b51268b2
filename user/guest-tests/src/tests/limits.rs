// SPDX-License-Identifier: MIT

//! Memory that queues take: counted for each user together with pipes, with a soft limit (pipe(7),
//! `too_many_pipe_buffers_soft()` in fs/pipe.c), and charged to the memory cgroup.

use std::os::fd::{AsFd, OwnedFd};

use kpipe_abi::uapi;
use nix::fcntl::{fcntl, FcntlArg};
use nix::unistd::{getpid, pipe2};

use crate::tools::cgroup::{self, Cgroup};
use crate::tools::prelude::*;
use crate::tools::process::{become_ordinary_user, Process};
use crate::tools::subject::scratch_path;
use crate::tools::{descriptors, needs, private};

/// The table.
pub const TESTS: &[Test] = &[
    section("Limits", "its memory is limited by SO_SNDBUF"),
    says("Queues of a user count together with pipes. Above the soft limit a new queue gets 2 pages."),
    each!(an_ordinary_user_with_many_pipes_gets_queues_of_2_pages),
    each!(an_ordinary_user_with_many_pipes_may_not_grow).needs(needs::cap_sys_resource),
    each!(an_ordinary_user_with_many_pipes_may_shrink),
    each!(closing_pipes_makes_room_below_the_limit),
    each!(root_is_not_limited).needs(needs::cap_sys_resource),
    unnamed!(many_small_queues_of_a_user_reach_the_limit),
    private!(an_ordinary_user_with_many_pipes_may_write_packets),
    says("The memory is charged to the cgroup of who takes it, and given back."),
    each!(queued_bytes_are_charged_to_the_memory_cgroup).needs(cgroup::probe),
];

const MIB: i32 = 1 << 20;

/// Pages of two: what a queue gets above the limit.
const SMALL: usize = 8192;

/// Takes as much of the user's account as the soft limit allows, with real pipes.
fn use_up_the_account() -> Vec<OwnedFd> {
    let limit = std::fs::read_to_string("/proc/sys/fs/pipe-user-pages-soft").expect("the limit");
    let pages: i32 = limit.trim().parse().expect("a number");
    expect("the soft limit of pipes, in bytes", pages * 4096, 64 * MIB);
    (0..64)
        .map(|_| {
            let (reader, _writer) = pipe2(OFlag::O_CLOEXEC).expect("pipe2");
            let size = fcntl(&reader, FcntlArg::F_SETPIPE_SZ(MIB));
            expect("F_SETPIPE_SZ", size, Ok(MIB));
            reader
        })
        .collect()
}

/// How an ordinary user gets a queue: of a named one the node is opened, for a new one the handle of
/// the clone node is there already.
struct Opener {
    queue: Queue,
    handle: Option<End>,
}

impl Opener {
    fn new(q: &Queue) -> Self {
        let handle = (q.subject() == Subject::Pair).then(private::handle);
        Self {
            queue: q.clone(),
            handle,
        }
    }

    fn open(&self) -> (End, End) {
        match (&self.handle, self.queue.subject()) {
            (Some(handle), _) => {
                private::ask(handle.as_fd(), &mut private::arguments(OFlag::empty()))
                    .expect("IOC_PAIR")
            }
            (None, Subject::Pipe) => self.queue.make(OFlag::O_CLOEXEC).expect("pipe2"),
            (None, _) => self.queue.pair(),
        }
    }
}

/// Runs `part` as an ordinary user who may open the node.
fn as_ordinary_user(q: &Queue, part: impl FnOnce(&Opener)) {
    use std::os::unix::fs::PermissionsExt;
    let mode = |mode| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(q.path(), permissions).expect("chmod");
    };
    let before = std::fs::metadata(q.path()).expect("stat").permissions();
    mode(0o666);
    let opener = Opener::new(q);
    Process::start("ordinary user", move || {
        become_ordinary_user();
        part(&opener);
    })
    .wait_success();
    mode(before.mode());
}

fn an_ordinary_user_with_many_pipes_gets_queues_of_2_pages(q: &Queue) {
    as_ordinary_user(q, |opener| {
        let (reader, writer) = opener.open();
        let default = uapi::DEFAULT_CAPACITY_BYTES as usize;
        expect("capacity before", reader.capacity(), default);
        drop((reader, writer));
        let _pipes = use_up_the_account();
        let (reader, writer) = opener.open();
        expect("capacity", reader.capacity(), SMALL);
        expect("bytes that fill it", writer.fill(), SMALL);
    });
}

fn an_ordinary_user_with_many_pipes_may_not_grow(q: &Queue) {
    as_ordinary_user(q, |opener| {
        let _pipes = use_up_the_account();
        let (reader, writer) = opener.open();
        for bytes in [2 * SMALL as u64, 65536, 1 << 20] {
            expect("resize", writer.resize(bytes), Err(Errno::EPERM));
        }
        expect("capacity", reader.capacity(), SMALL);
    });
}

fn an_ordinary_user_with_many_pipes_may_write_packets(_: &Queue) {
    let handle = private::handle();
    Process::start("ordinary user", || {
        become_ordinary_user();
        let _pipes = use_up_the_account();
        let mut arguments = private::arguments(OFlag::O_DIRECT);
        arguments.capacity_bytes = 4096;
        let (reader, writer) = private::ask(handle.as_fd(), &mut arguments).expect("IOC_PAIR");
        writer.write_all(b"ab");
        expect("read", reader.read(1), Ok(b"a".to_vec()));
    })
    .wait_success();
}

fn an_ordinary_user_with_many_pipes_may_shrink(q: &Queue) {
    as_ordinary_user(q, |opener| {
        let (reader, writer) = opener.open();
        let mut pipes = use_up_the_account_but(65536);
        expect("resize to 4 pages", writer.resize(16384), Ok(16384));
        pipes.extend(pipe2(OFlag::O_CLOEXEC).map(|(reader, _)| reader));
        expect("resize to 2 pages", writer.resize(8192), Ok(8192));
        expect("resize to 1 page", writer.resize(1), Ok(4096));
        expect("capacity", reader.capacity(), 4096);
    });
}

/// The same with a queue of `bytes` open already.
fn use_up_the_account_but(bytes: i32) -> Vec<OwnedFd> {
    let mut pipes = vec![];
    for _ in 0..63 {
        let (reader, _writer) = pipe2(OFlag::O_CLOEXEC).expect("pipe2");
        let size = fcntl(&reader, FcntlArg::F_SETPIPE_SZ(MIB));
        expect("F_SETPIPE_SZ", size, Ok(MIB));
        pipes.push(reader);
    }
    for _ in 0..(MIB - bytes) / 65536 {
        pipes.push(pipe2(OFlag::O_CLOEXEC).expect("pipe2").0);
    }
    pipes
}

fn closing_pipes_makes_room_below_the_limit(q: &Queue) {
    as_ordinary_user(q, |opener| {
        let mut pipes = use_up_the_account();
        drop(opener.open());
        pipes.pop();
        let (reader, _writer) = opener.open();
        let default = uapi::DEFAULT_CAPACITY_BYTES as usize;
        expect("capacity", reader.capacity(), default);
        expect("resize to 512 KiB", reader.resize(1 << 19), Ok(1 << 19));
        expect("resize to 1 MiB", reader.resize(1 << 20), Ok(1 << 20));
    });
}

fn root_is_not_limited(q: &Queue) {
    let _pipes = use_up_the_account();
    let (reader, writer) = Opener::new(q).open();
    let default = uapi::DEFAULT_CAPACITY_BYTES as usize;
    expect("capacity", reader.capacity(), default);
    expect("resize", writer.resize(1 << 20), Ok(1 << 20));
}

fn many_small_queues_of_a_user_reach_the_limit(q: &Queue) {
    as_ordinary_user(q, |opener| {
        // 1023 of 64 KiB leave less than the next two would take.
        descriptors::limit(4096);
        let _all: Vec<_> = (0..1024).map(|_| opener.open()).collect();
        let (reader, _writer) = opener.open();
        expect("capacity", reader.capacity(), SMALL);
        let (pipe, _other) = pipe2(OFlag::O_CLOEXEC).expect("pipe2");
        let size = fcntl(&pipe, FcntlArg::F_GETPIPE_SZ);
        expect("capacity of a pipe", size, Ok(SMALL as i32));
    });
}

fn queued_bytes_are_charged_to_the_memory_cgroup(q: &Queue) {
    const BYTES: usize = 8 << 20;
    let cgroup = Cgroup::new(scratch_path("cgroup"));
    cgroup.take(getpid());
    let before = cgroup.charged();
    let (reader, writer) = q.pair_of(BYTES);
    expect("bytes that fill it", writer.fill(), BYTES);
    let taken = cgroup.charged().saturating_sub(before);
    // Charges are made ahead, for 64 pages at a time and for each processor (mm/memcontrol.c).
    const AHEAD: usize = 1 << 20;
    assert!(
        taken as usize >= BYTES - AHEAD,
        "{taken} bytes charged for {BYTES} (in {})",
        cgroup.root().display()
    );
    drop((reader, writer));
    let kept = cgroup.charged().saturating_sub(before);
    assert!(
        (kept as usize) < BYTES / 2,
        "{kept} bytes are still charged"
    );
}

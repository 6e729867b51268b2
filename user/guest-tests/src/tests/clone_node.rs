// SPDX-License-Identifier: MIT

//! The clone node: `IOC_PAIR` and what it checks, and a fresh queue at each open.

use std::os::fd::{AsFd, AsRawFd};

use kpipe_abi::uapi;
use nix::fcntl::open;
use nix::sys::stat::Mode as FileMode;

use crate::tools::descriptors;
use crate::tools::memory::{Mapping, Page, PAGE_BYTES};
use crate::tools::prelude::*;
use crate::tools::private::{self, ask, handle, Pair};
use crate::tools::process::{become_ordinary_user, Process};
use crate::tools::raw;

/// The table.
pub const TESTS: &[Test] = &[
    section("The clone node", "it has none"),
    says("IOC_PAIR checks its structure."),
    private!(another_size_is_einval),
    private!(a_reserved_field_that_is_set_is_einval),
    private!(unknown_flags_are_einval),
    private!(an_unknown_mode_is_einval),
    private!(the_capacity_is_rounded_up_and_told),
    private!(a_capacity_above_the_maximum_is_einval),
    private!(an_ordinary_user_gets_no_capacity_above_1_mib),
    private!(read_only_memory_is_efault_and_leaves_no_descriptor),
    private!(no_other_byte_of_the_structure_is_changed),
    says("IOC_PAIR is a call of the clone node alone."),
    ours!(ioc_pair_on_an_end_is_enotty),
    private!(every_access_mode_of_the_clone_node_serves_it),
    says("An open of the clone node gives a fresh queue, and never blocks."),
    private!(opening_the_clone_node_never_blocks),
    private!(each_open_of_the_clone_node_is_another_queue),
    private!(a_handle_is_no_queue),
    says("A private queue says so."),
    private!(info_tells_the_private_index),
    private!(fdinfo_tells_of_a_private_queue),
    says("The library makes them too (user/kpipe)."),
    private!(the_library_gives_pairs_of_every_kind),
];

/// `IOC_PAIR` with this must fail, and leave no descriptor and the structure as it was.
#[track_caller]
fn expect_refused(what: &str, given: Pair, wanted: Errno) {
    let handle = handle();
    let before = descriptors::number();
    let mut arguments = given;
    expect(
        what,
        ask(handle.as_fd(), &mut arguments).err(),
        Some(wanted),
    );
    expect("the structure", arguments, given);
    expect("descriptors", descriptors::number(), before);
}

fn good() -> Pair {
    private::arguments(OFlag::O_CLOEXEC)
}

fn another_size_is_einval(_: &Queue) {
    let right = size_of::<Pair>() as u32;
    for size in [0, 1, right - 1, right + 1, 2 * right, u32::MAX] {
        expect_refused(
            &format!("size {size}"),
            Pair { size, ..good() },
            Errno::EINVAL,
        );
    }
}

fn a_reserved_field_that_is_set_is_einval(_: &Queue) {
    for reserved in [1, 1 << 31, u32::MAX] {
        expect_refused("reserved", Pair { reserved, ..good() }, Errno::EINVAL);
    }
}

fn unknown_flags_are_einval(_: &Queue) {
    let known = (OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_DIRECT).bits() as u32;
    for flags in (0..32).map(|bit| 1 << bit).filter(|flag| flag & known == 0) {
        expect_refused(
            &format!("flags {flags:#o}"),
            Pair { flags, ..good() },
            Errno::EINVAL,
        );
    }
}

fn an_unknown_mode_is_einval(_: &Queue) {
    for mode in [2, 3, u32::MAX] {
        expect_refused(
            &format!("mode {mode}"),
            Pair { mode, ..good() },
            Errno::EINVAL,
        );
    }
}

fn the_capacity_is_rounded_up_and_told(_: &Queue) {
    for (capacity_bytes, wanted) in [
        (0, uapi::DEFAULT_CAPACITY_BYTES),
        (1, 4096),
        (4097, 8192),
        (65536, 65536),
        (1 << 20, 1 << 20),
        (3 << 20, 4 << 20),
    ] {
        let mut arguments = Pair {
            capacity_bytes,
            ..good()
        };
        let ends = ask(handle().as_fd(), &mut arguments);
        let (reader, writer) = ends.expect("IOC_PAIR");
        expect("capacity told", arguments.capacity_bytes, wanted);
        expect("capacity", reader.info().capacity_bytes, wanted);
        expect("bytes that fill it", writer.fill() as u64, wanted);
    }
}

fn a_capacity_above_the_maximum_is_einval(_: &Queue) {
    for capacity_bytes in [uapi::MAX_CAPACITY_BYTES + 1, 1 << 63, u64::MAX] {
        expect_refused(
            "capacity",
            Pair {
                capacity_bytes,
                ..good()
            },
            Errno::EINVAL,
        );
    }
}

fn an_ordinary_user_gets_no_capacity_above_1_mib(_: &Queue) {
    let handle = handle();
    Process::start("ordinary user", move || {
        become_ordinary_user();
        let limit = uapi::UNPRIVILEGED_CAPACITY_BYTES;
        let with = |capacity_bytes| {
            ask(
                handle.as_fd(),
                &mut Pair {
                    capacity_bytes,
                    ..good()
                },
            )
        };
        expect("1 MiB + 1", with(limit + 1).err(), Some(Errno::EPERM));
        with(limit).expect("1 MiB");
    })
    .wait_success();
}

fn read_only_memory_is_efault_and_leaves_no_descriptor(_: &Queue) {
    let handle = handle();
    // A copy of good arguments in a page that is then only readable.
    let memory = Mapping::of(&[Page::Open]);
    let size = size_of::<Pair>();
    memory.store(0, &(size as u32).to_ne_bytes());
    memory.protect(Page::ReadOnly);
    let before = descriptors::number();
    let result = raw::ioctl_at(handle.as_fd(), private::IOC_PAIR, memory.span(0, size));
    expect("read only", result, Err(Errno::EFAULT));
    // Both descriptors are out of reach at the end of the structure.
    let memory = Mapping::of(&[Page::Open, Page::Forbidden]);
    for inside in [4, 16, 24, size - 1] {
        memory.store(PAGE_BYTES - inside, &(size as u32).to_ne_bytes());
        let span = memory.span(PAGE_BYTES - inside, size);
        let result = raw::ioctl_at(handle.as_fd(), private::IOC_PAIR, span);
        expect("at the end of a page", result, Err(Errno::EFAULT));
    }
    expect("descriptors", descriptors::number(), before);
}

fn no_other_byte_of_the_structure_is_changed(_: &Queue) {
    let mut arguments = Pair {
        flags: (OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).bits() as u32,
        read_fd: -7,
        write_fd: -9,
        ..good()
    };
    let (reader, writer) = ask(handle().as_fd(), &mut arguments).expect("IOC_PAIR");
    let wanted = Pair {
        flags: (OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).bits() as u32,
        capacity_bytes: uapi::DEFAULT_CAPACITY_BYTES,
        read_fd: reader.as_raw_fd(),
        write_fd: writer.as_raw_fd(),
        ..good()
    };
    expect("the structure", arguments, wanted);
}

fn ioc_pair_on_an_end_is_enotty(q: &Queue) {
    let (reader, writer) = q.first_pair();
    let before = descriptors::number();
    for end in [&reader, &writer] {
        let result = ask(end.as_fd(), &mut good());
        expect("IOC_PAIR", result.err(), Some(Errno::ENOTTY));
    }
    expect("descriptors", descriptors::number(), before);
}

fn clone_open(flags: OFlag) -> nix::Result<End> {
    let flags = flags | OFlag::O_CLOEXEC;
    open(&private::clone_node(), flags, FileMode::empty()).map(End::from)
}

fn every_access_mode_of_the_clone_node_serves_it(_: &Queue) {
    for flags in [
        OFlag::O_RDONLY,
        OFlag::O_WRONLY,
        OFlag::O_RDWR,
        OFlag::O_ACCMODE,
    ] {
        let node = clone_open(flags).expect("open");
        let (reader, writer) = ask(node.as_fd(), &mut good()).expect("IOC_PAIR");
        node.close();
        writer.write_all(b"x");
        expect("read", reader.read(100), Ok(b"x".to_vec()));
    }
}

fn opening_the_clone_node_never_blocks(_: &Queue) {
    for flags in [OFlag::O_RDONLY, OFlag::O_WRONLY, OFlag::O_RDWR] {
        let nonblock = flags | OFlag::O_NONBLOCK;
        for flags in [flags, nonblock] {
            let part = Actor::start("opener", move || clone_open(flags).map(drop));
            expect(&format!("open with {flags:?}"), part.join(), Ok(()));
        }
    }
}

fn each_open_of_the_clone_node_is_another_queue(_: &Queue) {
    let [first, second] = [0, 1].map(|_| clone_open(OFlag::O_RDWR).expect("open"));
    first.write_all(b"to myself");
    expect("queued in the other", second.queued(), 0);
    expect("read", first.read(100), Ok(b"to myself".to_vec()));
    expect("index", first.info().index, uapi::PRIVATE_INDEX);
}

fn a_handle_is_no_queue(_: &Queue) {
    let handle = handle();
    expect("read", handle.read(1), Err(Errno::EBADF));
    expect("write", handle.write(b"x"), Err(Errno::EBADF));
}

fn info_tells_the_private_index(q: &Queue) {
    let (reader, writer) = q.first_pair();
    writer.write_all(b"abc");
    let info = reader.info();
    expect("index", info.index, uapi::PRIVATE_INDEX);
    expect("version", info.version, uapi::VERSION);
    expect("readers, writers", (info.readers, info.writers), (1, 1));
    expect("queued", info.queued_bytes, 3);
    expect(
        "capacity",
        info.capacity_bytes,
        uapi::DEFAULT_CAPACITY_BYTES,
    );
    expect("on the write end", writer.info(), info);
}

fn fdinfo_tells_of_a_private_queue(q: &Queue) {
    let (reader, writer) = q.first_pair();
    writer.write_all(b"abc");
    let path = format!("/proc/self/fdinfo/{}", reader.as_raw_fd());
    let text = std::fs::read_to_string(path).expect("fdinfo");
    for line in [
        "kpipe-capacity:\t65536",
        "kpipe-queued:\t3",
        "kpipe-readers:\t1",
        "kpipe-writers:\t1",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "expected the line {line:?} in:\n{text}"
        );
    }
}

fn the_library_gives_pairs_of_every_kind(_: &Queue) {
    use kpipe::{Control, PairOptions, Wait};
    use std::io::{ErrorKind, Read, Write};
    use std::time::Duration;

    let options = PairOptions {
        capacity_bytes: Some(20_000),
        wait: Wait::Never,
        mode: kpipe::Mode::Packet,
    };
    let (mut reader, mut writer) = options.open().expect("a pair");
    let info = reader.info().expect("information");
    expect(
        "index, capacity and mode",
        (info.index, info.capacity_bytes, info.mode),
        (kpipe::PRIVATE_INDEX, 32768, uapi::MODE_PACKET),
    );
    writer.write_all(b"one").expect("a packet");
    writer.write_all(b"two").expect("a packet");
    let mut two = [0; 2];
    expect("a short read", reader.read(&mut two).ok(), Some(2));
    let mut all = [0; 10];
    expect("the next packet", reader.read(&mut all).ok(), Some(3));
    expect_bytes("its bytes", &all[..3], b"two");
    let empty = reader.read(&mut all).map_err(|error| error.kind());
    expect("when empty", empty, Err(ErrorKind::WouldBlock));

    let (mut reader, _writer) = PairOptions::default().open().expect("a pair");
    let limits = (Some(Duration::from_millis(1)), None);
    reader.set_timeouts(limits.0, limits.1).expect("limits");
    expect("the limits", reader.timeouts().ok(), Some(limits));
    let late = reader.read(&mut all).map_err(|error| error.kind());
    expect("a read with a limit", late, Err(ErrorKind::WouldBlock));
    let too_large = PairOptions {
        capacity_bytes: Some(u64::MAX),
        ..options
    };
    let refused = too_large.open().map(drop).expect_err("too large");
    assert!(
        matches!(refused, kpipe::Error::CapacityTooLarge { .. }),
        "{refused}"
    );
}

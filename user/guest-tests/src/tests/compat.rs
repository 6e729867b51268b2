// SPDX-License-Identifier: MIT

//! ioctl(2) of 32-bit programs on the 64-bit kernel: the same structures, by `compat_ioctl`.

use std::os::fd::AsFd;

use kpipe_abi::uapi::{self, Info};

use crate::tools::compat::{ioctl_at, ioctl_value};
use crate::tools::memory::{Mapping, Page, Span};
use crate::tools::needs;
use crate::tools::prelude::*;
use crate::tools::private::{self, Pair, Timeouts};

/// The table.
pub const TESTS: &[Test] = &[
    section("ioctls of 32-bit programs", "it has ioctls of its own"),
    says("32-bit programs on a 64-bit kernel work."),
    private!(ioc_pair_works).needs(needs::compat),
    ours!(the_mode_can_be_set).needs(needs::compat),
    ours!(timeouts_can_be_set_and_asked).needs(needs::compat),
    ours!(wrong_pointers_of_the_newer_calls_are_efault).needs(needs::compat),
    each!(fionread_works).needs(needs::compat),
    ours!(info_is_what_a_64_bit_program_gets).needs(needs::compat),
    ours!(resize_works).needs(needs::compat),
    ours!(reset_works).needs(needs::compat),
    each!(unknown_commands_are_enotty)
        .and_socket()
        .needs(needs::compat),
    each!(a_wrong_pointer_is_efault)
        .and_socket()
        .needs(needs::compat),
];

const FIONREAD: u32 = nix::libc::FIONREAD as u32;

fn fionread_works(q: &Queue) {
    let (reader, writer) = q.pair();
    writer.write_all(b"abc");
    let memory = Mapping::low(&[Page::Open]);
    for end in [&reader, &writer] {
        memory.store(0, &[0xff; 8]);
        expect(
            "FIONREAD",
            ioctl_at(end.as_fd(), FIONREAD, memory.span(0, 4)),
            Ok(0),
        );
        expect_bytes(
            "memory",
            &memory.load(0, 8),
            &[3, 0, 0, 0, 0xff, 0xff, 0xff, 0xff],
        );
    }
}

fn info_is_what_a_64_bit_program_gets(q: &Queue) {
    let (reader, writer) = q.pair();
    writer.write_all(b"abc");
    let size = size_of::<Info>();
    let memory = Mapping::low(&[Page::Open; 2]);
    let ask = |span| crate::tools::raw::ioctl_at(reader.as_fd(), uapi::IOC_INFO, span);
    memory.store(0, &(size as u32).to_ne_bytes());
    memory.store(4096, &(size as u32).to_ne_bytes());
    expect("as a 64-bit program", ask(memory.span(0, size)), Ok(0));
    let at = memory.span(4096, size);
    expect(
        "as a 32-bit program",
        ioctl_at(reader.as_fd(), uapi::IOC_INFO, at),
        Ok(0),
    );
    expect_bytes("structure", &memory.load(4096, size), &memory.load(0, size));
}

fn resize_works(q: &Queue) {
    let (_reader, writer) = q.pair();
    let resize = |bytes| ioctl_value(writer.as_fd(), uapi::IOC_RESIZE, bytes);
    expect("resize to 5000", resize(5000), Ok(8192));
    expect("capacity", writer.capacity(), 8192);
    expect("resize to 2^32 - 1", resize(u32::MAX), Err(Errno::EINVAL));
}

fn reset_works(q: &Queue) {
    let (reader, writer) = q.pair();
    writer.write_all(b"x");
    let reset = |argument| ioctl_value(reader.as_fd(), uapi::IOC_RESET_COUNTERS, argument);
    expect("with an argument", reset(1), Err(Errno::EINVAL));
    expect("without", reset(0), Ok(0));
    expect("bytes written", reader.info().write.bytes, 0);
}

fn ioc_pair_works(_: &Queue) {
    let memory = Mapping::low(&[Page::Open]);
    let size = size_of::<Pair>();
    memory.store(0, &(size as u32).to_ne_bytes());
    memory.store(4, &(OFlag::O_CLOEXEC.bits() as u32).to_ne_bytes());
    memory.store(size, &[0xff; 8]);
    let handle = private::handle();
    let result = ioctl_at(handle.as_fd(), private::IOC_PAIR, memory.span(0, size));
    expect("IOC_PAIR", result, Ok(0));
    expect_bytes("behind the structure", &memory.load(size, 8), &[0xff; 8]);
    let descriptor = |offset| memory.load(offset, 4).try_into().map(i32::from_ne_bytes);
    let ends = [24, 28].map(|offset| descriptor(offset).expect("4 bytes"));
    // Opened again by their names: nothing says to Rust whose these descriptors are.
    let open = |fd, flags| {
        let path = format!("/proc/self/fd/{fd}");
        let opened = nix::fcntl::open(&*path, flags, nix::sys::stat::Mode::empty());
        End::from(opened.expect("open"))
    };
    open(ends[1], OFlag::O_WRONLY).write_all(b"x");
    let reader = open(ends[0], OFlag::O_RDONLY);
    expect("read", reader.read(100), Ok(b"x".to_vec()));
}

fn the_mode_can_be_set(q: &Queue) {
    let (reader, writer) = q.first_pair();
    let set = |mode| ioctl_value(writer.as_fd(), private::IOC_SET_MODE, mode);
    expect("mode 2", set(2), Err(Errno::EINVAL));
    expect("mode 1", set(1), Ok(0));
    expect("mode", private::mode(&reader), 1);
    expect("mode 0", set(0), Ok(0));
}

fn timeouts_can_be_set_and_asked(q: &Queue) {
    let (reader, _writer) = q.first_pair();
    let memory = Mapping::low(&[Page::Open]);
    let size = size_of::<Timeouts>();
    let ask = |request| ioctl_at(reader.as_fd(), request, memory.span(0, size));
    let words = [size as u64, 5, u64::MAX];
    let given = words.map(u64::to_ne_bytes).concat();
    memory.store(0, &given);
    expect("IOC_SET_TIMEOUTS", ask(private::IOC_SET_TIMEOUTS), Ok(0));
    memory.store(8, &[0; 16]);
    expect("IOC_GET_TIMEOUTS", ask(private::IOC_GET_TIMEOUTS), Ok(0));
    expect_bytes("structure", &memory.load(0, size), &given);
}

fn wrong_pointers_of_the_newer_calls_are_efault(q: &Queue) {
    let (reader, _writer) = q.first_pair();
    let handle = private::handle();
    for (end, request) in [
        (&handle, private::IOC_PAIR),
        (&reader, private::IOC_SET_TIMEOUTS),
        (&reader, private::IOC_GET_TIMEOUTS),
    ] {
        let forbidden = Mapping::low(&[Page::Forbidden]).all();
        for span in [Span::NULL, forbidden] {
            let result = ioctl_at(end.as_fd(), request, span);
            expect(&format!("ioctl {request:#x}"), result, Err(Errno::EFAULT));
        }
    }
}

fn unknown_commands_are_enotty(q: &Queue) {
    let (reader, _writer) = q.pair();
    for request in [0, uapi::IOC_RESET_COUNTERS + 100, u32::MAX] {
        let result = ioctl_value(reader.as_fd(), request, 0);
        expect(&format!("ioctl {request:#x}"), result, Err(Errno::ENOTTY));
    }
}

fn a_wrong_pointer_is_efault(q: &Queue) {
    let (reader, _writer) = q.pair();
    let requests: &[u32] = if q.is_ours() {
        &[FIONREAD, uapi::IOC_INFO]
    } else {
        &[FIONREAD]
    };
    for &request in requests {
        let forbidden = Mapping::low(&[Page::Forbidden]).all();
        for span in [Span::NULL, forbidden] {
            let result = ioctl_at(reader.as_fd(), request, span);
            expect(
                &format!("ioctl {request:#x} at {span:?}"),
                result,
                Err(Errno::EFAULT),
            );
        }
    }
}

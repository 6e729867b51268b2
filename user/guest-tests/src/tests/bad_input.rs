// SPDX-License-Identifier: MIT

//! Arguments that no program should pass: the right errno, nothing lost, nothing in the log (which
//! the harness checks after every test).

use std::os::fd::AsFd;

use kpipe_abi::uapi::{self, Info};

use crate::tools::memory::{Mapping, Page, Span, PAGE_BYTES};
use crate::tools::prelude::*;
use crate::tools::raw;

/// The table.
pub const TESTS: &[Test] = &[
    section("Bad arguments", "it has bounds of its own"),
    says("A length of 2^40: the VFS clips it to just under 2 GiB."),
    each!(a_read_of_2_to_the_40_returns_what_is_there).and_socket(),
    each!(a_write_of_2_to_the_40_takes_what_fits),
    each!(a_negative_length_is_refused).and_socket(),
    each!(a_vector_that_is_too_long_is_einval).and_socket(),
    says("A wrong pointer in every argument of every call."),
    each!(wrong_buffers_are_efault).and_socket(),
    each!(wrong_vectors_are_efault).and_socket(),
    each!(wrong_ioctl_arguments_are_efault).and_socket(),
    each!(a_read_only_buffer_is_no_place_to_read_into).and_socket(),
    each!(a_wrong_path_is_efault),
    says("Pointers that are not aligned are fine."),
    each!(buffers_need_no_alignment).and_socket(),
    ours!(info_needs_no_alignment),
    ours!(info_that_ends_in_a_forbidden_page_is_efault),
];

const TWO_TO_THE_40: usize = 1 << 40;

/// Ends with data queued, and a check that they are still as good as new.
struct Good {
    reader: End,
    writer: End,
}

const QUEUED: &[u8] = b"all of this is still there";

impl Good {
    fn new(q: &Queue) -> Self {
        let (reader, writer) = q.pair();
        writer.write_all(QUEUED);
        Self { reader, writer }
    }

    fn expect_untouched(self) {
        expect("read", self.reader.read(100), Ok(QUEUED.to_vec()));
        self.writer.write_all(b"and more");
        expect("read", self.reader.read(100), Ok(b"and more".to_vec()));
    }
}

/// Pages so low that 2^40 bytes from there are still addresses of user space.
fn low_memory(pages: usize) -> Mapping {
    Mapping::low(&vec![Page::Open; pages])
}

fn a_read_of_2_to_the_40_returns_what_is_there(q: &Queue) {
    let (reader, writer) = q.pair();
    let data = pattern(10_000);
    writer.write_all(&data);
    let memory = low_memory(3);
    let span = memory.span(0, 0).with_len(TWO_TO_THE_40);
    expect("read", raw::read(reader.as_fd(), span), Ok(data.len()));
    expect_bytes("data", &memory.load(0, data.len()), &data);
    reader.set_mode(Mode::Nonblocking);
    expect(
        "when empty",
        raw::read(reader.as_fd(), span),
        Err(Errno::EAGAIN),
    );
}

fn a_write_of_2_to_the_40_takes_what_fits(q: &Queue) {
    let (reader, writer) = q.pair_of(8192);
    let memory = low_memory(4);
    let data = pattern(4 * PAGE_BYTES);
    memory.store(0, &data);
    let span = memory.span(0, 0).with_len(TWO_TO_THE_40);
    let writer = writer.nonblocking();
    expect("write", raw::write(writer.as_fd(), span), Ok(8192));
    expect(
        "when full",
        raw::write(writer.as_fd(), span),
        Err(Errno::EAGAIN),
    );
    expect_bytes("data", &reader.read_all(8192), &data[..8192]);
}

fn a_negative_length_is_refused(q: &Queue) {
    let good = Good::new(q);
    let span = Mapping::of(&[Page::Open]).all();
    for len in [usize::MAX, 1 << 63] {
        let span = span.with_len(len);
        // No address space is as large as that, so the address is wrong ...
        let read = raw::read(good.reader.as_fd(), span);
        expect(&format!("read of {len} bytes"), read, Err(Errno::EFAULT));
        let written = raw::write(good.writer.as_fd(), span);
        expect(
            &format!("write of {len} bytes"),
            written,
            Err(Errno::EFAULT),
        );
        // ... but readv(2) names the length.
        let read = raw::readv(good.reader.as_fd(), &[span]);
        expect(&format!("readv of {len} bytes"), read, Err(Errno::EINVAL));
        let written = raw::writev(good.writer.as_fd(), &[span]);
        expect(
            &format!("writev of {len} bytes"),
            written,
            Err(Errno::EINVAL),
        );
    }
    good.expect_untouched();
}

fn a_vector_that_is_too_long_is_einval(q: &Queue) {
    let good = Good::new(q);
    let nothing = Mapping::of(&[Page::Open]).span(0, 0);
    for entries in [-1, i32::MIN, 1025] {
        let read = raw::readv_at(good.reader.as_fd(), nothing, entries);
        expect(
            &format!("readv of {entries} entries"),
            read,
            Err(Errno::EINVAL),
        );
        let written = raw::writev_at(good.writer.as_fd(), nothing, entries);
        expect(
            &format!("writev of {entries} entries"),
            written,
            Err(Errno::EINVAL),
        );
    }
    good.expect_untouched();
}

fn wrong_buffers_are_efault(q: &Queue) {
    let good = Good::new(q);
    for len in [1, 4096, 100_000] {
        for (what, span) in Span::wrong(len) {
            let what = format!("{len} bytes at a pointer that is {what}");
            let read = raw::read(good.reader.as_fd(), span);
            expect(&format!("read of {what}"), read, Err(Errno::EFAULT));
            let read = raw::readv(good.reader.as_fd(), &[span]);
            expect(&format!("readv of {what}"), read, Err(Errno::EFAULT));
            let written = raw::write(good.writer.as_fd(), span);
            expect(&format!("write of {what}"), written, Err(Errno::EFAULT));
            let written = raw::writev(good.writer.as_fd(), &[span]);
            expect(&format!("writev of {what}"), written, Err(Errno::EFAULT));
        }
    }
    good.expect_untouched();
}

fn wrong_vectors_are_efault(q: &Queue) {
    let good = Good::new(q);
    for (what, span) in Span::wrong(16) {
        let read = raw::readv_at(good.reader.as_fd(), span, 1);
        expect(
            &format!("readv with a vector {what}"),
            read,
            Err(Errno::EFAULT),
        );
        let written = raw::writev_at(good.writer.as_fd(), span, 1);
        expect(
            &format!("writev with a vector {what}"),
            written,
            Err(Errno::EFAULT),
        );
    }
    good.expect_untouched();
}

fn wrong_ioctl_arguments_are_efault(q: &Queue) {
    let good = Good::new(q);
    let read_only = Mapping::of(&[Page::ReadOnly]).all();
    let forbidden = Mapping::of(&[Page::Forbidden]).all();
    let wrong = Span::wrong(size_of::<Info>()).into_iter();
    for (what, span) in wrong.chain([("read only", read_only), ("forbidden", forbidden)]) {
        let result = raw::ioctl_at(good.reader.as_fd(), nix::libc::FIONREAD as u32, span);
        expect(
            &format!("FIONREAD at a pointer that is {what}"),
            result,
            Err(Errno::EFAULT),
        );
        if q.is_ours() && what != "read only" {
            let result = raw::ioctl_at(good.writer.as_fd(), uapi::IOC_INFO, span);
            expect(
                &format!("info at a pointer that is {what}"),
                result,
                Err(Errno::EFAULT),
            );
        }
    }
    good.expect_untouched();
}

fn a_read_only_buffer_is_no_place_to_read_into(q: &Queue) {
    let good = Good::new(q);
    let read_only = Mapping::of(&[Page::ReadOnly]).all();
    expect(
        "read",
        raw::read(good.reader.as_fd(), read_only),
        Err(Errno::EFAULT),
    );
    good.expect_untouched();
}

fn a_wrong_path_is_efault(q: &Queue) {
    let good = Good::new(q);
    let forbidden = Mapping::of(&[Page::Forbidden]).all();
    expect("open", raw::open_at(forbidden).err(), Some(Errno::EFAULT));
    good.expect_untouched();
}

fn buffers_need_no_alignment(q: &Queue) {
    let (reader, writer) = q.pair();
    let memory = Mapping::of(&[Page::Open; 4]);
    let data = pattern(5000);
    for offset in [1, 3, 7, 63, 4095] {
        memory.store(offset, &data);
        let from = memory.span(offset, data.len());
        expect("write", raw::write(writer.as_fd(), from), Ok(data.len()));
        let to = memory.span(offset + 5003, data.len());
        expect("read", raw::read(reader.as_fd(), to), Ok(data.len()));
        let got = memory.load(offset + 5003, data.len());
        expect_bytes(&format!("data from offset {offset}"), &got, &data);
    }
}

fn info_needs_no_alignment(q: &Queue) {
    let reader = q.reader();
    let size = size_of::<Info>();
    let memory = Mapping::of(&[Page::Open; 2]);
    for offset in [1, 2, 4, 4096 - 50] {
        memory.store(offset, &[0; size_of::<Info>()]);
        memory.store(offset, &(size as u32).to_ne_bytes());
        let result = raw::ioctl_at(reader.as_fd(), uapi::IOC_INFO, memory.span(offset, size));
        expect(&format!("info at offset {offset}"), result, Ok(0));
        let version = memory.load(offset + 4, 4);
        expect_bytes("version", &version, &uapi::VERSION.to_ne_bytes());
    }
}

fn info_that_ends_in_a_forbidden_page_is_efault(q: &Queue) {
    let good = Good::new(q);
    let size = size_of::<Info>();
    let memory = Mapping::of(&[Page::Open, Page::Forbidden]);
    for inside in [1, 4, 50, size - 1] {
        let offset = PAGE_BYTES - inside;
        let start = (size as u32).to_ne_bytes();
        memory.store(offset, &start[..inside.min(4)]);
        let result = raw::ioctl_at(
            good.reader.as_fd(),
            uapi::IOC_INFO,
            memory.span(offset, size),
        );
        expect(
            &format!("info with {inside} good bytes"),
            result,
            Err(Errno::EFAULT),
        );
    }
    good.expect_untouched();
}

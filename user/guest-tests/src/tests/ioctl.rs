// SPDX-License-Identifier: MIT

//! ioctl(2): information, counters, and what is refused. Resizing is in `resize.rs`, calls of
//! 32-bit programs in `compat.rs`.

use std::os::fd::{AsFd, AsRawFd};

use kpipe_abi::uapi::{self, Counters, Info};

use crate::tools::memory::{Mapping, Page, Span};
use crate::tools::prelude::*;
use crate::tools::raw;

/// The table.
pub const TESTS: &[Test] = &[
    section("ioctl", "it has ioctls of its own"),
    says("FIONREAD on either end."),
    each!(fionread_counts_queued_bytes_on_either_end),
    each!(fionread_stores_an_int_and_nothing_beyond).and_socket(),
    says("Unknown command: ENOTTY."),
    each!(unknown_commands_are_enotty).and_socket(),
    each!(a_queue_is_no_terminal).and_socket(),
    says("Information: version, index, capacity, bytes queued, ends open."),
    device!(info_describes_the_queue),
    ours!(info_can_be_asked_on_any_end),
    ours!(info_counts_descriptions_not_descriptors),
    says("Counters for bytes, operations, sleeps, wakeups."),
    ours!(counters_count_bytes_and_operations),
    ours!(failed_and_empty_operations_are_not_counted),
    ours!(a_sleep_ended_by_a_signal_is_no_wakeup),
    device!(counters_survive_the_last_close),
    ours!(reset_sets_all_counters_to_zero),
    ours!(counters_of_queues_are_separate),
    says("Structures carry their size and reserved fields; reserved non-zero is EINVAL."),
    ours!(info_of_another_size_is_einval),
    ours!(info_with_a_mode_set_is_einval),
    ours!(reset_with_an_argument_is_einval),
    ours!(info_leaves_no_byte_unwritten),
    says("fdinfo."),
    device!(fdinfo_describes_the_queue),
];

fn fionread_counts_queued_bytes_on_either_end(q: &Queue) {
    let (reader, writer) = q.pair();
    let both = q.must_open(OFlag::O_RDWR);
    let mut queued = 0;
    for step in [1, 4096, 7, 10_000] {
        writer.write_all(&pattern(step));
        queued += step;
        for end in [&reader, &writer, &both] {
            expect("bytes queued", end.queued(), queued);
        }
    }
    reader.read_all(5000);
    expect("after reading 5000", writer.queued(), queued - 5000);
    reader.close();
    both.close();
    expect("without readers", writer.queued(), queued - 5000);
}

fn fionread_stores_an_int_and_nothing_beyond(q: &Queue) {
    let (reader, writer) = q.pair();
    writer.write_all(b"abc");
    let memory = Mapping::of(&[Page::Open]);
    memory.store(0, &[0xff; 16]);
    let at = memory.span(4, 4);
    expect(
        "FIONREAD",
        raw::ioctl_at(reader.as_fd(), nix::libc::FIONREAD as u32, at),
        Ok(0),
    );
    let mut wanted = [0xff; 16];
    wanted[4..8].copy_from_slice(&3_i32.to_ne_bytes());
    expect_bytes("memory", &memory.load(0, 16), &wanted);
    // An address that is not aligned, and one at the very end of a page.
    for offset in [1, 4092] {
        let at = memory.span(offset, 4);
        let result = raw::ioctl_at(reader.as_fd(), nix::libc::FIONREAD as u32, at);
        expect("FIONREAD", result, Ok(0));
        expect_bytes("memory", &memory.load(offset, 4), &3_i32.to_ne_bytes());
    }
}

fn unknown_commands_are_enotty(q: &Queue) {
    let (reader, writer) = q.pair();
    writer.write_all(b"x");
    let other_size = uapi::IOC_INFO + (8 << 16);
    let other_direction = uapi::IOC_INFO ^ (1 << 30);
    let other_number = uapi::IOC_RESET_COUNTERS + 100;
    for request in [
        0,
        1,
        u32::MAX,
        other_size,
        other_direction,
        other_number,
        0xBE00,
    ] {
        for end in [&reader, &writer] {
            let what = format!("ioctl {request:#x}");
            expect(
                &what,
                raw::ioctl_value(end.as_fd(), request, 0),
                Err(Errno::ENOTTY),
            );
        }
    }
    expect("bytes queued", reader.queued(), 1);
}

fn a_queue_is_no_terminal(q: &Queue) {
    let (reader, _writer) = q.pair();
    expect("isatty", nix::unistd::isatty(&reader), Ok(false));
}

fn info_describes_the_queue(q: &Queue) {
    let (reader, writer) = q.pair();
    writer.write_all(b"abc");
    let info = reader.info();
    expect("size", info.size as usize, size_of::<Info>());
    expect("version", info.version, uapi::VERSION);
    expect("index", info.index, 0);
    expect("mode", info.mode, uapi::MODE_STREAM);
    expect("readers, writers", (info.readers, info.writers), (1, 1));
    expect(
        "capacity",
        info.capacity_bytes,
        uapi::DEFAULT_CAPACITY_BYTES,
    );
    expect("queued", info.queued_bytes, 3);
    expect(
        "index of the next queue",
        q.another().reader().info().index,
        1,
    );
}

fn info_can_be_asked_on_any_end(q: &Queue) {
    let (reader, writer) = q.pair();
    let both = q.must_open(OFlag::O_RDWR);
    let info = reader.info();
    expect("on the write end", writer.info(), info);
    expect("on both ends", both.info(), info);
    let path = q.must_open(OFlag::O_PATH);
    expect(
        "on no end",
        kpipe_abi::info(&path).err(),
        Some(Errno::EBADF),
    );
}

fn info_counts_descriptions_not_descriptors(q: &Queue) {
    let ends = |end: &End| (end.info().readers, end.info().writers);
    let (reader, writer) = q.pair();
    let _duplicate = writer.duplicate();
    expect("after dup", ends(&reader), (1, 1));
    let second = q.writer();
    expect("a second writer", ends(&reader), (1, 2));
    let both = q.must_open(OFlag::O_RDWR);
    expect("one for both", ends(&reader), (2, 3));
    second.close();
    both.close();
    expect("both closed", ends(&reader), (1, 1));
}

fn counters_count_bytes_and_operations(q: &Queue) {
    let (reader, writer) = q.pair();
    kpipe_abi::reset_counters(&reader).expect("reset");
    let memory = Mapping::of(&[Page::Open]);
    writer.write_all(&pattern(10_000));
    let vector = [memory.span(0, 10), memory.span(100, 20)];
    raw::writev(writer.as_fd(), &vector).expect("writev");
    reader.read_all(1);
    raw::readv(reader.as_fd(), &vector).expect("readv");
    let info = reader.info();
    let counters = |bytes, operations| Counters {
        bytes,
        operations,
        ..Counters::default()
    };
    expect("write side", info.write, counters(10_030, 2));
    expect("read side", info.read, counters(31, 2));
}

fn failed_and_empty_operations_are_not_counted(q: &Queue) {
    let (reader, writer) = q.pair();
    kpipe_abi::reset_counters(&reader).expect("reset");
    let reader = reader.nonblocking();
    expect("read when empty", reader.read(1), Err(Errno::EAGAIN));
    expect("read of nothing", reader.read(0), Ok(vec![]));
    expect("write of nothing", writer.write(b""), Ok(0));
    let wrong = Span::wrong(10)[0].1;
    expect(
        "write from nowhere",
        raw::write(writer.as_fd(), wrong),
        Err(Errno::EFAULT),
    );
    let (read, write) = (reader.info().read, reader.info().write);
    expect("read side", read, Counters::default());
    expect("write side", write, Counters::default());
    writer.close();
    expect("read at the end", reader.read(1), Ok(vec![]));
    expect(
        "read side at the end",
        reader.info().read,
        Counters::default(),
    );
}

fn a_sleep_ended_by_a_signal_is_no_wakeup(q: &Queue) {
    use crate::tools::signals::{self, After, INTERRUPT};
    signals::handle(After::Fail);
    let (reader, _writer) = q.pair();
    kpipe_abi::reset_counters(&reader).expect("reset");
    let end = reader.clone();
    let part = Actor::asleep_in(Call::Read, "reader", move || end.read(1));
    part.signal(INTERRUPT);
    expect("read", part.join(), Err(Errno::EINTR));
    let read = reader.info().read;
    expect("sleeps, wakeups", (read.sleeps, read.wakeups), (1, 0));
}

fn counters_survive_the_last_close(q: &Queue) {
    let (reader, writer) = q.pair();
    kpipe_abi::reset_counters(&reader).expect("reset");
    writer.write_all(b"abc");
    reader.read_all(3);
    reader.close();
    writer.close();
    let info = q.reader().info();
    expect(
        "bytes written, read",
        (info.write.bytes, info.read.bytes),
        (3, 3),
    );
}

fn reset_sets_all_counters_to_zero(q: &Queue) {
    let (reader, writer) = q.pair();
    let end = reader.clone();
    let part = Actor::asleep_in(Call::Read, "reader", move || end.read(1));
    writer.write_all(b"abc");
    part.join().expect("read");
    let before = reader.info();
    assert!(
        before.read.sleeps > 0 && before.read.wakeups > 0,
        "{before:?}"
    );
    kpipe_abi::reset_counters(&writer).expect("reset");
    let after = reader.info();
    expect("read side", after.read, Counters::default());
    expect("write side", after.write, Counters::default());
    expect("bytes queued", after.queued_bytes, 2);
}

fn counters_of_queues_are_separate(q: &Queue) {
    let (reader, writer) = q.pair();
    let other = q.another().reader();
    let before = other.info();
    writer.write_all(b"x");
    reader.read_all(1);
    expect("the other queue", other.info(), before);
}

fn info_of_another_size_is_einval(q: &Queue) {
    let reader = q.reader();
    let right = size_of::<Info>() as u32;
    for size in [0, 1, right - 1, right + 1, right * 2, u32::MAX] {
        let mut info = Info {
            size,
            ..Info::default()
        };
        let result = raw::info_with(reader.as_fd(), &mut info);
        expect(&format!("size {size}"), result, Err(Errno::EINVAL));
        expect(
            "the structure",
            info,
            Info {
                size,
                ..Info::default()
            },
        );
    }
}

fn info_with_a_mode_set_is_einval(q: &Queue) {
    let reader = q.reader();
    for mode in [1, 1 << 31, u32::MAX] {
        let mut info = Info {
            size: size_of::<Info>() as u32,
            mode,
            ..Info::default()
        };
        let result = raw::info_with(reader.as_fd(), &mut info);
        expect(&format!("mode {mode:#x}"), result, Err(Errno::EINVAL));
    }
}

fn reset_with_an_argument_is_einval(q: &Queue) {
    let (reader, writer) = q.pair();
    writer.write_all(b"x");
    let before = reader.info();
    for argument in [1, usize::MAX] {
        let result = raw::ioctl_value(reader.as_fd(), uapi::IOC_RESET_COUNTERS, argument);
        expect(
            &format!("argument {argument:#x}"),
            result,
            Err(Errno::EINVAL),
        );
    }
    expect("counters", reader.info(), before);
}

fn info_leaves_no_byte_unwritten(q: &Queue) {
    let reader = q.reader();
    let size = size_of::<Info>();
    let memory = Mapping::of(&[Page::Open]);
    // The same call over two fillings: a byte that keeps its filling was not written.
    let filled_with = |filling: u8| {
        memory.store(0, &vec![filling; size + 8]);
        memory.store(0, &(size as u32).to_ne_bytes());
        memory.store(std::mem::offset_of!(Info, mode), &[0; 4]);
        let result = raw::ioctl_at(reader.as_fd(), uapi::IOC_INFO, memory.span(0, size));
        expect("KPIPE_IOC_INFO", result, Ok(0));
        expect_bytes("behind the structure", &memory.load(size, 8), &[filling; 8]);
        memory.load(0, size)
    };
    expect_bytes("the structure", &filled_with(0xff), &filled_with(0x00));
}

fn fdinfo_describes_the_queue(q: &Queue) {
    let (reader, writer) = q.pair_of(8192);
    let _second = q.writer();
    writer.write_all(b"abc");
    let path = format!("/proc/self/fdinfo/{}", reader.as_raw_fd());
    let text = std::fs::read_to_string(path).expect("fdinfo");
    for line in [
        "kpipe-index:\t0",
        "kpipe-capacity:\t8192",
        "kpipe-queued:\t3",
        "kpipe-readers:\t1",
        "kpipe-writers:\t2",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "expected the line {line:?} in:\n{text}"
        );
    }
}

// SPDX-License-Identifier: MIT

//! Packets by the mode of the queue, `IOC_SET_MODE`, which a pipe has not. What a packet is stands in
//! `packet.rs`.

use std::os::fd::AsFd;

use crate::tools::prelude::*;
use crate::tools::{private, raw};

/// The table.
pub const TESTS: &[Test] = &[
    section("Packet mode", "it is a stream"),
    says("The mode of a queue makes every write a packet, by IOC_SET_MODE."),
    ours!(the_mode_makes_every_write_a_packet),
    ours!(the_mode_may_be_set_back_and_keeps_what_is_queued),
    ours!(other_modes_are_einval),
    ours!(who_only_reads_may_not_set_the_mode),
    private!(a_pair_may_be_made_for_packets),
];

fn set_mode(end: &End, mode: usize) -> nix::Result<i32> {
    raw::ioctl_value(end.as_fd(), private::IOC_SET_MODE, mode)
}

fn the_mode_makes_every_write_a_packet(q: &Queue) {
    let (reader, writer) = q.first_pair();
    let other = writer.reopen(OFlag::O_WRONLY).expect("open");
    expect("IOC_SET_MODE", set_mode(&writer, 1), Ok(0));
    expect("mode", private::mode(&writer), 1);
    writer.write_all(b"ab");
    other.write_all(b"cd");
    expect("short read", reader.read(1), Ok(b"a".to_vec()));
    expect("read", reader.read(100), Ok(b"cd".to_vec()));
    expect("IOC_SET_MODE", set_mode(&writer, 0), Ok(0));
}

fn who_only_reads_may_not_set_the_mode(q: &Queue) {
    let (reader, writer) = q.first_pair();
    expect("IOC_SET_MODE", set_mode(&reader, 1), Err(Errno::EBADF));
    expect("mode", private::mode(&writer), 0);
}

fn the_mode_may_be_set_back_and_keeps_what_is_queued(q: &Queue) {
    let (reader, writer) = q.first_pair();
    expect("IOC_SET_MODE 1", set_mode(&writer, 1), Ok(0));
    writer.write_all(b"ab");
    writer.write_all(b"cd");
    expect("IOC_SET_MODE 0", set_mode(&writer, 0), Ok(0));
    expect("mode", private::mode(&writer), 0);
    writer.write_all(b"ef");
    writer.write_all(b"gh");
    for wanted in ["ab", "cd", "efgh"] {
        expect("read", reader.read(100), Ok(wanted.into()));
    }
}

fn other_modes_are_einval(q: &Queue) {
    let (reader, writer) = q.first_pair();
    for mode in [2, 3, 4096] {
        expect("IOC_SET_MODE", set_mode(&writer, mode), Err(Errno::EINVAL));
    }
    expect("mode", private::mode(&writer), 0);
    writer.write_all(b"ab");
    writer.write_all(b"cd");
    expect("read", reader.read(100), Ok(b"abcd".to_vec()));
}

fn a_pair_may_be_made_for_packets(_: &Queue) {
    let mut arguments = private::arguments(OFlag::empty());
    arguments.mode = 1;
    let ends = private::ask(private::handle().as_fd(), &mut arguments);
    let (reader, writer) = ends.expect("IOC_PAIR with mode 1");
    expect("mode", private::mode(&reader), 1);
    writer.write_all(b"ab");
    writer.write_all(b"cd");
    expect("read", reader.read(100), Ok(b"ab".to_vec()));
}

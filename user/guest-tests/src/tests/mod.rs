// SPDX-License-Identifier: MIT

//! The facts. Each file opens with its table: a sentence of what a queue must do, and below it the
//! tests that prove it. A function that is in no table does not compile without a warning.

mod bad_input;
mod broken_pipe;
mod clone_node;
mod compat;
mod epoll;
mod fasync;
mod flags;
mod halves;
mod herd;
mod ioctl;
mod lessons;
mod lifetime;
mod limits;
mod module;
mod open;
mod packet;
mod packet_mode;
mod pair;
mod poll;
mod posted;
mod read;
mod records;
mod removal;
mod reopen;
mod resize;
mod seek;
mod splice;
mod timeout;
mod trace;
mod transfer;
mod transports;
mod uring;
mod wakeups;
mod write;

use crate::harness::Test;

/// All tables, in the order in which they run.
pub const SECTIONS: &[&[Test]] = &[
    open::TESTS,
    pair::TESTS,
    clone_node::TESTS,
    reopen::TESTS,
    lifetime::TESTS,
    flags::TESTS,
    read::TESTS,
    write::TESTS,
    broken_pipe::TESTS,
    poll::TESTS,
    epoll::TESTS,
    uring::TESTS,
    wakeups::TESTS,
    herd::TESTS,
    fasync::TESTS,
    timeout::TESTS,
    ioctl::TESTS,
    resize::TESTS,
    limits::TESTS,
    compat::TESTS,
    packet::TESTS,
    packet_mode::TESTS,
    records::TESTS,
    splice::TESTS,
    seek::TESTS,
    bad_input::TESTS,
    transfer::TESTS,
    crate::differential::TESTS,
    transports::TESTS,
    posted::TESTS,
    halves::TESTS,
    trace::TESTS,
    removal::TESTS,
    lessons::TESTS,
    module::TESTS,
];

// SPDX-License-Identifier: MIT

//! What the tests are made of: a queue and its ends, actors that can be watched asleep, memory that
//! faults on purpose, and the bare system calls.

pub mod actor;
pub mod bytes;
pub mod carry;
pub mod cgroup;
pub mod compat;
pub mod descriptors;
pub mod edu;
pub mod end;
pub mod expect;
pub mod memory;
pub mod module;
pub mod monitor;
pub mod needs;
pub mod observe;
pub mod page_fault;
pub mod private;
pub mod process;
pub mod raw;
pub mod registers;
pub mod schedule;
pub mod sigio;
pub mod signals;
pub mod subject;
pub mod transport;
pub mod uring;

/// Everything that almost every test uses.
pub mod prelude {
    pub use super::actor::Actor;
    pub use super::bytes::pattern;
    pub use super::end::{End, Mode};
    pub use super::expect::{expect, expect_bytes};
    pub use super::observe::Call;
    pub use super::subject::{Queue, Subject};
    pub(crate) use crate::differences;
    pub(crate) use crate::harness::{device, each, named, ours, plain, private, unnamed};
    pub use crate::harness::{says, section, Test};
    pub use nix::errno::Errno;
    pub use nix::fcntl::OFlag;
}

// SPDX-License-Identifier: GPL-2.0

//! The rules of a pipe queue, as pure functions and small state machines.
//!
//! Nothing here knows the kernel: only `core` is used, nothing sleeps, nothing is locked, nothing is
//! unsafe. `pipe.rs` wraps these rules in locks and wait queues; the user crate `kpipe-model` mounts
//! the same files and tests them on the host.

pub mod ends;
// The bounds of buckets are for user space.
#[allow(dead_code)]
pub mod histogram;
pub mod link;
pub mod packet;
pub mod ring;

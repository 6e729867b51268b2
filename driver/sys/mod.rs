// SPDX-License-Identifier: GPL-2.0

//! The only rooms with `unsafe`: each wraps one facility of the C side behind a safe type.
//!
//! - [`barrier`]: memory barriers.
//! - [`chardev`]: a character-device region with its class and nodes, file operations from a trait.
//! - [`request`]: one open or one read or write call, as the VFS hands it over.
//! - [`ring`]: the memory of a byte ring between one reader and one writer at a time.
//! - [`wait`]: a wait queue with keys, exclusive sleepers and counters, shared with poll.
//! - [`task`]: the calling task: signals and capabilities.
//! - [`user`]: structures of the interface to and from user memory.

pub mod barrier;
pub mod chardev;
pub mod request;
pub mod ring;
pub mod task;
pub mod user;
pub mod wait;

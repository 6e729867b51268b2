// SPDX-License-Identifier: GPL-2.0

//! The only rooms with `unsafe`: each wraps one facility of the C side behind a safe type.
//!
//! - [`account`]: memory of queues, counted per user.
//! - [`atomic`]: atomic integers and barriers without calls into C.
//! - [`chardev`]: a character-device region with its class and nodes.
//! - [`fasync`]: who gets `SIGIO`.
//! - [`fops`]: file operations from a trait.
//! - `memory`: the memory of a ring.
//! - [`pairfs`]: pairs of descriptors without a name.
//! - [`request`]: one open or one read or write call, as the VFS hands it over.
//! - [`ring`]: a byte ring between one reader and one writer at a time.
//! - `splice`: splice(2) and sendfile(2) with real pipes.
//! - [`task`]: the calling task: signals and capabilities.
//! - [`user`]: structures of the interface to and from user memory.
//! - [`wait`]: a wait queue with exclusive sleepers, deadlines, counters and poll keys.

pub mod account;
pub mod atomic;
pub mod chardev;
pub mod fasync;
pub mod fops;
mod memory;
pub mod pairfs;
pub mod request;
pub mod ring;
mod splice;
pub mod task;
pub mod user;
pub mod wait;

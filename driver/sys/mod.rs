// SPDX-License-Identifier: GPL-2.0

//! The only rooms with `unsafe`: each wraps one facility of the C side behind a safe type.
//!
//! - [`atomic`]: atomic integers and barriers without calls into C.
//! - [`chardev`]: a character-device region with its class and nodes, file operations from a trait.
//! - [`request`]: one open or one read or write call, as the VFS hands it over.
//! - [`ring`]: the memory of a byte ring between one reader and one writer at a time.
//! - [`wait`]: a wait queue with exclusive sleepers, counters and poll keys.
//! - `splice`: splice(2) and sendfile(2) with real pipes.
//! - [`task`]: the calling task: signals and capabilities.
//! - [`user`]: structures of the interface to and from user memory.

pub mod atomic;
pub mod chardev;
pub mod request;
pub mod ring;
mod splice;
pub mod task;
pub mod user;
pub mod wait;

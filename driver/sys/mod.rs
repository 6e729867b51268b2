// SPDX-License-Identifier: GPL-2.0

//! The only rooms with `unsafe`: each wraps one facility of the C side behind a safe type.
//!
//! - [`account`]: memory of queues, counted per user.
//! - [`atomic`]: atomic integers and barriers without calls into C.
//! - [`chardev`]: a character-device region with its class and nodes.
//! - [`clock`]: the time.
//! - [`deferred`]: the workqueues of bottom halves.
//! - [`dma`]: memory that a device reads and writes.
//! - [`errno`]: error numbers that 7.2 does not have.
//! - [`fasync`]: who gets `SIGIO`.
//! - [`fops`]: file operations from a trait.
//! - [`irq`]: an interrupt with a hard handler and a thread.
//! - `memory`: the memory of a ring.
//! - [`mmio`]: the registers of a PCI device.
//! - [`pairfs`]: pairs of descriptors without a name.
//! - [`pci`]: a PCI driver, and what its devices are made ready with.
//! - [`request`]: one open or one read or write call, as the VFS hands it over.
//! - [`ring`]: a byte ring between one reader and one writer at a time.
//! - [`spin`]: a spinlock that interrupt handlers may take.
//! - `splice`: splice(2) and sendfile(2) with real pipes.
//! - [`task`]: the calling task: signals and capabilities.
//! - [`timer`]: a high-resolution timer.
//! - [`trace`]: the tracepoints.
//! - [`user`]: structures of the interface to and from user memory.
//! - [`wait`]: a wait queue with exclusive sleepers, deadlines, counters and poll keys.

pub mod account;
pub mod atomic;
pub mod chardev;
pub mod clock;
pub mod deferred;
pub mod dma;
pub mod errno;
pub mod fasync;
pub mod fops;
pub mod irq;
mod memory;
pub mod mmio;
pub mod pairfs;
pub mod pci;
pub mod request;
pub mod ring;
pub mod spin;
mod splice;
pub mod task;
pub mod timer;
pub mod trace;
pub mod user;
pub mod wait;

// SPDX-License-Identifier: MIT

//! Queues of the kpipe kernel module, for Rust programs.
//!
//! A [`Queue`] names a device such as `/dev/kpipe0`. Opening it gives one of its ends: a [`Reader`]
//! or a [`Writer`], which behave as the ends of a named FIFO do (fifo(7)): opening waits for a
//! partner, reading an empty queue and writing a full one block, reading gives 0 after the last
//! writer closed. A [`Monitor`] only asks and sets. All of them are [`Control`]s. [`PairOptions`] gives
//! both ends of a queue without a name.
//!
//! ```no_run
//! use kpipe::{Queue, Wait};
//! use std::io::{Read, Write};
//!
//! // One process:
//! let mut writer = Queue::number(0).writer(Wait::Block)?;
//! writer.write_all(b"hello")?;
//!
//! // Another:
//! let mut reader = Queue::number(0).reader(Wait::Block)?;
//! let mut text = String::new();
//! reader.read_to_string(&mut text)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

// One definition for both sides: it looks for `crate::uapi`. Filling buckets is the driver's.
#[allow(dead_code)]
#[path = "../../../driver/model/histogram.rs"]
mod buckets;
pub mod channel;
mod control;
mod ends;
mod error;
mod histogram;
mod pair;
mod queue;
mod transport;

pub use control::{Control, Monitor};
pub use ends::{Reader, Writer};
pub use error::{Error, Result};
pub use histogram::percentile_ns;
use kpipe_abi::uapi;
pub use kpipe_abi::uapi::{
    Counters, Histogram, Info, Stages, DEFAULT_CAPACITY_BYTES, MAX_CAPACITY_BYTES,
    MIN_CAPACITY_BYTES, MODE_PACKET, PIPE_BUF_BYTES, PRIVATE_INDEX, UNPRIVILEGED_CAPACITY_BYTES,
};
pub use pair::{Mode, PairOptions};
pub use queue::{Queue, Wait};
pub use transport::{BottomHalf, Carrier, Transport};

// SPDX-License-Identifier: MIT

//! What two parties say to each other over a [channel](kpipe::channel), in three layers:
//!
//! | layer | here | what it adds to the one below |
//! |---|---|---|
//! | calls | [`rpc`], [`demo`] | typed arguments and results, errors that travel, timeouts |
//! | requests | [`Kind`], the number of a [`Frame`] | which response belongs to which request |
//! | frames | [`Frame`], [`Decoder`], [`FrameReader`] | where a message begins and ends, and how long it may be |
//!
//! `docs/protocol.md` has the bytes and the state machines. Nothing here trusts the peer: a frame that
//! is broken, too long or too slow is refused with a [`FrameError`] that says why, and costs at most
//! the memory that its [`Limit`] allows.

mod decoder;
pub mod demo;
mod frame;
mod reader;
pub mod rpc;

pub use decoder::Decoder;
pub use frame::{Broken, Frame, Kind, Limit, FLAGS, HEADER_BYTES, NUMBER_BYTES, VERSION};
pub use reader::{write_frame, FrameError, FrameReader};

// SPDX-License-Identifier: MIT

//! [`PairOptions`]: two ends of a queue without a name, as pipe(2) gives them.

use crate::{Error, Queue, Reader, Result, Wait, Writer};
use kpipe_abi::uapi;
use nix::fcntl::OFlag;

/// What a private queue shall be. The default is what pipe2(2) gives with `O_CLOEXEC`.
///
/// ```no_run
/// use std::io::{Read, Write};
///
/// let (mut reader, mut writer) = kpipe::PairOptions::default().open()?;
/// writer.write_all(b"hello")?;
/// drop(writer);
/// let mut text = String::new();
/// reader.read_to_string(&mut text)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct PairOptions {
    /// Bytes that fit into the queue; `None` for what the module gives.
    pub capacity_bytes: Option<u64>,
    /// [`Wait::Never`]: reads and writes of both ends fail instead of sleeping (`O_NONBLOCK`).
    pub wait: Wait,
    /// What a write becomes.
    pub mode: Mode,
}

/// What a write to a queue becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A part of the stream of bytes.
    Stream,
    /// A packet (of up to [`crate::PIPE_BUF_BYTES`] bytes; a longer write is split). One read takes one
    /// packet, and discards what does not fit into its buffer.
    Packet,
}

impl Mode {
    /// The number that the driver has for it.
    pub(crate) fn number(self) -> u32 {
        match self {
            Mode::Stream => uapi::MODE_STREAM,
            Mode::Packet => uapi::MODE_PACKET,
        }
    }
}

impl Default for PairOptions {
    fn default() -> Self {
        Self {
            capacity_bytes: None,
            wait: Wait::Block,
            mode: Mode::Stream,
        }
    }
}

impl PairOptions {
    /// Makes the queue and opens both ends. They are closed on exec(3).
    ///
    /// # Errors
    /// [`Error::NotLoaded`], [`Error::PermissionDenied`] for the clone node `/dev/kpipe`;
    /// [`Error::CapacityNotPermitted`] and [`Error::CapacityTooLarge`] above the limits.
    pub fn open(self) -> Result<(Reader, Writer)> {
        let node = Queue::clone_node();
        let clone = node.control()?;
        let mut flags = OFlag::O_CLOEXEC;
        if self.wait == Wait::Never {
            flags |= OFlag::O_NONBLOCK;
        }
        let wanted = uapi::Pair {
            flags: flags.bits() as u32,
            // 0 would ask for the usual one; the smallest there is, is what it means here.
            capacity_bytes: self.capacity_bytes.map_or(0, |bytes| bytes.max(1)),
            mode: self.mode.number(),
            ..Default::default()
        };
        let ((read_fd, write_fd), _) = kpipe_abi::pair(&clone, wanted)
            .map_err(|errno| Error::of_pair(&node, wanted.capacity_bytes, errno))?;
        Ok((
            Reader::new(node.clone(), read_fd),
            Writer::new(node, write_fd),
        ))
    }
}

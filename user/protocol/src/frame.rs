// SPDX-License-Identifier: MIT

//! [`Frame`]: one message, and its bytes. The [`Decoder`](crate::Decoder) turns bytes back into frames.
//!
//! ```text
//!  0        1        2                 4                                   8               16
//! +--------+--------+-----------------+-----------------------------------+---------------+----------
//! |version | kind   | flags           | length of what follows            | number        | body ...
//! +--------+--------+-----------------+-----------------------------------+---------------+----------
//! ```
//!
//! All numbers are in network byte order: the most significant byte first.

use kpipe::channel::{Carries, MESSAGE_BYTES};

/// The only version there is.
pub const VERSION: u8 = 1;

/// No flag has a meaning yet, so none may be set.
pub const FLAGS: u16 = 0;

/// Version, kind, flags, length.
pub const HEADER_BYTES: usize = 8;

/// The request's number; the length counts it.
pub const NUMBER_BYTES: usize = 8;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: Kind,
    /// Of the request that it is or answers. The asking side counts from 1; 0 is nobody's request: an error
    /// with this number is about the channel as a whole, and the last frame on it.
    pub number: u64,
    /// What the layer above says.
    pub body: Vec<u8>,
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Asks for one response or error with its number.
    Request = 1,
    /// Answers a request.
    Response = 2,
    /// Answers a request that failed, or with number 0 ends the channel.
    Error = 3,
    /// Of `kpipe relay`, which has no requests: the number is a position, see `docs/relay.md`.
    Relay = 4,
}

/// The largest length that a header may name: bytes of number and body together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit(u32);

/// Why bytes are no frame. Nothing after them can be trusted, as nobody knows where the next frame begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Broken {
    /// Not ours: another version, or not this protocol at all.
    #[error("a frame of version {0} came, this side speaks {VERSION}: the peer speaks another protocol, or a newer version")]
    Version(u8),
    /// No such kind.
    #[error("a frame of kind {0} came, which version {VERSION} does not have")]
    Kind(u8),
    /// A flag that this version gives no meaning.
    #[error("a frame with flags {0:#06x} came, of which version {VERSION} has none")]
    Flags(u16),
    /// Longer than allowed. Nothing of it was read or kept.
    #[error("a frame of {length_bytes} bytes came, {limit_bytes} are allowed")]
    TooLong {
        /// What the header says.
        length_bytes: u32,
        /// What is allowed.
        limit_bytes: u32,
    },
    /// Too short for a request's number.
    #[error("a frame of {length_bytes} bytes came, its number alone has {NUMBER_BYTES}")]
    TooShort {
        /// What the header says.
        length_bytes: u32,
    },
    /// The peer ended in the middle.
    #[error("the peer ended after {got_bytes} bytes of a frame of {}", wanted(*wanted_bytes))]
    Cut {
        /// Bytes that came, with the header.
        got_bytes: usize,
        /// With the header; `None` if not even that came.
        wanted_bytes: Option<usize>,
    },
    /// A message with more bytes than its frame.
    #[error("a message has {0} bytes behind its frame: one message is one frame")]
    Trailing(usize),
    /// A frame that this side does not wait for.
    #[error("a {kind:?} with number {number} came, which nobody waits for")]
    Unexpected {
        /// What came.
        kind: Kind,
        /// With this number.
        number: u64,
    },
}

impl Broken {
    /// Somebody answers who was not asked. Among messages nothing may be said to that: two servers, one of which is
    /// taken for a client, would answer each other's errors for ever.
    pub fn is_an_answer(&self) -> bool {
        matches!(
            self,
            Self::Unexpected {
                kind: Kind::Response | Kind::Error,
                ..
            }
        )
    }
}

fn wanted(bytes: Option<usize>) -> String {
    bytes.map_or("unknown length".to_owned(), |bytes| bytes.to_string())
}

impl Frame {
    /// Appends its bytes to `out`.
    ///
    /// # Errors
    /// [`Broken::TooLong`], and `out` is as before: the peer would refuse it.
    pub fn encode(&self, limit: Limit, out: &mut Vec<u8>) -> Result<(), Broken> {
        let length = limit.length_of(self.body.len())?;
        out.reserve(HEADER_BYTES + length as usize);
        out.extend([VERSION, self.kind as u8]);
        out.extend(FLAGS.to_be_bytes());
        out.extend(length.to_be_bytes());
        out.extend(self.number.to_be_bytes());
        out.extend(&self.body);
        Ok(())
    }
}

impl Kind {
    /// The kind with this number on the wire.
    pub(crate) fn from_wire(kind: u8) -> Result<Self, Broken> {
        [Self::Request, Self::Response, Self::Error, Self::Relay]
            .into_iter()
            .find(|known| *known as u8 == kind)
            .ok_or(Broken::Kind(kind))
    }
}

impl Limit {
    /// At most this many bytes of number and body; at least a number.
    pub fn bytes(limit_bytes: u32) -> Self {
        Self(limit_bytes.max(NUMBER_BYTES as u32))
    }

    /// As large as the channel and the default allow.
    pub fn of(carries: Carries) -> Self {
        match carries {
            Carries::Bytes => Self::default(),
            Carries::Messages => Self((MESSAGE_BYTES - HEADER_BYTES) as u32),
        }
    }

    /// What a header may say.
    pub fn length_bytes(self) -> u32 {
        self.0
    }

    /// A body may have at most so many bytes.
    pub fn body_bytes(self) -> usize {
        self.0 as usize - NUMBER_BYTES
    }

    /// What the header of such a body says.
    fn length_of(self, body_bytes: usize) -> Result<u32, Broken> {
        let length_bytes =
            u32::try_from(body_bytes.saturating_add(NUMBER_BYTES)).unwrap_or(u32::MAX);
        self.check(length_bytes)?;
        Ok(length_bytes)
    }

    /// Whether a header may say so.
    pub(crate) fn check(self, length_bytes: u32) -> Result<(), Broken> {
        if length_bytes > self.0 {
            return Err(Broken::TooLong {
                length_bytes,
                limit_bytes: self.0,
            });
        }
        if (length_bytes as usize) < NUMBER_BYTES {
            return Err(Broken::TooShort { length_bytes });
        }
        Ok(())
    }
}

impl Default for Limit {
    /// 1 MiB.
    fn default() -> Self {
        Self(1 << 20)
    }
}

// SPDX-License-Identifier: MIT

//! [`Message`]: what the two sides of a relay say to each other, each in one frame of `kpipe-protocol`.
//! `docs/relay.md` lists them. A frame's number is a position, bytes of the stream before it (of a sign of life: a
//! time); the first byte of its body says what it is.

use super::{Error, Result};
use kpipe_protocol::{Frame, Kind, Limit, NUMBER_BYTES};
use std::sync::Arc;

/// Most bytes of one [`Piece`], as most of a queue's default capacity. A read takes no more.
pub const PIECE_BYTES: usize = kpipe::DEFAULT_CAPACITY_BYTES as usize;

/// What the frames are limited to: a piece with its tag, and the frame's number.
pub fn limit() -> Limit {
    Limit::bytes((PIECE_BYTES + 1 + NUMBER_BYTES) as u32)
}

/// One side to the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The first one on every connection, from both sides.
    Hello(Hello),
    /// The receiving side's queue has a reader.
    Ready,
    /// A part of the stream, or a packet.
    Data {
        /// Bytes of the stream before it.
        position: u64,
        /// What was read at once.
        piece: Piece,
    },
    /// So many bytes are in the queue there.
    Ack(u64),
    /// The queue here is at its end of file after so many bytes.
    End(u64),
    /// All of them are in the queue there, and its write end is closed.
    Done(u64),
    /// The last reader there has gone. So many bytes had come into its queue.
    Gone(u64),
    /// Nothing new, but the connection lives. After so many milliseconds without a word it would not, for this side.
    Alive(u64),
    /// The stream cannot go on; in words for the user there.
    Refused(String),
}

/// Who somebody is, and how far they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Which side.
    pub role: Role,
    /// Made by chance by the sending side; 0 is the receiving side that has none yet.
    pub stream: u64,
    /// Sending: whether this stream has begun, so that only who has its beginning can take the rest.
    pub has_begun: bool,
    /// Sending: bytes acknowledged. Receiving: bytes that have come.
    pub position: u64,
}

/// A side of the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    /// Reads its queue.
    Sending = 1,
    /// Writes its queue.
    Receiving = 2,
}

/// What one read(2) gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Whether it is one packet.
    pub unit: Unit,
    /// The bytes, shared with who keeps them until they are acknowledged.
    pub bytes: Arc<[u8]>,
}

/// What the bytes of a piece are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A part of a stream.
    Bytes,
    /// A packet, to be written as one.
    Packet,
}

/// The first byte of a body.
mod tag {
    pub const HELLO: u8 = 1;
    pub const READY: u8 = 2;
    pub const BYTES: u8 = 3;
    pub const PACKET: u8 = 4;
    pub const ACK: u8 = 5;
    pub const END: u8 = 6;
    pub const DONE: u8 = 7;
    pub const GONE: u8 = 8;
    pub const ALIVE: u8 = 9;
    pub const REFUSED: u8 = 10;
}

impl Message {
    /// Appends its frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (tag, number, rest) = match self {
            Self::Hello(hello) => {
                let mut rest = vec![hello.role as u8, u8::from(hello.has_begun)];
                rest.extend(hello.stream.to_be_bytes());
                (tag::HELLO, hello.position, rest)
            }
            Self::Ready => (tag::READY, 0, Vec::new()),
            Self::Data { position, piece } => {
                let tag = match piece.unit {
                    Unit::Bytes => tag::BYTES,
                    Unit::Packet => tag::PACKET,
                };
                (tag, *position, piece.bytes.to_vec())
            }
            Self::Ack(position) => (tag::ACK, *position, Vec::new()),
            Self::End(position) => (tag::END, *position, Vec::new()),
            Self::Done(position) => (tag::DONE, *position, Vec::new()),
            Self::Gone(position) => (tag::GONE, *position, Vec::new()),
            Self::Alive(silence) => (tag::ALIVE, *silence, Vec::new()),
            Self::Refused(words) => (tag::REFUSED, 0, words.as_bytes().to_vec()),
        };
        let mut body = vec![tag];
        body.extend(rest);
        let frame = Frame {
            kind: Kind::Relay,
            number,
            body,
        };
        frame
            .encode(limit(), out)
            .expect("a message is no longer than a piece");
    }

    /// What a frame says.
    ///
    /// # Errors
    /// [`Error::Protocol`].
    pub fn decode(frame: &Frame) -> Result<Self> {
        let (Kind::Relay, [tag, rest @ ..]) = (frame.kind, &frame.body[..]) else {
            return Err(Error::protocol(format!("{:?}", frame.kind)));
        };
        let data = |unit| Self::Data {
            position: frame.number,
            piece: Piece {
                unit,
                bytes: rest.into(),
            },
        };
        Ok(match *tag {
            tag::HELLO => Self::Hello(Hello::decode(frame.number, rest)?),
            tag::BYTES => data(Unit::Bytes),
            tag::PACKET => data(Unit::Packet),
            tag::REFUSED => Self::Refused(String::from_utf8_lossy(rest).into_owned()),
            _ if !rest.is_empty() => return Err(Error::protocol("a message that is too long")),
            tag::READY => Self::Ready,
            tag::ACK => Self::Ack(frame.number),
            tag::END => Self::End(frame.number),
            tag::DONE => Self::Done(frame.number),
            tag::GONE => Self::Gone(frame.number),
            tag::ALIVE => Self::Alive(frame.number),
            other => return Err(Error::protocol(format!("message {other}"))),
        })
    }
}

impl Hello {
    fn decode(position: u64, rest: &[u8]) -> Result<Self> {
        let wrong = || Error::protocol("a hello of another form");
        let [role, has_begun @ (0 | 1), stream @ ..] = rest else {
            return Err(wrong());
        };
        let role = [Role::Sending, Role::Receiving]
            .into_iter()
            .find(|known| *known as u8 == *role)
            .ok_or_else(wrong)?;
        Ok(Self {
            role,
            has_begun: *has_begun == 1,
            stream: u64::from_be_bytes(stream.try_into().map_err(|_| wrong())?),
            position,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kpipe_protocol::Decoder;

    #[test]
    fn every_message_survives_its_frame() {
        let piece = |unit| Piece {
            unit,
            bytes: vec![7; PIECE_BYTES].into(),
        };
        let hello = Hello {
            role: Role::Receiving,
            has_begun: true,
            stream: u64::MAX,
            position: 1 << 40,
        };
        let data = |unit| Message::Data {
            position: 5,
            piece: piece(unit),
        };
        let messages = [
            Message::Hello(hello),
            Message::Ready,
            data(Unit::Bytes),
            data(Unit::Packet),
            Message::Ack(1),
            Message::End(2),
            Message::Done(3),
            Message::Gone(4),
            Message::Alive(5),
            Message::Refused("no".into()),
        ];
        let mut bytes = Vec::new();
        messages.iter().for_each(|m| m.encode(&mut bytes));
        let (mut decoder, mut rest) = (Decoder::new(limit()), &bytes[..]);
        for message in messages {
            let frame = decoder.decode(&mut rest).unwrap().unwrap();
            assert_eq!(Message::decode(&frame).unwrap(), message);
        }
        assert!(rest.is_empty());
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let frame = |kind, body: &[u8]| Frame {
            kind,
            number: 0,
            body: body.to_vec(),
        };
        for frame in [
            frame(Kind::Relay, b""),
            frame(Kind::Relay, b"\x01"),
            frame(Kind::Relay, b"\x01\x01\x00short"),
            frame(Kind::Relay, b"\x01\x03\x00of none."),
            frame(Kind::Relay, b"\x01\x01\x02of none."),
            frame(Kind::Relay, b"\x05x"),
            frame(Kind::Relay, b"\x0b"),
            frame(Kind::Request, b"\x02"),
        ] {
            assert!(Message::decode(&frame).is_err(), "{frame:?}");
        }
    }
}

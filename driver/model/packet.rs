// SPDX-License-Identifier: GPL-2.0

//! Packets in a ring of bytes.
//!
//! A ring that nobody writes packets to holds bytes and nothing else. From the first packet on it holds
//! records: a header of [`HEADER_BYTES`] and that many bytes of data. A record is either one packet, or
//! a part of the stream: bytes written without `O_DIRECT` stay a stream, and are read as one.

use crate::uapi::PIPE_BUF_BYTES;

/// Bytes that a record takes in addition to its data.
pub const HEADER_BYTES: usize = 4;

/// What a record is part of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// The stream: no boundary at its ends.
    #[default]
    Stream,
    /// Itself alone: a read takes it as a whole, and a short one discards the rest.
    Packet,
}

/// One record, or what is left of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// What it is part of.
    pub kind: Kind,
    /// Bytes of data.
    pub len_bytes: usize,
}

/// The highest bit of a header: the record is a packet. The others are its length, and no ring is as
/// long as that (`MAX_CAPACITY_BYTES`).
const PACKET: u32 = 1 << 31;

impl Record {
    /// The header of this record, as it lies in the ring.
    pub fn header(self) -> [u8; HEADER_BYTES] {
        let flag = match self.kind {
            Kind::Stream => 0,
            Kind::Packet => PACKET,
        };
        (self.len_bytes as u32 | flag).to_ne_bytes()
    }

    /// The record behind a header.
    pub fn of_header(header: [u8; HEADER_BYTES]) -> Self {
        let word = u32::from_ne_bytes(header);
        Self {
            kind: if word & PACKET != 0 {
                Kind::Packet
            } else {
                Kind::Stream
            },
            len_bytes: (word & !PACKET) as usize,
        }
    }
}

/// Length of the next packet of a write that has `rest_bytes` left: longer ones are split, pipe(2).
pub fn next_packet_bytes(rest_bytes: usize) -> usize {
    rest_bytes.min(PIPE_BUF_BYTES)
}

/// Data that fits into `room_bytes` of the ring as one record.
pub fn data_room_bytes(room_bytes: usize) -> usize {
    room_bytes.saturating_sub(HEADER_BYTES)
}

/// Data among `queued_bytes` bytes of the ring that begin with the headers of `records` records. (One
/// that is partly read has lost its header already.)
pub fn data_bytes(queued_bytes: usize, records: u32) -> usize {
    queued_bytes - records as usize * HEADER_BYTES
}

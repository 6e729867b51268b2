// SPDX-License-Identifier: MIT

//! [`Decoder`]: from bytes to frames, wherever the bytes were cut. It does no I/O and knows no time, so
//! blocking readers ([`FrameReader`](crate::FrameReader)), an event loop, the property tests and the
//! fuzzer all drive the same code.

use crate::frame::{Broken, Frame, Kind, Limit, FLAGS, HEADER_BYTES, NUMBER_BYTES, VERSION};

/// Collects one frame at a time.
///
/// # Invariants
/// It holds at most one frame, and of that at most as many bytes as have come, doubled, and never more
/// than the limit: a header that promises much costs nothing until it delivers.
#[derive(Debug)]
pub struct Decoder {
    limit: Limit,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Of a header so many bytes are there.
    Header([u8; HEADER_BYTES], usize),
    /// The header was accepted.
    Payload {
        kind: Kind,
        length: usize,
        payload: Vec<u8>,
    },
    /// Where the next frame begins is not known any more.
    Broken(Broken),
}

/// What is allocated for a payload at first.
const FIRST_BYTES: usize = 4096;

impl Decoder {
    /// For frames up to `limit`.
    pub fn new(limit: Limit) -> Self {
        Self {
            limit,
            state: State::START,
        }
    }

    /// Takes from the front of `bytes` what belongs to the frame at hand. `None` means that all
    /// of `bytes` was taken and more is needed; otherwise call again with what is left.
    ///
    /// # Errors
    /// Why it is no frame, this time and from then on.
    pub fn decode(&mut self, bytes: &mut &[u8]) -> Result<Option<Frame>, Broken> {
        let result = self.step(bytes);
        if let Err(broken) = result {
            self.state = State::Broken(broken);
        }
        result
    }

    /// To be called at end of file.
    ///
    /// # Errors
    /// [`Broken::Cut`] in the middle of a frame, and what was wrong before.
    pub fn end(&self) -> Result<(), Broken> {
        match &self.state {
            State::Header(_, 0) => Ok(()),
            State::Header(_, got_bytes) => Err(Broken::Cut {
                got_bytes: *got_bytes,
                wanted_bytes: None,
            }),
            State::Payload {
                length, payload, ..
            } => Err(Broken::Cut {
                got_bytes: HEADER_BYTES + payload.len(),
                wanted_bytes: Some(HEADER_BYTES + length),
            }),
            State::Broken(broken) => Err(*broken),
        }
    }

    /// Whether a part of a frame is there, so that the rest should not be long in coming.
    pub fn is_inside_frame(&self) -> bool {
        !matches!(self.state, State::Header(_, 0) | State::Broken(_))
    }

    fn step(&mut self, bytes: &mut &[u8]) -> Result<Option<Frame>, Broken> {
        if let State::Header(header, got) = &mut self.state {
            let taken = take(bytes, HEADER_BYTES - *got);
            header[*got..][..taken.len()].copy_from_slice(taken);
            *got += taken.len();
            check_start(&header[..*got])?;
            if *got < HEADER_BYTES {
                return Ok(None);
            }
            self.state = accept(*header, self.limit)?;
        }
        match &mut self.state {
            State::Payload {
                kind,
                length,
                payload,
            } => {
                let taken = take(bytes, *length - payload.len());
                grow(payload, taken.len(), *length);
                payload.extend_from_slice(taken);
                if payload.len() < *length {
                    return Ok(None);
                }
                let frame = split(*kind, std::mem::take(payload));
                self.state = State::START;
                Ok(Some(frame))
            }
            State::Broken(broken) => Err(*broken),
            State::Header(..) => unreachable!("a whole header was accepted"),
        }
    }
}

impl State {
    const START: Self = Self::Header([0; HEADER_BYTES], 0);
}

/// The front of `bytes`, up to `wanted`.
fn take<'a>(bytes: &mut &'a [u8], wanted: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(wanted.min(bytes.len()));
    *bytes = rest;
    taken
}

/// What the first bytes of a header say: garbage is refused by its first byte, and not when eight have come.
fn check_start(header: &[u8]) -> Result<(), Broken> {
    match header.first() {
        Some(&version) if version != VERSION => return Err(Broken::Version(version)),
        _ => {}
    }
    if let Some(&kind) = header.get(1) {
        Kind::from_wire(kind)?;
    }
    Ok(())
}

fn accept(header: [u8; HEADER_BYTES], limit: Limit) -> Result<State, Broken> {
    let [_, kind, flags_high, flags_low, length @ ..] = header;
    let flags = u16::from_be_bytes([flags_high, flags_low]);
    if flags != FLAGS {
        return Err(Broken::Flags(flags));
    }
    let length = u32::from_be_bytes(length);
    limit.check(length)?;
    Ok(State::Payload {
        kind: Kind::from_wire(kind)?,
        length: length as usize,
        payload: Vec::new(),
    })
}

/// Doubles as a vector does, but not beyond `length`.
fn grow(payload: &mut Vec<u8>, more: usize, length: usize) {
    let needed = payload.len() + more;
    if needed > payload.capacity() {
        let wanted = needed.max(payload.capacity() * 2).max(FIRST_BYTES);
        payload.reserve_exact(wanted.min(length) - payload.len());
    }
}

fn split(kind: Kind, mut payload: Vec<u8>) -> Frame {
    let mut number = [0; NUMBER_BYTES];
    number.copy_from_slice(&payload[..NUMBER_BYTES]);
    payload.drain(..NUMBER_BYTES);
    Frame {
        kind,
        number: u64::from_be_bytes(number),
        body: payload,
    }
}

// SPDX-License-Identifier: MIT

//! [`FrameReader`] and [`write_frame`]: frames through whatever can be read and written. Called by the
//! RPC client, the blocking servers and anybody who wants frames without calls.

use crate::{Broken, Decoder, Frame, Limit, HEADER_BYTES};
use kpipe::channel::Carries;
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

/// Why there is no next frame.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The bytes are no frame.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// The peer began a frame and does not get on with it.
    #[error("the peer sent {got_bytes} bytes of a frame within {} s and did not finish it: it is too slow, or stuck", within.as_secs_f32())]
    Slow {
        /// Bytes that came.
        got_bytes: usize,
        /// How long it had.
        within: Duration,
    },
    /// What the kernel said to read(2).
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Reads frames.
#[derive(Debug)]
pub struct FrameReader<R> {
    source: R,
    decoder: Decoder,
    carries: Carries,
    limit: Limit,
    within: Option<Duration>,
    /// What was read and not decoded: `buffer[unread]`.
    buffer: Vec<u8>,
    unread: std::ops::Range<usize>,
}

/// Bytes for each read(2) of a stream.
const READ_BYTES: usize = 16 << 10;

impl<R: Read> FrameReader<R> {
    /// Of a stream, or of messages of which each is one frame.
    pub fn new(source: R, carries: Carries, limit: Limit) -> Self {
        let buffer_bytes = match carries {
            Carries::Bytes => READ_BYTES,
            // One more, to see that a message is too long.
            Carries::Messages => HEADER_BYTES + limit.length_bytes() as usize + 1,
        };
        Self {
            source,
            decoder: Decoder::new(limit),
            carries,
            limit,
            within: None,
            buffer: vec![0; buffer_bytes],
            unread: 0..0,
        }
    }

    /// A frame that has begun must be complete after this time, or it is [`FrameError::Slow`]. That is seen
    /// when `source` returns, so give `source` a timeout of this length too: it is for a peer that sends nothing.
    pub fn within(mut self, time: Duration) -> Self {
        self.within = Some(time);
        self
    }

    /// The next frame; `None` if the peer ended and nothing is missing.
    ///
    /// # Errors
    /// After [`FrameError::Broken`] or [`FrameError::Slow`] a stream is of no use any more. Of messages the next one may be
    /// good. [`FrameError::Io`] with [`io::ErrorKind::TimedOut`] between frames says only that nothing came.
    pub fn read_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        match self.carries {
            Carries::Bytes => self.next_of_stream(),
            Carries::Messages => self.next_message(),
        }
    }

    /// What it reads from, for who also writes there.
    pub fn get_mut(&mut self) -> &mut R {
        &mut self.source
    }

    fn next_of_stream(&mut self) -> Result<Option<Frame>, FrameError> {
        let mut began = None;
        let mut got_bytes = 0;
        loop {
            let mut bytes = &self.buffer[self.unread.clone()];
            let frame = self.decoder.decode(&mut bytes)?;
            got_bytes += self.unread.len() - bytes.len();
            self.unread.start = self.unread.end - bytes.len();
            if frame.is_some() {
                return Ok(frame);
            }
            if self.decoder.is_inside_frame() {
                let began = *began.get_or_insert_with(Instant::now);
                if let Some(within) = self.within.filter(|&within| began.elapsed() >= within) {
                    return Err(FrameError::Slow { got_bytes, within });
                }
            }
            match read_again_if_interrupted(&mut self.source, &mut self.buffer) {
                Ok(0) => {
                    self.decoder.end()?;
                    return Ok(None);
                }
                Ok(len) => self.unread = 0..len,
                Err(error) if error.kind() == io::ErrorKind::TimedOut && got_bytes > 0 => {
                    let within = began.map_or(Duration::ZERO, |began| began.elapsed());
                    return Err(FrameError::Slow { got_bytes, within });
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn next_message(&mut self) -> Result<Option<Frame>, FrameError> {
        let len = read_again_if_interrupted(&mut self.source, &mut self.buffer)?;
        if len == 0 {
            return Ok(None);
        }
        decode_message(&self.buffer[..len], self.limit)
            .map(Some)
            .map_err(Into::into)
    }
}

/// The frame that is all of `message`.
fn decode_message(mut message: &[u8], limit: Limit) -> Result<Frame, Broken> {
    let mut decoder = Decoder::new(limit);
    match decoder.decode(&mut message)? {
        Some(frame) if message.is_empty() => Ok(frame),
        Some(_) => Err(Broken::Trailing(message.len())),
        None => Err(decoder.end().expect_err("a frame is not complete")),
    }
}

fn read_again_if_interrupted(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match source.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Writes a frame, at once where there is room: on a channel of messages it is one message.
///
/// # Errors
/// [`FrameError::Broken`] if it is longer than `limit`: nothing was written then.
pub fn write_frame(
    to: &mut (impl Write + ?Sized),
    frame: &Frame,
    limit: Limit,
) -> Result<(), FrameError> {
    let mut bytes = Vec::new();
    frame.encode(limit, &mut bytes)?;
    Ok(to.write_all(&bytes)?)
}

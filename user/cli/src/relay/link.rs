// SPDX-License-Identifier: MIT

//! [`Link`]: one connection to the other side. It never sleeps; `pump.rs` polls it. Each side says something at
//! least every third of the time after which silence means that the other is gone.

use super::message::{limit, Message};
use super::{Error, Result};
use kpipe::channel::Channel;
use kpipe::Wait;
use kpipe_protocol::Decoder;
use nix::poll::PollFlags;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

/// See the file's head.
#[derive(Debug)]
pub struct Link {
    channel: Box<dyn Channel>,
    decoder: Decoder,
    input: Vec<u8>,
    /// Frames under way; the first `written` bytes are out.
    output: Vec<u8>,
    written: usize,
    heard: Instant,
    /// Its first message has come whole. Before that it may be anybody, and bytes that drip are no sign of life.
    is_greeted: bool,
    said: Instant,
    silence: Duration,
}

/// Bytes per read(2) and write(2); in between the queue has its turn.
const BLOCK_BYTES: usize = 128 * 1024;

impl Link {
    /// A connection that was just made.
    pub fn new(mut channel: Box<dyn Channel>, silence: Duration) -> Result<Self> {
        channel.set_wait(Wait::Never)?;
        let now = Instant::now();
        Ok(Self {
            channel,
            decoder: Decoder::new(limit()),
            input: vec![0; BLOCK_BYTES],
            output: Vec::new(),
            written: 0,
            heard: now,
            is_greeted: false,
            said: now,
            silence,
        })
    }

    /// What to poll, and for what.
    pub fn polls(&self) -> [(BorrowedFd<'_>, PollFlags); 2] {
        let out = if self.is_flushed() {
            PollFlags::empty()
        } else {
            PollFlags::POLLOUT
        };
        [
            (self.channel.rx(), PollFlags::POLLIN),
            (self.channel.tx(), out),
        ]
    }

    /// When to call [`Link::keep_alive`] at the latest.
    pub fn deadline(&self) -> Instant {
        (self.heard + self.silence).min(self.said + self.silence / 3)
    }

    /// Says that we live, if nothing was said for long.
    ///
    /// # Errors
    /// [`Error::Silent`].
    pub fn keep_alive(&mut self) -> Result<()> {
        let now = Instant::now();
        if now >= self.heard + self.silence {
            return Err(Error::Silent {
                seconds: self.silence.as_secs_f32(),
            });
        }
        if now >= self.said + self.silence / 3 {
            self.said = now;
            // What waits to be sent is a sign of life itself.
            if self.is_flushed() {
                Message::Alive.encode(&mut self.output);
            }
        }
        Ok(())
    }

    /// Reads what is there, and gives each message to `deliver`.
    ///
    /// # Errors
    /// [`Error::Closed`], what read(2) says, what `deliver` does.
    pub fn receive(&mut self, mut deliver: impl FnMut(Message) -> Result<()>) -> Result<()> {
        let length = match self.channel.read(&mut self.input) {
            // In the middle of a frame or not: what a machine that goes leaves behind.
            Ok(0) => return Err(Error::Closed),
            Ok(length) => length,
            Err(error) if is_passing(&error) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let mut bytes = &self.input[..length];
        while let Some(frame) = self.decoder.decode(&mut bytes)? {
            deliver(Message::decode(&frame)?)?;
            self.is_greeted = true;
        }
        if self.is_greeted {
            self.heard = Instant::now();
        }
        Ok(())
    }

    /// Writes what `next` has to say, until it has nothing more or the connection takes no more.
    pub fn send(&mut self, mut next: impl FnMut() -> Option<Message>) -> Result<()> {
        loop {
            while self.output.len() < BLOCK_BYTES {
                match next() {
                    Some(message) => message.encode(&mut self.output),
                    None => break,
                }
            }
            if self.is_flushed() {
                return Ok(());
            }
            match self.channel.write(&self.output[self.written..]) {
                Ok(length) => self.written += length,
                Err(error) if is_passing(&error) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
            self.said = Instant::now();
            if self.is_flushed() {
                self.output.clear();
                self.written = 0;
            }
        }
    }

    /// Tells the other side why, if it can be told at once.
    pub fn refuse(mut self, why: &Error) {
        let mut words = Some(Message::Refused(why.to_string()));
        // It will see that the connection ends.
        let _ = self.send(|| words.take());
    }

    /// Who is connected.
    pub fn names(&self) -> kpipe::channel::Names {
        self.channel.names()
    }

    fn is_flushed(&self) -> bool {
        self.written == self.output.len()
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

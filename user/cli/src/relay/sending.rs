// SPDX-License-Identifier: MIT

//! [`Sending`]: the state of the side that reads a queue. No I/O and no time: `read_side.rs` gives it what
//! it reads and the connection what it says, the tests drive it without either.

use super::message::{Hello, Message, Piece, Role};
use super::pump::Machine;
use super::{Error, Result};
use std::collections::VecDeque;

/// Most bytes that may be on their way, in neither queue: when they are not acknowledged, the queue here is
/// not read, so it fills and its writer sleeps.
pub const WINDOW_BYTES: u64 = 256 * 1024;

/// The same in pieces, for small packets.
pub const WINDOW_PIECES: usize = 1024;

/// See the file's head.
///
/// # Invariants
/// `kept` holds what was taken and not acknowledged, in order, each with its position; its bytes end at `taken`.
#[derive(Debug)]
pub struct Sending {
    stream: u64,
    /// `None` without a connection.
    greeting: Option<Greeting>,
    /// Whether the receiving side's queue has a reader. It has taken this stream for its own then; before,
    /// nothing is read, and any other could take it.
    is_ready: bool,
    kept: VecDeque<(u64, Piece)>,
    acked: u64,
    taken: u64,
    /// How many of `kept` were sent on this connection.
    sent: usize,
    end: End,
    outcome: Option<Outcome>,
}

/// Whose hello was on this connection. Nothing else is said before both were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Greeting {
    /// Ours.
    pub is_said: bool,
    /// Theirs.
    pub is_heard: bool,
}

/// How far the end of file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Not seen.
    Open,
    /// Seen, and to be said on this connection.
    Seen,
    Said,
}

/// How a stream ends that ends as it should, for either side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything up to the end of file is in the queue there.
    Complete,
    /// The reader there has gone before.
    Gone,
}

impl Machine for Sending {
    fn connected(&mut self) {
        self.greeting = Some(Greeting::default());
        self.sent = 0;
        if self.end == End::Said {
            self.end = End::Seen;
        }
    }

    fn disconnected(&mut self) {
        self.greeting = None;
    }

    fn receive(&mut self, message: Message) -> Result<()> {
        let is_heard = self.greeting.is_some_and(|greeting| greeting.is_heard);
        match message {
            Message::Refused(words) => return Err(Error::Refused { words }),
            Message::Hello(hello) if !is_heard => self.greet(hello)?,
            Message::Alive(_) if is_heard => {}
            Message::Ready if is_heard => self.is_ready = true,
            Message::Ack(position) if is_heard => self.acknowledge(position)?,
            Message::Gone(position) if is_heard => {
                self.acknowledge(position)?;
                self.outcome = Some(Outcome::Gone);
            }
            Message::Done(position) if is_heard && self.end == End::Said => {
                self.acknowledge(position)?;
                if self.acked != self.taken {
                    return Err(Error::protocol("done, but not with all bytes"));
                }
                self.outcome = Some(Outcome::Complete);
            }
            message => return Err(Error::unexpected(&message)),
        }
        Ok(())
    }

    fn next(&mut self) -> Option<Message> {
        let greeting = self.greeting.as_mut()?;
        if !greeting.is_said {
            greeting.is_said = true;
            return Some(Message::Hello(Hello {
                role: Role::Sending,
                has_begun: self.is_ready,
                stream: self.stream,
                position: self.acked,
            }));
        }
        if !greeting.is_heard {
            return None;
        }
        if let Some((position, piece)) = self.kept.get(self.sent).cloned() {
            self.sent += 1;
            return Some(Message::Data { position, piece });
        }
        (self.end == End::Seen).then(|| {
            self.end = End::Said;
            Message::End(self.taken)
        })
    }

    fn is_up(&self) -> bool {
        self.greeting
            .is_some_and(|greeting| greeting.is_said && greeting.is_heard)
    }
}

impl Sending {
    /// A stream that has not begun. `stream` is any number but 0 that no other stream is likely to have.
    pub fn new(stream: u64) -> Self {
        Self {
            stream,
            greeting: None,
            is_ready: false,
            kept: VecDeque::new(),
            acked: 0,
            taken: 0,
            sent: 0,
            end: End::Open,
            outcome: None,
        }
    }

    /// Whether the queue shall be read: not before there is a reader there, not without a connection, and not
    /// when the window is full.
    pub fn wants_to_read(&self) -> bool {
        self.is_up()
            && self.is_ready
            && self.end == End::Open
            && self.taken - self.acked < WINDOW_BYTES
            && self.kept.len() < WINDOW_PIECES
    }

    /// This was read.
    pub fn take(&mut self, piece: Piece) {
        let position = self.taken;
        self.taken += len(&piece);
        self.kept.push_back((position, piece));
    }

    /// The queue is at its end of file.
    pub fn end_of_file(&mut self) {
        self.end = End::Seen;
    }

    /// How it ended, once it has.
    pub fn outcome(&self) -> Option<Outcome> {
        self.outcome
    }

    /// Bytes taken from the queue, and those of them that are in the queue there.
    pub fn taken_and_acked(&self) -> (u64, u64) {
        (self.taken, self.acked)
    }

    fn greet(&mut self, hello: Hello) -> Result<()> {
        if hello.role != Role::Receiving {
            return Err(Error::SameRole { role: hello.role });
        }
        match hello.stream {
            stream if stream == self.stream => {}
            // It has none, or one of which nothing has come, for which it may take ours.
            _ if !self.is_ready && hello.position == 0 => {}
            0 => return Err(Error::Restarted),
            _ => return Err(Error::OtherStream),
        }
        if !(self.acked..=self.taken).contains(&hello.position) {
            return Err(Error::protocol("a position that cannot be"));
        }
        // It has these, although perhaps not yet in the queue: no need to send them again.
        self.sent = self
            .kept
            .partition_point(|(start, _)| *start < hello.position);
        if self
            .kept
            .get(self.sent)
            .map_or(self.taken, |(start, _)| *start)
            != hello.position
        {
            return Err(Error::protocol("a position inside a piece"));
        }
        if let Some(greeting) = &mut self.greeting {
            greeting.is_heard = true;
        }
        Ok(())
    }

    fn acknowledge(&mut self, position: u64) -> Result<()> {
        let sent = self
            .kept
            .get(self.sent)
            .map_or(self.taken, |(start, _)| *start);
        if !(self.acked..=sent).contains(&position) {
            return Err(Error::protocol("an acknowledgement that cannot be"));
        }
        self.acked = position;
        let is_over = |(start, piece): &(u64, Piece)| start + len(piece) <= position;
        while self.kept.front().is_some_and(is_over) {
            self.kept.pop_front();
            self.sent -= 1;
        }
        Ok(())
    }
}

/// Bytes of a piece, as positions count them.
pub fn len(piece: &Piece) -> u64 {
    piece.bytes.len() as u64
}

// SPDX-License-Identifier: MIT

//! [`Receiving`]: the state of the side that writes a queue. No I/O and no time: `write_side.rs` tells it what
//! it could write and gives it what the connection says, the tests drive it without either.

use super::message::{Hello, Message, Piece, Role};
use super::pump::Machine;
use super::sending::{len, Greeting, Outcome, WINDOW_BYTES, WINDOW_PIECES};
use super::{Error, Result};
use std::collections::VecDeque;

/// See the file's head.
///
/// # Invariants
/// `waiting` holds what came and is not in the queue, in order; `front` bytes of its first piece are. So
/// `delivered` is `came` less what waits.
#[derive(Debug, Default)]
pub struct Receiving {
    /// 0 before there is one.
    stream: u64,
    /// `None` without a connection.
    greeting: Option<Greeting>,
    waiting: VecDeque<Piece>,
    front: usize,
    came: u64,
    delivered: u64,
    /// What was said on this connection.
    acked: u64,
    ready: Told,
    /// The sending side's queue is at its end of file.
    is_ended: bool,
    outcome: Option<Outcome>,
    /// Whether the outcome was said on this connection.
    is_outcome_told: bool,
}

/// Something that is said once on each connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Told {
    /// It is not so yet.
    #[default]
    Not,
    Due,
    Said,
}

impl Machine for Receiving {
    fn connected(&mut self) {
        self.greeting = Some(Greeting::default());
        self.is_outcome_told = false;
        self.acked = 0;
        if self.ready == Told::Said {
            self.ready = Told::Due;
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
            Message::Data { position, piece } if is_heard && !self.is_ended => {
                self.accept(position, piece)?;
            }
            Message::End(position) if is_heard => {
                if position != self.came {
                    return Err(Error::protocol("the end, but not after all bytes"));
                }
                self.is_ended = true;
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
                role: Role::Receiving,
                has_begun: false,
                stream: self.stream,
                position: self.came,
            }));
        }
        if !greeting.is_heard {
            return None;
        }
        if self.ready == Told::Due {
            self.ready = Told::Said;
            return Some(Message::Ready);
        }
        if let Some(outcome) = self.outcome.filter(|_| !self.is_outcome_told) {
            self.is_outcome_told = true;
            return Some(match outcome {
                Outcome::Complete => Message::Done(self.delivered),
                Outcome::Gone => Message::Gone(self.delivered),
            });
        }
        let new = self.delivered - self.acked;
        let is_due = new >= WINDOW_BYTES / 4 || (new > 0 && self.waiting.is_empty());
        (is_due && self.outcome.is_none()).then(|| {
            self.acked = self.delivered;
            Message::Ack(self.delivered)
        })
    }

    fn is_up(&self) -> bool {
        self.greeting
            .is_some_and(|greeting| greeting.is_said && greeting.is_heard)
    }
}

impl Receiving {
    /// The queue has a reader.
    pub fn queue_is_open(&mut self) {
        self.ready = Told::Due;
    }

    /// What is to be written next, and whether it is a packet.
    pub fn to_write(&self) -> Option<(&Piece, &[u8])> {
        let piece = self.waiting.front()?;
        Some((piece, &piece.bytes[self.front..]))
    }

    /// So many bytes of it were written.
    pub fn wrote(&mut self, bytes: usize) {
        self.delivered += bytes as u64;
        self.front += bytes;
        if self
            .waiting
            .front()
            .is_some_and(|piece| piece.bytes.len() == self.front)
        {
            self.waiting.pop_front();
            self.front = 0;
        }
    }

    /// Whether all has come and was written, so that the queue shall be closed.
    pub fn is_delivered(&self) -> bool {
        self.is_ended && self.waiting.is_empty()
    }

    /// The queue was closed: after all bytes, or as its last reader has gone.
    pub fn closed(&mut self, outcome: Outcome) {
        self.outcome = Some(outcome);
    }

    /// How it ended, once it has; and whether the other side was told on this connection.
    pub fn outcome(&self) -> Option<(Outcome, bool)> {
        self.outcome.map(|outcome| (outcome, self.is_outcome_told))
    }

    /// Bytes that came, and those of them that are in the queue.
    pub fn came_and_delivered(&self) -> (u64, u64) {
        (self.came, self.delivered)
    }

    fn greet(&mut self, hello: Hello) -> Result<()> {
        if hello.role != Role::Sending {
            return Err(Error::SameRole { role: hello.role });
        }
        if hello.stream != self.stream {
            if self.came > 0 || self.is_ended {
                return Err(Error::OtherStream);
            }
            // Of ours nothing has come, so another can take its place, from its beginning.
            if hello.has_begun {
                return Err(Error::Restarted);
            }
        }
        if hello.stream == 0 || hello.position > self.delivered {
            return Err(Error::protocol("a hello that cannot be"));
        }
        self.stream = hello.stream;
        self.acked = hello.position;
        if let Some(greeting) = &mut self.greeting {
            greeting.is_heard = true;
        }
        Ok(())
    }

    fn accept(&mut self, position: u64, piece: Piece) -> Result<()> {
        if position != self.came || piece.bytes.is_empty() {
            return Err(Error::protocol("data that does not follow"));
        }
        // What the other side may have on its way is less by what it has not heard of.
        let waiting = self.came - self.delivered;
        if waiting >= WINDOW_BYTES || self.waiting.len() >= WINDOW_PIECES {
            return Err(Error::protocol("more than the window"));
        }
        self.came += len(&piece);
        // Nobody will read it, and the other side will hear so.
        if self.outcome != Some(Outcome::Gone) {
            self.waiting.push_back(piece);
        }
        Ok(())
    }
}

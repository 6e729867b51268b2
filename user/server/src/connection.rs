// SPDX-License-Identifier: MIT

//! [`Connection`]: a handler on a channel. It never waits: it says what to wait for ([`Connection::need`]) and
//! until when ([`Connection::deadline`]), and whoever has waited calls [`Connection::advance`] or
//! [`Connection::expire`]. [`Connection::converse`] does that for one connection, the event model for many.
//!
//! Limits of time: a request must be complete, and each piece of an answer be taken, within the timeout; a
//! client that says nothing between requests may do so for as long. So neither silence nor a byte a second
//! holds a server's place for good. After a stop all that is left to do has one more timeout in all.

use crate::wait::wait_for;
use crate::{End, Handler, Next, Service, With};
use kpipe::channel::{Carries, Channel, Receiver, MESSAGE_BYTES};
use kpipe::Wait;
use nix::poll::PollFlags;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::time::{Duration, Instant};

/// What one read takes: more than [`MESSAGE_BYTES`], so that a message that is too long is seen.
pub const BLOCK_BYTES: usize = 64 * 1024;
/// After a stop, how long a connection between requests may stay quiet before it is ended.
const QUIET: Duration = Duration::from_millis(500);
/// After a stop, how long one may go on that has no other limit.
const LAST: Duration = Duration::from_secs(10);
/// How long the end of a client is waited for after the last word to it.
const GOODBYE: Duration = Duration::from_secs(2);

/// A client being served.
pub struct Connection<'a> {
    service: &'a dyn Service,
    handler: Box<dyn Handler>,
    link: Link,
    /// The handler's answer, and how much of it has been sent.
    out: Vec<u8>,
    sent_bytes: usize,
    next: Next,
    /// The end of a [`Next::Pause`] that has begun.
    resume: Option<Instant>,
    with: With,
    is_own: bool,
    timeout: Option<Duration>,
    /// When the present limit began to run.
    since: Instant,
    /// When the server began to stop.
    hurried: Option<Instant>,
}

enum Link {
    Open(Box<dyn Channel>),
    /// All is said, and the client knows. Closing a socket before the client has stopped too would make the
    /// kernel discard what it has not read yet (a reset, RFC 9112 section 9.6).
    Closing(Receiver, End),
    Closed,
}

/// How a connection is to be served.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// See the file's head.
    pub timeout: Option<Duration>,
    /// A channel with all clients has no end, and what one of them does must not end it.
    pub with: With,
    /// The channel is a connection of its own, whose end can be waited for. At the end of queues with names the
    /// next client may already be writing.
    pub is_own: bool,
}

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Something to read.
    Read,
    /// Room to write.
    Write,
}

impl<'a> Connection<'a> {
    /// Begins a conversation.
    pub fn new(
        mut channel: Box<dyn Channel>,
        service: &'a dyn Service,
        terms: Terms,
    ) -> io::Result<Self> {
        channel.set_wait(Wait::Never)?;
        let handler = service.handler(channel.carries(), terms.with);
        Ok(Self {
            service,
            handler,
            link: Link::Open(channel),
            out: Vec::new(),
            sent_bytes: 0,
            next: Next::Receive,
            resume: None,
            with: terms.with,
            is_own: terms.is_own,
            timeout: terms.timeout.filter(|_| terms.with == With::One),
            since: Instant::now(),
            hurried: None,
        })
    }

    /// What to wait for, and where; `None`: for the deadline alone.
    pub fn need(&self) -> Option<(BorrowedFd<'_>, Need)> {
        match &self.link {
            _ if self.resume.is_some() => None,
            Link::Open(channel) if self.is_sending() => Some((channel.tx(), Need::Write)),
            _ => Some((self.rx()?, Need::Read)),
        }
    }

    /// What is read from, until it is closed.
    pub(crate) fn rx(&self) -> Option<BorrowedFd<'_>> {
        match &self.link {
            Link::Open(channel) => Some(channel.rx()),
            Link::Closing(receiver, _) => Some(receiver.as_fd()),
            Link::Closed => None,
        }
    }

    /// When [`Connection::expire`] is due. It moves with everything that happens.
    pub fn deadline(&self) -> Option<Instant> {
        if self.resume.is_some() {
            return self.resume;
        }
        let own = self.timeout.map(|limit| self.since + limit);
        match (&self.link, self.hurried) {
            (Link::Closing(..), _) => Some(self.since + GOODBYE),
            // From the stop on, whatever it says or takes meanwhile: it may go on for ever.
            (_, Some(stop)) if self.is_quiet() => Some(stop + QUIET),
            (_, Some(stop)) => own
                .into_iter()
                .chain([stop + self.timeout.unwrap_or(LAST)])
                .min(),
            _ => own,
        }
    }

    /// The server stops: this conversation goes on until it is quiet.
    pub fn hurry(&mut self) {
        self.hurried.get_or_insert_with(Instant::now);
    }

    /// Goes on after the need was met. `block` is [`BLOCK_BYTES`] long and belongs to the caller, so that
    /// ten thousand quiet connections have no memory for bytes.
    ///
    /// A handler that panics ends its connection and nothing else.
    pub fn advance(&mut self, block: &mut [u8]) -> Option<End> {
        self.guarded(|this| this.step(block))
    }

    fn guarded(&mut self, step: impl FnOnce(&mut Self) -> io::Result<Option<End>>) -> Option<End> {
        match catch_unwind(AssertUnwindSafe(|| step(self))) {
            Ok(Ok(end)) => end,
            Ok(Err(error)) => Some(match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::Interrupted => return None,
                _ => End::Vanished(error.to_string()),
            }),
            Err(panic) => Some(End::crashed(&*panic)),
        }
    }

    /// Goes on after the deadline.
    pub fn expire(&mut self) -> Option<End> {
        if self.resume.take().is_some() {
            return self.guarded(|this| {
                this.next = this.handler.on_sent(&mut this.out);
                this.go_on()
            });
        }
        if let Link::Closing(..) = self.link {
            return self.finished();
        }
        if self.is_quiet() && self.hurried.is_some() {
            // It may be in the middle of a word, and closing at once would be a reset.
            return self.close(End::Finished);
        }
        let limit = self.timeout.unwrap_or_default().as_secs_f32();
        let what = if let Some(stop) = self.hurried {
            let seconds = stop.elapsed().as_secs_f32();
            format!("it was not done {seconds:.1} s after the server was told to stop")
        } else if self.is_sending() {
            format!("it took nothing of the answer for {limit} s")
        } else if self.handler.is_between_requests() {
            format!("it said nothing for {limit} s")
        } else {
            format!("its request was not complete within {limit} s")
        };
        if self.is_sending() {
            return Some(End::TimedOut(what));
        }
        self.handler.on_timeout(&mut self.out);
        if let Err(error) = self.send() {
            return Some(End::Vanished(error.to_string()));
        }
        self.close(End::TimedOut(what))
    }

    /// Serves the connection to its end, sleeping in between. `stop` becomes readable when the server
    /// shall end; `on_stop` is called then, once.
    pub fn converse(mut self, stop: BorrowedFd<'_>, mut on_stop: impl FnMut()) -> End {
        let mut block = vec![0; BLOCK_BYTES];
        loop {
            let end = match self.wait(stop) {
                Ok(Event::Ready) => self.advance(&mut block),
                Ok(Event::Deadline) => self.expire(),
                Ok(Event::Stop) => {
                    on_stop();
                    self.hurry();
                    None
                }
                Err(error) => Some(End::Vanished(error.to_string())),
            };
            if let Some(end) = end {
                return end;
            }
        }
    }

    fn wait(&self, stop: BorrowedFd<'_>) -> io::Result<Event> {
        loop {
            let own = self.need().map(|(fd, need)| match need {
                Need::Read => (fd, PollFlags::POLLIN),
                Need::Write => (fd, PollFlags::POLLOUT),
            });
            let stop = self.hurried.is_none().then_some((stop, PollFlags::POLLIN));
            let [is_ready, is_stopped] = wait_for([own, stop], self.deadline())?;
            if is_stopped {
                return Ok(Event::Stop);
            }
            let is_over = self.deadline().is_some_and(|end| end <= Instant::now());
            // Who is to end, and talks all the time, would never be late.
            let is_ending = self.hurried.is_some() || matches!(self.link, Link::Closing(..));
            if is_ready && !(is_over && is_ending) {
                return Ok(Event::Ready);
            }
            if is_over {
                return Ok(Event::Deadline);
            }
        }
    }

    fn is_sending(&self) -> bool {
        self.sent_bytes < self.out.len() || self.next == Next::Send
    }

    fn is_quiet(&self) -> bool {
        !self.is_sending() && self.resume.is_none() && self.handler.is_between_requests()
    }

    fn step(&mut self, block: &mut [u8]) -> io::Result<Option<End>> {
        let is_sending = self.is_sending();
        match &mut self.link {
            Link::Closing(receiver, _) => {
                if receiver.read(block).is_ok_and(|len| len > 0) {
                    return Ok(None);
                }
                return Ok(self.finished());
            }
            Link::Open(_) if is_sending => {
                if self.sent_bytes == self.out.len() {
                    self.next = self.handler.on_sent(&mut self.out);
                }
            }
            Link::Open(channel) => {
                let carries = channel.carries();
                let len = match channel.read(block) {
                    Err(error)
                        if self.with == With::All && error.kind() != ErrorKind::WouldBlock =>
                    {
                        return Ok(None); // About an answer that did not arrive.
                    }
                    result => result?,
                };
                if len == 0 && self.with == With::One {
                    return Ok(Some(match self.handler.on_end() {
                        Ok(()) => End::Finished,
                        Err(place) => End::Vanished(place),
                    }));
                }
                // It was perhaps cut, and half a message is none.
                if carries == Carries::Messages && len > MESSAGE_BYTES {
                    return match self.with {
                        With::All => Ok(None),
                        With::One => {
                            let why = format!("a message of more than {MESSAGE_BYTES} bytes");
                            Ok(self.close(End::Refused(why)))
                        }
                    };
                }
                let was_between = self.handler.is_between_requests();
                self.next = self.handler.on_bytes(&block[..len], &mut self.out);
                // The limit for a request runs from its first byte, that for silence from the last answer: bytes
                // that begin nothing are no better than none.
                if was_between != self.handler.is_between_requests() || !self.out.is_empty() {
                    self.since = Instant::now();
                }
            }
            Link::Closed => unreachable!("an ended connection is dropped"),
        }
        self.go_on()
    }

    /// Sends, and does what the handler wants next.
    fn go_on(&mut self) -> io::Result<Option<End>> {
        self.send()?;
        if self.is_sending() {
            return Ok(None);
        }
        match std::mem::replace(&mut self.next, Next::Receive) {
            // Not begun before the stop, and there may be any number of them.
            Next::Pause(_) if self.hurried.is_some() => Ok(self.close(End::Finished)),
            Next::Pause(time) => {
                self.resume = Some(Instant::now() + time);
                Ok(None)
            }
            Next::Close(_) if self.with == With::All => {
                self.handler = self.service.handler(Carries::Messages, self.with);
                Ok(None)
            }
            Next::Close(None) => Ok(self.close(End::Finished)),
            Next::Close(Some(why)) => Ok(self.close(End::Refused(why))),
            next => {
                self.next = next;
                Ok(None)
            }
        }
    }

    /// Sends what there is room for.
    fn send(&mut self) -> io::Result<()> {
        let Link::Open(channel) = &mut self.link else {
            return Ok(());
        };
        while self.sent_bytes < self.out.len() {
            match channel.write(&self.out[self.sent_bytes..]) {
                Ok(len) => {
                    self.sent_bytes += len;
                    self.since = Instant::now();
                }
                // Datagrams get lost, also to a client that does not fetch them.
                Err(_) if self.with == With::All => break,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        match self.next {
            Next::Send => self.out.clear(),
            // A connection that waits has no memory for bytes.
            _ => self.out = Vec::new(),
        }
        self.sent_bytes = 0;
        Ok(())
    }

    /// Says the last word and waits for the client's.
    fn close(&mut self, end: End) -> Option<End> {
        let Link::Open(channel) = std::mem::replace(&mut self.link, Link::Closed) else {
            return Some(end);
        };
        if !self.is_own {
            return Some(end);
        }
        let closing = channel.split().and_then(|(receiver, sender)| {
            sender.finish()?;
            Ok(receiver)
        });
        // What is gone has no end to wait for.
        let Ok(receiver) = closing else {
            return Some(end);
        };
        self.since = Instant::now();
        self.link = Link::Closing(receiver, end);
        None
    }

    fn finished(&mut self) -> Option<End> {
        match std::mem::replace(&mut self.link, Link::Closed) {
            Link::Closing(_, end) => Some(end),
            _ => None,
        }
    }
}

enum Event {
    Ready,
    Deadline,
    Stop,
}

// SPDX-License-Identifier: MIT

//! [`Pump`]: the loop that runs one side of a relay. All waiting is in its one poll(2): for the queue, for
//! the connection or the next one, and for the time.

use super::link::Link;
use super::message::{Message, Role};
use super::sending::Outcome;
use super::source::Source;
use super::{Error, Result};
use kpipe::channel::{Address, Observer};
use kpipe::Queue;
use nix::errno::Errno;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileTypeExt;
use std::time::{Duration, Instant};

/// A state machine that a connection drives.
pub trait Machine {
    /// There is a new connection.
    fn connected(&mut self);
    /// It is gone; whatever was said on it may have been lost.
    fn disconnected(&mut self);
    /// The other side says something.
    ///
    /// # Errors
    /// Why the stream cannot go on.
    fn receive(&mut self, message: Message) -> Result<()>;
    /// What is to be said next, if there is something.
    fn next(&mut self) -> Option<Message>;
    /// Whether the two have greeted each other.
    fn is_up(&self) -> bool;
}

/// A machine with its queue.
pub trait Side {
    /// Which one.
    fn role(&self) -> Role;
    /// Its queue.
    fn queue(&self) -> &Queue;
    /// Its machine.
    fn machine(&mut self) -> &mut dyn Machine;
    /// Opens and closes the queue as the machine's state wants.
    fn prepare(&mut self) -> Result<()>;
    /// What to poll of the queue.
    fn interest(&self) -> Option<(BorrowedFd<'_>, PollFlags)>;
    /// The queue has these events.
    fn advance(&mut self, events: PollFlags) -> Result<()>;
    /// How the stream ended, once it has.
    fn outcome(&self) -> Option<Outcome>;
    /// Whether the other side has been told, or need not be.
    fn may_leave(&self) -> bool;
    /// Bytes taken or come, and those of them in the other queue.
    fn progress(&self) -> (u64, u64);

    /// Whether there is such a queue, without using it.
    fn check(&self) -> Result<()> {
        let is_fifo = |path| std::fs::metadata(path).is_ok_and(|data| data.file_type().is_fifo());
        match self.queue().monitor() {
            Err(kpipe::Error::NotAQueue { queue }) if is_fifo(queue.path()) => Ok(()),
            result => Ok(result.map(drop)?),
        }
    }
}

/// One side of a relay.
pub struct Pump<'a> {
    /// The queue's part.
    pub side: &'a mut dyn Side,
    /// Where connections come from.
    pub source: Source,
    /// Where they are to lead, for messages.
    pub address: &'a Address,
    /// How long to look for another connection; zero: not at all.
    pub reconnect: Duration,
    /// After what silence a connection counts as lost.
    pub silence: Duration,
    /// Told of each step.
    pub observer: Option<Observer>,
    link: Option<Link>,
    /// How long another connection may take to come; `None`: as long as it takes.
    until: Option<Instant>,
    /// Why there is no connection now.
    why: Option<Error>,
    connections: u64,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// How it ended.
    pub outcome: Outcome,
    /// Bytes in the queue there.
    pub bytes: u64,
    /// How many connections it took.
    pub connections: u64,
}

/// What poll(2) found.
#[derive(Clone, Copy, Debug)]
struct Ready {
    queue: PollFlags,
    link: PollFlags,
    source: PollFlags,
}

impl<'a> Pump<'a> {
    /// For one stream, not yet connected.
    pub fn new(side: &'a mut dyn Side, source: Source, address: &'a Address) -> Self {
        Self {
            side,
            source,
            address,
            reconnect: Duration::ZERO,
            silence: Duration::from_secs(10),
            observer: None,
            link: None,
            until: None,
            why: None,
            connections: 0,
        }
    }

    /// Carries the stream to its end.
    ///
    /// # Errors
    /// [`Error::Lost`], and what went wrong with the queue; the other side was told then.
    pub fn run(mut self) -> Result<Report> {
        if !self.source.is_listening() {
            self.until = Some(Instant::now() + self.reconnect);
        }
        loop {
            match self.step() {
                Ok(None) => {}
                Ok(Some(outcome)) => {
                    return Ok(Report {
                        outcome,
                        bytes: self.side.progress().1,
                        connections: self.connections,
                    })
                }
                Err(why) => {
                    if let Some(link) = self.link.take() {
                        link.refuse(&why);
                    }
                    return Err(why);
                }
            }
        }
    }

    /// One turn: says what is to be said, waits, and does what can be done.
    fn step(&mut self) -> Result<Option<Outcome>> {
        self.side.prepare()?;
        match &mut self.link {
            None => self.source.prepare()?,
            Some(link) => {
                let machine = self.side.machine();
                if let Err(why) = link.send(Instant::now(), || machine.next()) {
                    return self.disconnect(why);
                }
                // Who was told that it is over has nothing to add.
                if self.side.role() == Role::Sending && self.side.outcome().is_some() {
                    return Ok(self.side.outcome());
                }
            }
        }
        let ready = self.wait()?;
        if !ready.queue.is_empty() {
            self.side.advance(ready.queue)?;
        }
        if self.link.is_some() {
            return self.serve(ready.link);
        }
        if !ready.source.is_empty() {
            match self.source.take() {
                Ok(Some(channel)) => {
                    self.link = Some(Link::new(channel, self.silence, Instant::now())?);
                    self.side.machine().connected();
                    // Even if the time is over: it came in time, and a stranger had the place.
                    return Ok(None);
                }
                Ok(None) => {}
                Err(why) => {
                    if let Some(outcome) = self.attempt_failed(why)? {
                        return Ok(Some(outcome));
                    }
                }
            }
        }
        if self.until.is_some_and(|until| Instant::now() >= until) && self.connections > 0 {
            let why = self.why.take().unwrap_or(Error::Closed);
            return self.give_up(why);
        }
        Ok(None)
    }

    /// What the connection brings.
    fn serve(&mut self, events: PollFlags) -> Result<Option<Outcome>> {
        let Some(link) = &mut self.link else {
            return Ok(None);
        };
        let machine = self.side.machine();
        let was_up = machine.is_up();
        let served = if events.is_empty() {
            Ok(())
        } else {
            link.receive(Instant::now(), |message| machine.receive(message))
        };
        let served = served.and_then(|()| link.keep_alive(Instant::now()));
        if machine.is_up() && !was_up {
            self.connections += 1;
            self.until = None;
            let names = link.names();
            self.tell(|| format!("up: {names}"));
        }
        match served {
            Ok(()) => Ok(None),
            Err(why) => self.disconnect(why),
        }
    }

    /// The connection is over. Is the relay?
    fn disconnect(&mut self, why: Error) -> Result<Option<Outcome>> {
        let was_up = self.side.machine().is_up();
        if let Some(link) = self.link.take() {
            match why {
                Error::Io(_) | Error::Closed | Error::Silent { .. } | Error::Refused { .. } => {}
                _ => link.refuse(&why),
            }
        }
        self.side.machine().disconnected();
        if self.side.outcome().is_none() {
            self.tell(|| format!("down: {why}"));
        }
        if let Some(outcome) = self.side.outcome() {
            // The other side closes when it has heard. If the connection was lost before, it may ask again.
            let has_heard = matches!(why, Error::Closed) && self.side.may_leave();
            if has_heard || self.reconnect.is_zero() {
                return Ok(Some(outcome));
            }
        }
        if !was_up {
            return self.attempt_failed(why);
        }
        if self.reconnect.is_zero() || why.is_final() {
            return self.give_up(why);
        }
        self.until = Some(Instant::now() + self.reconnect);
        self.why = Some(why);
        Ok(None)
    }

    /// It came to no greeting. Who listens refuses whoever is not the other side, and goes on: that one may wait behind.
    fn attempt_failed(&mut self, why: Error) -> Result<Option<Outcome>> {
        if self.source.is_listening() {
            return Ok(None);
        }
        let is_late = self.until.is_some_and(|until| Instant::now() >= until);
        if is_late || why.is_final() {
            return self.give_up(why);
        }
        self.why = Some(why);
        Ok(None)
    }

    fn give_up(&mut self, why: Error) -> Result<Option<Outcome>> {
        if let Some(outcome) = self.side.outcome() {
            return Ok(Some(outcome));
        }
        let (taken, arrived) = self.side.progress();
        if taken == 0 && self.connections == 0 {
            return Err(why);
        }
        Err(Error::Lost {
            address: Box::new(self.address.clone()),
            why: Box::new(why),
            role: self.side.role(),
            taken,
            arrived,
        })
    }

    fn wait(&self) -> Result<Ready> {
        let queue = self.side.interest();
        let link = self.link.as_ref().map(Link::polls);
        let source = match self.link {
            Some(_) => None,
            None => self.source.interest(),
        };
        let mut fds = Vec::with_capacity(4);
        let wanted = queue.iter().chain(link.iter().flatten()).chain(&source);
        fds.extend(wanted.map(|(fd, events)| PollFd::new(*fd, *events)));
        let deadline = match &self.link {
            Some(link) => Some(link.deadline()),
            // Without any connection so far, only the attempt under way says that it is over.
            None => self.until.filter(|_| self.connections > 0),
        };
        match poll(&mut fds, timeout(deadline)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::Io(errno.into())),
        }
        let mut events = fds
            .iter()
            .map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
        let mut next = |is_there: bool| match is_there {
            true => events.next().unwrap_or(PollFlags::empty()),
            false => PollFlags::empty(),
        };
        Ok(Ready {
            queue: next(queue.is_some()),
            link: next(link.is_some()) | next(link.is_some()),
            source: next(source.is_some()),
        })
    }

    fn tell(&self, text: impl FnOnce() -> String) {
        if let Some(observer) = &self.observer {
            observer(&text());
        }
    }
}

/// Rounded up: a poll of 0 ms would spin.
fn timeout(deadline: Option<Instant>) -> PollTimeout {
    deadline.map_or(PollTimeout::NONE, |deadline| {
        let left = deadline.saturating_duration_since(Instant::now()) + Duration::from_micros(999);
        PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
    })
}

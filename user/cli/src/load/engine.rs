// SPDX-License-Identifier: MIT

//! [`run`]: many clients in one thread, by epoll(7), so that ten thousand of them cost little and none waits
//! for another. Called by `kpipe load` and `kpipe compare servers`.

use super::client::{words, Client, Step};
use super::dialogue::Question;
use super::outcome::Outcome;
use crate::failure::{Failure, Result};
use kpipe::channel::{self, Address, Channel, Options};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// What to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The server.
    pub target: Address,
    /// How many at the same time.
    pub clients: u64,
    /// Of each client.
    pub requests: u64,
    /// What each request is.
    pub question: Question,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// All connect before the first one asks.
    pub together: bool,
    /// The client in the middle sends this text halfway through; what happens to it does not count.
    pub crash: Option<Rc<[u8]>>,
}

/// How often the clock is looked at and the watcher told.
const TICK: Duration = Duration::from_millis(50);
/// Connections begun at a time: a longer burst would overrun a backlog of the usual length, and what the kernel drops
/// there it tries again after a second only.
const CONNECTIONS: usize = 100;
const EVENTS: usize = 1024;
const BLOCK_BYTES: usize = 64 << 10;

/// Does it. `watch` is told now and then how far it is.
///
/// # Errors
/// The first client's, when it cannot connect, and epoll's; what happens to the others is in the outcome.
pub fn run(plan: &Plan, watch: &mut dyn FnMut(&Outcome)) -> Result<Outcome> {
    Engine::new(plan)?.run(watch)
}

struct Engine<'a> {
    plan: &'a Plan,
    epoll: Epoll,
    /// Where everybody but the first one connects: numbers instead of a name.
    address: Address,
    options: Options,
    /// `None`: it is done, or not there yet.
    clients: Vec<Option<Client>>,
    /// Who has not begun to connect.
    waiting: VecDeque<usize>,
    /// Since when a backlog of AF_UNIX has been full.
    busy_since: Option<Instant>,
    /// How many have begun and are not there yet.
    connecting: usize,
    /// How many are not done.
    left: usize,
    /// Who is connected and waits for the others.
    gathered: Vec<usize>,
    is_open: bool,
    outcome: Outcome,
    block: Vec<u8>,
}

impl<'a> Engine<'a> {
    fn new(plan: &'a Plan) -> Result<Self> {
        let counted = plan.clients - u64::from(plan.crash.is_some());
        let options = Options {
            connect_timeout: plan.connect_timeout,
            ..Options::default()
        };
        Ok(Self {
            plan,
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(Failure::io("epoll"))?,
            address: plan.target.clone(),
            options,
            clients: (0..plan.clients).map(|_| None).collect(),
            waiting: (0..plan.clients as usize).collect(),
            busy_since: None,
            connecting: 0,
            left: plan.clients as usize,
            gathered: Vec::new(),
            is_open: !plan.together,
            outcome: Outcome::new(counted, plan.requests),
            block: vec![0; BLOCK_BYTES],
        })
    }

    fn run(mut self, watch: &mut dyn FnMut(&Outcome)) -> Result<Outcome> {
        self.connect_first()?;
        let mut events = [EpollEvent::empty(); EVENTS];
        let mut last_tick = Instant::now();
        while self.left > 0 {
            self.connect_some();
            self.open_gate();
            let timeout = EpollTimeout::try_from(TICK).unwrap_or(EpollTimeout::ZERO);
            let ready = match self.epoll.wait(&mut events, timeout) {
                Err(nix::errno::Errno::EINTR) => 0,
                result => result.map_err(Failure::io("epoll"))?,
            };
            for event in &events[..ready] {
                self.on_event(*event);
            }
            if last_tick.elapsed() >= TICK {
                last_tick = Instant::now();
                self.give_up_the_late();
                watch(&self.outcome);
            }
        }
        watch(&self.outcome);
        Ok(self.outcome)
    }

    /// The first one finds out which of a name's addresses answers, and fails in clear words if none does.
    fn connect_first(&mut self) -> Result<()> {
        let began = Instant::now();
        let channel = self.plan.target.connect(&self.options)?;
        if let Address::Tcp { .. } = self.plan.target {
            let numbers = format!("tcp:{}", channel.names().peer);
            self.address = numbers.parse().unwrap_or(self.plan.target.clone());
        }
        self.waiting.pop_front();
        self.enter(0, channel, began);
        Ok(())
    }

    fn connect_some(&mut self) {
        for _ in 0..CONNECTIONS {
            let Some(index) = self.waiting.pop_front() else {
                return;
            };
            let began = Instant::now();
            match self.address.begin_connect(&self.options) {
                Ok(channel) => {
                    self.busy_since = None;
                    self.enter(index, channel, began);
                }
                Err(error) if is_busy(&error) && self.is_patient() => {
                    self.waiting.push_front(index);
                    return;
                }
                Err(error) => self.fail(index, format!("not connected: {}", brief(&error))),
            }
        }
    }

    /// Whether it is worth while to try again where the backlog is full.
    fn is_patient(&mut self) -> bool {
        let since = *self.busy_since.get_or_insert_with(Instant::now);
        since.elapsed() < self.plan.connect_timeout
    }

    fn enter(&mut self, index: usize, channel: Box<dyn Channel>, began: Instant) {
        let plan = self.plan;
        let client = Client::new(channel, &plan.question, plan.requests, began);
        let client = client.and_then(|mut client| {
            if let Some(text) = plan.crash.as_ref().filter(|_| self.is_crasher(index)) {
                client.crash_with(plan.requests.div_ceil(2), Rc::clone(text));
            }
            let room = EpollEvent::new(EpollFlags::EPOLLOUT, tag(index, Way::Out));
            self.epoll.add(client.channel().tx(), room)?;
            Ok(client)
        });
        match client {
            Ok(client) => {
                self.clients[index] = Some(client);
                self.connecting += 1;
            }
            Err(error) => self.fail(index, words(&error)),
        }
    }

    /// Lets all ask at once, when the last one is there or has failed.
    fn open_gate(&mut self) {
        if !self.is_open && self.waiting.is_empty() && self.connecting == 0 {
            self.is_open = true;
            self.outcome.begin();
            for index in std::mem::take(&mut self.gathered) {
                self.ask(index);
            }
        }
    }

    fn on_event(&mut self, event: EpollEvent) {
        let (index, way) = untag(event.data());
        // It may have ended by an event before this one.
        let Some(client) = &mut self.clients[index] else {
            return;
        };
        let step = match way {
            Way::Out => client.on_room(),
            Way::In => client.on_bytes(&mut self.block),
        };
        self.take(index, step);
    }

    fn ask(&mut self, index: usize) {
        if let Some(client) = &mut self.clients[index] {
            let step = client.ask();
            self.take(index, step);
        }
    }

    fn take(&mut self, index: usize, step: Step) {
        let counts = !self.is_crasher(index);
        match step {
            Step::Wait => self.watch_for_room(index),
            Step::Connected(time) => {
                self.connecting -= 1;
                if counts {
                    self.outcome.connected(time);
                }
                self.watch_for_bytes(index);
                match self.is_open {
                    true => {
                        self.outcome.begin();
                        self.ask(index);
                    }
                    false => self.gathered.push(index),
                }
            }
            Step::Answered(time) => {
                if counts {
                    self.outcome.answered(time);
                }
                match self.clients[index].as_ref().is_some_and(Client::has_more) {
                    true => self.ask(index),
                    false => self.end(index),
                }
            }
            Step::Crashed => self.end(index),
            Step::Failed(why) => {
                self.connecting -= usize::from(self.is_connecting(index));
                self.fail(index, why);
            }
        }
    }

    fn is_crasher(&self, index: usize) -> bool {
        self.plan.crash.is_some() && index as u64 == self.plan.clients / 2
    }

    fn is_connecting(&self, index: usize) -> bool {
        self.clients[index]
            .as_ref()
            .is_some_and(Client::is_connecting)
    }

    fn end(&mut self, index: usize) {
        self.clients[index] = None;
        self.left -= 1;
    }

    fn fail(&mut self, index: usize, why: String) {
        self.end(index);
        if !self.is_crasher(index) {
            self.outcome.failed(why);
        }
    }

    fn watch_for_bytes(&mut self, index: usize) {
        let Some(client) = &self.clients[index] else {
            return;
        };
        let bytes = EpollEvent::new(EpollFlags::EPOLLIN, tag(index, Way::In));
        let watched = self.epoll.add(client.channel().rx(), bytes);
        if let Err(error) = watched {
            self.fail(index, error.desc().to_owned());
            return;
        }
        self.watch_for_room(index);
    }

    /// Room is waited for only while something is to be sent: there nearly always is some.
    fn watch_for_room(&mut self, index: usize) {
        let Some(client) = &self.clients[index] else {
            return;
        };
        let flags = match client.is_sending() {
            true => EpollFlags::EPOLLOUT,
            false => EpollFlags::empty(),
        };
        let mut event = EpollEvent::new(flags, tag(index, Way::Out));
        // It is known since the client entered, so this cannot fail.
        let _ = self.epoll.modify(client.channel().tx().as_fd(), &mut event);
    }

    fn give_up_the_late(&mut self) {
        let plan = self.plan;
        for index in 0..self.clients.len() {
            let late = self.clients[index]
                .as_ref()
                .and_then(|client| client.is_late(plan.connect_timeout, plan.timeout));
            if let Some(what) = late {
                self.take(index, Step::Failed(what.to_owned()));
            }
        }
    }
}

/// Which of a client's descriptors.
#[derive(Clone, Copy)]
enum Way {
    In,
    Out,
}

fn tag(index: usize, way: Way) -> u64 {
    index as u64 * 2 + way as u64
}

fn untag(tag: u64) -> (usize, Way) {
    let way = if tag % 2 == Way::In as u64 {
        Way::In
    } else {
        Way::Out
    };
    ((tag / 2) as usize, way)
}

fn is_busy(error: &channel::Error) -> bool {
    matches!(error, channel::Error::Io { source, .. } if source.kind() == ErrorKind::WouldBlock)
}

/// Without the address, which all have in common.
fn brief(error: &channel::Error) -> String {
    match error {
        channel::Error::NobodyListens { .. } => "nobody listens".to_owned(),
        channel::Error::Taken { .. } => "another client has these queues".to_owned(),
        channel::Error::Io { doing, source, .. } => format!("{doing}: {}", words(source)),
        other => other.to_string(),
    }
}

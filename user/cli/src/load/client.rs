// SPDX-License-Identifier: MIT

//! [`Client`]: one client of `kpipe load`: a channel that never waits, and where the client is in what it does. The
//! [`engine`](super::engine) tells it what has become possible.

use super::dialogue::{Dialogue, Question};
use kpipe::channel::Channel;
use kpipe::Wait;
use std::io::{self, ErrorKind};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// A connected client, or one that soon will be.
pub struct Client {
    channel: Box<dyn Channel>,
    dialogue: Dialogue,
    state: State,
    requests_left: u64,
    /// With this request it sends that text instead, and the server is expected to close.
    crash: Option<(u64, Rc<[u8]>)>,
    out: Rc<[u8]>,
    sent_bytes: usize,
    /// When the connection or the request began.
    since: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Connecting,
    /// It has nothing to wait for.
    Connected,
    Asking,
    Crashing,
}

/// What came of it.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// Nothing yet: wait for bytes, and for room if [`Client::is_sending`].
    Wait,
    /// It may ask now. It took so long to get there.
    Connected(Duration),
    /// An answer after so long. If [`Client::has_more`] it may ask again.
    Answered(Duration),
    /// The server closed, as was wanted.
    Crashed,
    /// No further, and why.
    Failed(String),
}

impl Client {
    /// That begins to connect, or did so at `since`.
    pub fn new(
        mut channel: Box<dyn Channel>,
        question: &Question,
        requests: u64,
        since: Instant,
    ) -> io::Result<Self> {
        channel.set_wait(Wait::Never)?;
        Ok(Self {
            channel,
            dialogue: Dialogue::new(question),
            state: State::Connecting,
            requests_left: requests,
            crash: None,
            out: Rc::from([]),
            sent_bytes: 0,
            since,
        })
    }

    /// Instead of the request before which `left` were left, it sends `text`.
    pub fn crash_with(&mut self, left: u64, text: Rc<[u8]>) {
        self.crash = Some((left, text));
    }

    /// Its descriptors.
    pub fn channel(&self) -> &dyn Channel {
        &*self.channel
    }

    /// Whether it waits for room, or for the connection.
    pub fn is_sending(&self) -> bool {
        self.state == State::Connecting || self.sent_bytes < self.out.len()
    }

    /// Whether an answer, or the connection, has been missing for so long.
    pub fn is_late(&self, connect_timeout: Duration, timeout: Duration) -> Option<&'static str> {
        let (limit, what) = match self.state {
            State::Connected => return None,
            State::Connecting => (connect_timeout, "not connected in time"),
            State::Asking | State::Crashing => (timeout, "no answer in time"),
        };
        (self.since.elapsed() >= limit).then_some(what)
    }

    /// Whether that is not decided yet.
    pub fn is_connecting(&self) -> bool {
        self.state == State::Connecting
    }

    /// Whether there is something to ask.
    pub fn has_more(&self) -> bool {
        self.requests_left > 0
    }

    /// There is room, or the connection is decided.
    pub fn on_room(&mut self) -> Step {
        if self.state == State::Connecting {
            return match error_of(&*self.channel) {
                Ok(()) => {
                    self.state = State::Connected;
                    Step::Connected(self.since.elapsed())
                }
                Err(error) => Step::Failed(format!("not connected: {}", words(&error))),
            };
        }
        self.send()
    }

    /// Something came, or the end.
    pub fn on_bytes(&mut self, block: &mut [u8]) -> Step {
        let len = match self.channel.read(block) {
            Err(error) if is_nothing(&error) => return Step::Wait,
            _ if self.state == State::Crashing => return Step::Crashed,
            Ok(0) => return Step::Failed("connection closed".to_owned()),
            Ok(len) => len,
            Err(error) => return Step::Failed(words(&error)),
        };
        match self.dialogue.on_bytes(&block[..len]) {
            Err(why) => Step::Failed(why),
            Ok(false) => Step::Wait,
            Ok(true) => {
                self.state = State::Connected;
                self.requests_left -= 1;
                Step::Answered(self.since.elapsed())
            }
        }
    }

    /// Sends the next request, as far as there is room.
    pub fn ask(&mut self) -> Step {
        self.state = State::Asking;
        self.out = self.dialogue.ask();
        if self
            .crash
            .as_ref()
            .is_some_and(|(left, _)| *left == self.requests_left)
        {
            self.state = State::Crashing;
            self.out = self.crash.take().expect("it was just there").1;
        }
        self.sent_bytes = 0;
        self.since = Instant::now();
        self.send()
    }

    fn send(&mut self) -> Step {
        while self.sent_bytes < self.out.len() {
            match self.channel.write(&self.out[self.sent_bytes..]) {
                Ok(len) => self.sent_bytes += len,
                Err(error) if is_nothing(&error) => break,
                Err(error) => return Step::Failed(words(&error)),
            }
        }
        Step::Wait
    }
}

fn is_nothing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// How a connection went that was begun without waiting (connect(2), EINPROGRESS).
fn error_of(channel: &dyn Channel) -> io::Result<()> {
    match socket2::SockRef::from(&channel.tx()).take_error() {
        Ok(Some(error)) => Err(error),
        // A queue or a pipe has no such option.
        Ok(None) | Err(_) => Ok(()),
    }
}

/// The kernel's words, without the number.
pub fn words(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => nix::errno::Errno::from_raw(number).desc().to_owned(),
        None => error.to_string(),
    }
}

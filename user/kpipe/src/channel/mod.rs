// SPDX-License-Identifier: MIT

//! Channels: two queues between two parties, one each way, whatever they are made of.
//!
//! An [`Address`] says what and where ("kpipe:0,1", "tcp:localhost:7", see [`FORMS`]). A client gets its
//! [`Channel`] from [`Address::connect`], a server a [`Listener`] from [`Address::listen`] and from that a
//! channel for each client, and who wants both sides itself takes [`Address::pair`].
//!
//! | address | made of | carries | clients at a time |
//! |---|---|---|---|
//! | kpipe:0,1  fifo:/a,/b | two queues with names | bytes | one |
//! | kpipe:new  pipe: | two queues without names | bytes | [`Address::pair`] only |
//! | unix:  tcp: | a socket for each client | bytes | many |
//! | unix-seqpacket: | a socket for each client | messages | many |
//! | unix-dgram:  udp: | one socket for all clients | messages | many, told apart by each message |
//!
//! Whoever writes to a channel must ignore `SIGPIPE`, as Rust's runtime does unless told otherwise: a
//! socket's writer is not sent it, a queue's is.

mod address;
mod datagram;
mod duplex;
mod error;
mod half;
mod listen;
mod queues;
mod resolve;
mod socket;

pub use address::{Address, QueueKind, UnixStyle, FORMS};
pub use error::{Error, Result};
pub use half::{Receiver, Sender};

use crate::Wait;
use std::fmt;
use std::io::{self, Read, Write};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

/// Two queues between two parties, as one of them sees it. `read` takes from the peer and `write`
/// gives to it; for [`Carries::Messages`] each moves one message.
pub trait Channel: Read + Write + Send + fmt::Debug {
    /// Bytes or messages.
    fn carries(&self) -> Carries;

    /// Who the two parties are.
    fn names(&self) -> Names;

    /// What becomes readable when the peer has written or ended.
    fn rx(&self) -> BorrowedFd<'_>;

    /// What becomes writable when there is room. The same socket as [`Channel::rx`], or another queue.
    fn tx(&self) -> BorrowedFd<'_>;

    /// Whether calls sleep, or fail with [`io::ErrorKind::WouldBlock`]. It takes limits away.
    fn set_wait(&mut self, wait: Wait) -> io::Result<()>;

    /// Calls fail with [`io::ErrorKind::TimedOut`] if they could move nothing for so long.
    fn set_timeouts(&mut self, receive: Option<Duration>, send: Option<Duration>)
        -> io::Result<()>;

    /// Both queues, for a thread each.
    ///
    /// # Errors
    /// [`io::ErrorKind::Unsupported`] for a server's datagrams, which go back to whom the last one came from.
    fn split(self: Box<Self>) -> io::Result<(Receiver, Sender)>;
}

/// What a channel carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    /// A stream: what is written in two pieces may be read in one, and the other way round.
    Bytes,
    /// What is written at once is read at once, or cut if the buffer is shorter; at most
    /// [`MESSAGE_BYTES`] on every kind of channel.
    Messages,
}

/// What fits into a message on every kind of channel that carries messages: UDP's limit over IPv4 (udp(7)). A
/// longer one is refused when it is written, as its reader would get a part of it.
pub const MESSAGE_BYTES: usize = 65_507;

/// Who the parties are. With the protocol that is a connection's 5-tuple.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// `tcp`, `udp`, `unix`, `kpipe` ...
    pub protocol: &'static str,
    /// Our side, with the port.
    pub local: String,
    /// The peer's.
    pub peer: String,
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} <-> {}", self.protocol, self.local, self.peer)
    }
}

/// Where clients come from.
pub trait Listener: Send + fmt::Debug {
    /// Takes a client that is there; never waits. `None` if there is none after all, which is no error:
    /// another process may have taken it.
    fn accept(&mut self) -> Result<Option<Box<dyn Channel>>>;

    /// Becomes readable when a client is there. `None` while the only place is taken, see [`Listener::release`].
    fn ready(&self) -> Option<BorrowedFd<'_>>;

    /// To be called when an accepted channel has been closed in every process: queues with names then
    /// take the next client. Nothing to do for sockets.
    fn release(&mut self) -> Result<()>;

    /// Where it listens, with the port that was chosen for port 0.
    fn address(&self) -> Address;
}

/// Hears of each step of making a channel.
pub type Observer = Arc<dyn Fn(&str) + Send + Sync>;

/// How channels are made. The defaults are what a small server wants.
#[derive(Clone)]
pub struct Options {
    /// `SO_REUSEADDR` of TCP: bind although connections of a former server linger (socket(7)).
    pub reuse_address: bool,
    /// `SO_REUSEPORT`: several listeners on one address, among which the kernel distributes.
    pub reuse_port: bool,
    /// `SO_KEEPALIVE` of TCP: notice a peer that vanished while nothing is said.
    pub keep_alive: bool,
    /// `TCP_NODELAY`: send small pieces at once (tcp(7)).
    pub no_delay: bool,
    /// Clients that may wait to be accepted (listen(2)).
    pub backlog: u16,
    /// How long [`Address::connect`] may take for each candidate, and wait for its turn at queues with names.
    pub connect_timeout: Duration,
    /// Told about each step: names resolved, candidates tried, options set, connections made.
    pub observer: Option<Observer>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            reuse_address: true,
            reuse_port: false,
            keep_alive: false,
            no_delay: true,
            backlog: 128,
            connect_timeout: Duration::from_secs(10),
            observer: None,
        }
    }
}

impl Options {
    /// Tells the observer, if there is one; `text` is not asked for otherwise.
    fn tell(&self, text: impl FnOnce() -> String) {
        if let Some(observer) = &self.observer {
            observer(&text());
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let switches = [
            (self.reuse_address, "SO_REUSEADDR"),
            (self.reuse_port, "SO_REUSEPORT"),
            (self.keep_alive, "SO_KEEPALIVE"),
            (self.no_delay, "TCP_NODELAY"),
        ];
        for (_, name) in switches.into_iter().filter(|(is_on, _)| *is_on) {
            write!(f, "{name} ")?;
        }
        write!(f, "backlog {}", self.backlog)
    }
}

impl Address {
    /// A client's channel to the server that listens there.
    ///
    /// # Errors
    /// [`Error::NobodyListens`], [`Error::Taken`], [`Error::Resolve`], [`Error::TimedOut`]; [`Error::Nameless`]
    /// for `kpipe:new` and `pipe:`.
    pub fn connect(&self, options: &Options) -> Result<Box<dyn Channel>> {
        match self {
            Self::Queues { .. } => queues::connect(self, options),
            Self::NewQueues | Self::Pipes => Err(self.nameless()),
            _ => socket::connect(self, options),
        }
    }

    /// As [`Address::connect`], but a socket is not waited for: it is connected when [`Channel::tx`] is writable
    /// and has no error (`SO_ERROR`, connect(2)). Only the first address of a name is tried.
    ///
    /// # Errors
    /// The same; [`Error::Io`] with [`io::ErrorKind::WouldBlock`] while the backlog of an AF_UNIX server is full.
    pub fn begin_connect(&self, options: &Options) -> Result<Box<dyn Channel>> {
        match self {
            // Nor is the end of another client of the queues.
            Self::Queues { .. } | Self::NewQueues | Self::Pipes => self.connect(&Options {
                connect_timeout: Duration::ZERO,
                ..options.clone()
            }),
            _ => socket::begin(self, options),
        }
    }

    /// A server's place to wait for clients.
    ///
    /// # Errors
    /// [`Error::InUse`], [`Error::Resolve`]; [`Error::Nameless`] for `kpipe:new` and `pipe:`.
    pub fn listen(&self, options: &Options) -> Result<Box<dyn Listener>> {
        match self {
            Self::Queues { .. } => queues::listen(self, options),
            Self::NewQueues | Self::Pipes => Err(self.nameless()),
            _ => listen::listen(self, options),
        }
    }

    /// Both sides of one channel in this process, for instance to fork(2) with: first the client's,
    /// then the server's. A socket's are connected through its address; port 0 takes a free one.
    pub fn pair(&self, options: &Options) -> Result<(Box<dyn Channel>, Box<dyn Channel>)> {
        match self {
            Self::Queues { .. } => queues::pair(self),
            Self::NewQueues => queues::new_pair(self),
            Self::Pipes => queues::pipe_pair(self),
            _ => socket::pair(self, options),
        }
    }

    fn nameless(&self) -> Error {
        Error::Nameless {
            address: Box::new(self.clone()),
        }
    }
}

// SPDX-License-Identifier: MIT

//! [`Error`]: why a relay did not carry its stream to the end.

use super::message::{Message, Role};
use kpipe::channel::Address;
use kpipe::Queue;
use std::fmt;
use std::io;

/// [`std::result::Result`] with this module's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// See the file's head. The first ones are about one connection; a relay that reconnects outlives them.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// read(2), write(2) or connect(2).
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It was closed in the middle of the stream.
    #[error("the other side has ended")]
    Closed,
    /// A machine that is gone says nothing, not even that.
    #[error("nothing was heard from the other side for {seconds} s")]
    Silent {
        /// `--silence`.
        seconds: f32,
    },
    /// Bytes that are no frame.
    #[error(transparent)]
    Frame(#[from] kpipe_protocol::Broken),
    /// A frame that has no place there.
    #[error("the other side is no relay, or of another version: {what}")]
    Protocol {
        /// What came.
        what: String,
    },
    /// Two relays of the same direction.
    #[error("both sides {}: one needs its queue first (`kpipe relay kpipe:0 ADDRESS`), the other last (`kpipe relay ADDRESS kpipe:0`)", verb(*role))]
    SameRole {
        /// The direction.
        role: Role,
    },
    /// The other side's process is not the one that has the rest of the stream.
    #[error("one side was started anew in the middle of the stream, and what it had is lost: start both again")]
    Restarted,
    /// It carries something else.
    #[error("this relay is in the middle of another stream: take another port, or wait")]
    OtherStream,
    /// In the other side's words.
    #[error("the other side says: {words}")]
    Refused {
        /// Its words.
        words: String,
    },
    /// Nobody has started it, or not yet.
    #[error("{address}: nobody listens there: start the other side first, with --listen, or wait for it with `--reconnect 60s`")]
    NobodyListens {
        /// Where it was to be.
        address: Box<Address>,
    },
    /// No connection could be made.
    #[error(transparent)]
    Channel(kpipe::channel::Error),
    // From here on: how a relay ends.
    /// Of the queue here.
    #[error(transparent)]
    Queue(#[from] kpipe::Error),
    /// The queue failed in the middle.
    #[error("{queue}: {source}")]
    QueueIo {
        /// The queue here.
        queue: Queue,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Packets came for a FIFO.
    #[error(
        "{queue}: packets come, and a FIFO does not keep them apart: relay them to a kpipe queue"
    )]
    NoPackets {
        /// The queue here.
        queue: Queue,
    },
    /// The reader went first.
    #[error("{queue}: broken pipe: its reader has gone after {bytes} bytes")]
    Gone {
        /// The queue here or there.
        queue: String,
        /// What had come into it.
        bytes: u64,
    },
    /// The connection is lost for good.
    #[error("{address}: {why}{}", fate(*role, *taken, *arrived))]
    Lost {
        /// Where the other side is or was to be.
        address: Box<Address>,
        /// What was wrong with the last connection.
        why: Box<Error>,
        /// Which side this is.
        role: Role,
        /// Bytes that this side took from its queue, or that came to it.
        taken: u64,
        /// Those of them that are in the other queue.
        arrived: u64,
    },
    /// Datagrams get lost.
    #[error("{address}: carries messages, and a relay needs a stream: tcp: or unix:")]
    NoStream {
        /// What was asked for.
        address: Box<Address>,
    },
    /// One is needed.
    #[error("a relay has a queue on one side and an address on the other, here are two {what}: for example `kpipe relay kpipe:0 tcp:host:7000`")]
    Sides {
        /// "queues" or "addresses".
        what: &'static str,
    },
}

impl Error {
    /// [`Error::Protocol`].
    pub fn protocol(what: impl fmt::Display) -> Self {
        Self::Protocol {
            what: what.to_string(),
        }
    }

    /// [`Error::Protocol`] for a message that has no place here.
    pub fn unexpected(message: &Message) -> Self {
        Self::protocol(match message {
            Message::Hello(_) => "a second hello",
            Message::Ready => "ready",
            Message::Data { .. } => "data",
            Message::Ack(_) => "an acknowledgement",
            Message::End(_) => "an end",
            Message::Done(_) => "done, but nothing had ended",
            Message::Gone(_) => "a reader that has gone",
            Message::Alive(_) => "a sign of life before the hello",
            Message::Refused(_) => "a refusal",
        })
    }

    /// Whether another connection to the same address would end no better.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Channel(error) => !matches!(
                error,
                kpipe::channel::Error::Io { .. }
                    | kpipe::channel::Error::Taken { .. }
                    | kpipe::channel::Error::TimedOut { .. }
                    // Perhaps only the name server did not answer.
                    | kpipe::channel::Error::Resolve { .. }
            ),
            Self::Io(_) | Self::Closed | Self::Silent { .. } | Self::NobodyListens { .. } => false,
            _ => true,
        }
    }
}

impl From<kpipe::channel::Error> for Error {
    fn from(error: kpipe::channel::Error) -> Self {
        match error {
            kpipe::channel::Error::NobodyListens { address } => Self::NobodyListens { address },
            error => Self::Channel(error),
        }
    }
}

fn verb(role: Role) -> &'static str {
    match role {
        Role::Sending => "send",
        Role::Receiving => "receive",
    }
}

/// What became of the bytes.
fn fate(role: Role, taken: u64, arrived: u64) -> String {
    match (role, taken - arrived) {
        (_, _) if taken == 0 => String::new(),
        (Role::Sending, 0) => format!("; all {taken} bytes taken from the queue had arrived, but not its end"),
        (Role::Sending, lost) => format!(
            "; {arrived} bytes had arrived, the next {lost} were on their way and are lost unless they came in the last moment"
        ),
        (Role::Receiving, _) => format!("; {arrived} bytes had come, and the rest is missing"),
    }
}

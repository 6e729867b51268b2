// SPDX-License-Identifier: MIT

//! [`Handler`]: what a server says to one client, as a state machine. It does no I/O and never waits,
//! so that a sleeping thread and an epoll loop drive the same code.

use kpipe::channel::Carries;
use std::io;
use std::time::Duration;

/// One conversation. Whoever drives it calls nothing until `out` has been sent.
pub trait Handler: Send {
    /// Takes what came: bytes as they arrive, in any pieces, or one message. Appends answers to `out`.
    fn on_bytes(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Next;

    /// Appends the next piece after [`Next::Send`] and [`Next::Pause`].
    fn on_sent(&mut self, _out: &mut Vec<u8>) -> Next {
        Next::Receive
    }

    /// The client says no more. `Err`: it stopped in the middle, and where.
    fn on_end(&mut self) -> Result<(), String> {
        Ok(())
    }

    /// The client took too long for a request. Appends what it shall still hear.
    fn on_timeout(&mut self, _out: &mut Vec<u8>) {}

    /// Whether all that came has been answered: a connection that is quiet then may be ended without loss.
    fn is_between_requests(&self) -> bool {
        true
    }
}

/// What a handler wants after a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// More from the client.
    Receive,
    /// To be asked again when `out` has been sent: there is more than should be in memory at once.
    Send,
    /// To be asked again when `out` has been sent and so much time has passed. Nobody sleeps for it who has
    /// others to serve.
    Pause(Duration),
    /// The end, once `out` has been sent. With a reason, the client broke the protocol.
    Close(Option<String>),
}

/// Whom a conversation is with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum With {
    /// A client of its own.
    One,
    /// All clients of a socket of datagrams: a [`Next::Pause`] for one of them would hold up the others.
    All,
}

/// A kind of server: gives each client its handler.
pub trait Service: Send + Sync {
    /// A new conversation, in bytes or in messages, with one client or with all.
    fn handler(&self, carries: Carries, with: With) -> Box<dyn Handler>;

    /// Reads again what it was started with (`SIGHUP`). If that fails all stays as it is. Returns what it has read.
    fn reload(&self) -> io::Result<String> {
        Ok("nothing to read again".to_owned())
    }
}

// SPDX-License-Identifier: MIT

//! Calls of functions in another process: arguments go in a request, the result or a [`Fault`] comes back.
//!
//! The bodies are encoded with postcard (its wire format is specified, and `docs/protocol.md` repeats what
//! is used of it): no names and no types travel, so both sides must have the same [`Interface`].
//!
//! The [`Client`] asks, and [`respond`] is a server's half, without I/O. [`serve`] is the smallest server.

mod client;

pub use client::{Client, RpcError};

use crate::{write_frame, Broken, Frame, FrameError, FrameReader, Kind, Limit};
use kpipe::channel::{Carries, Channel};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// The calls that a server knows. [`Demo`](crate::demo::Demo) is one.
pub trait Interface {
    /// Which call, with its arguments.
    type Call: Serialize + DeserializeOwned;
    /// What the calls give.
    type Reply: Serialize + DeserializeOwned;
}

/// An error that travelled: what the server says instead of a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {text}")]
pub struct Fault {
    /// What kind of error, for programs.
    pub code: FaultCode,
    /// What happened, for people.
    pub text: String,
}

/// What kind of error a [`Fault`] is. New ones are added at the end: their place is their number on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FaultCode {
    /// The call ran and failed.
    Failed,
    /// The request's body is no call that the server knows.
    UnknownCall,
    /// The server does not do that for this client, or with these arguments.
    Refused,
    /// The reply does not fit into a frame.
    ReplyTooLong,
    /// The client broke the protocol; the channel ends.
    Protocol,
    /// The server stops.
    Stopping,
}

impl Fault {
    /// With a text that says what happened.
    pub fn new(code: FaultCode, text: impl fmt::Display) -> Self {
        let text = text.to_string();
        Self { code, text }
    }

    /// As a frame: number 0 says that the channel ends.
    pub fn frame(&self, number: u64, limit: Limit) -> Frame {
        let mut body = encode(self);
        if body.len() > limit.body_bytes() {
            body = encode(&Self::new(self.code, ""));
        }
        Frame {
            kind: Kind::Error,
            number,
            body,
        }
    }
}

impl fmt::Display for FaultCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Failed => "the call failed",
            Self::UnknownCall => "the server does not know this call",
            Self::Refused => "the server refuses",
            Self::ReplyTooLong => "the reply is too long",
            Self::Protocol => "the protocol was broken",
            Self::Stopping => "the server stops",
        })
    }
}

/// What to send, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The response or error.
    pub frame: Frame,
    /// How long to wait before it is sent. Who waits, and what waits with it, is the server's model.
    pub after: Duration,
}

/// What answers `request`: a response with what `handler` gives, or an error. It never is longer than `limit`.
///
/// # Errors
/// [`Broken::Unexpected`] if it is no request: a client that does this is told so ([`last_words`]) and left; but
/// see [`Broken::is_an_answer`].
pub fn respond<I: Interface>(
    request: &Frame,
    limit: Limit,
    handler: impl FnOnce(I::Call) -> Result<I::Reply, Fault>,
) -> Result<Frame, Broken> {
    let number = request.number;
    if request.kind != Kind::Request || number == 0 {
        return Err(Broken::Unexpected {
            kind: request.kind,
            number,
        });
    }
    let body = decode::<I::Call>(&request.body)
        .map_err(|error| Fault::new(FaultCode::UnknownCall, error))
        .and_then(handler)
        .map(|reply| encode(&reply))
        .and_then(|body| match body.len() {
            len if len > limit.body_bytes() => Err(Fault::new(
                FaultCode::ReplyTooLong,
                format_args!("{len} bytes, {} are allowed", limit.body_bytes()),
            )),
            _ => Ok(body),
        });
    Ok(match body {
        Ok(body) => Frame {
            kind: Kind::Response,
            number,
            body,
        },
        Err(fault) => fault.frame(number, limit),
    })
}

/// What a server says to a client before it closes the channel because of `why`.
pub fn last_words(why: impl fmt::Display, limit: Limit) -> Frame {
    Fault::new(FaultCode::Protocol, why).frame(0, limit)
}

/// Answers the requests on a channel one after the other until the client ends. A stream ends with its first
/// broken frame; of messages, which may be of several clients, the next one may be good.
///
/// # Errors
/// Why the channel could not be used to its end. If the client is to blame it has been told. To a message that is
/// itself an answer nothing is said, see [`Broken::is_an_answer`].
pub fn serve(
    channel: &mut dyn Channel,
    limit: Limit,
    mut answer: impl FnMut(&Frame) -> Result<Answer, Broken>,
) -> Result<(), FrameError> {
    let carries = channel.carries();
    let mut reader = FrameReader::new(channel, carries, limit);
    loop {
        let answered = match reader.read_frame() {
            Ok(None) => return Ok(()),
            Ok(Some(request)) => answer(&request).map_err(FrameError::from),
            Err(error) => Err(error),
        };
        match answered {
            Ok(Answer { frame, after }) => {
                std::thread::sleep(after);
                write_frame(reader.get_mut(), &frame, limit)?;
            }
            Err(error) => {
                let is_answerable = match &error {
                    FrameError::Io(_) => false,
                    FrameError::Broken(broken) if carries == Carries::Messages => {
                        !broken.is_an_answer()
                    }
                    _ => true,
                };
                if is_answerable {
                    let _ = write_frame(reader.get_mut(), &last_words(&error, limit), limit);
                }
                if !(carries == Carries::Messages && matches!(error, FrameError::Broken(_))) {
                    return Err(error);
                }
            }
        }
    }
}

/// Why a body is not what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// As postcard says it.
    #[error("a body that is not understood ({0}): both sides must have the same version of the interface")]
    Encoding(#[from] postcard::Error),
    /// More than the value.
    #[error("{0} bytes behind the value: both sides must have the same version of the interface")]
    Trailing(usize),
}

/// The body that says `value`.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    // Its errors are about buffers of fixed size and sequences of unknown length.
    postcard::to_stdvec(value).expect("a value of known length can be encoded")
}

/// The value that is all of `body`.
///
/// # Errors
/// See [`BodyError`]. No more memory is taken than the type itself and the bytes of `body` need.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, BodyError> {
    match postcard::take_from_bytes(body)? {
        (value, []) => Ok(value),
        (_, rest) => Err(BodyError::Trailing(rest.len())),
    }
}

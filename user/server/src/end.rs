// SPDX-License-Identifier: MIT

//! [`End`]: how a connection ended, in words for the log.

use std::any::Any;
use std::fmt;

/// How a connection ended.
#[derive(Debug)]
pub enum End {
    /// Client and server were done.
    Finished,
    /// The client broke the protocol.
    Refused(String),
    /// The client took too long.
    TimedOut(String),
    /// The client was gone in the middle.
    Vanished(String),
    /// The handler panicked.
    Crashed(String),
}

impl End {
    /// With what a panic said.
    pub(crate) fn crashed(panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<&str>().map(ToString::to_string);
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        Self::Crashed(text.unwrap_or_else(|| "without a word".to_owned()))
    }

    /// Whether the operator should know.
    pub fn is_trouble(&self) -> bool {
        !matches!(self, Self::Finished)
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finished => f.write_str("done"),
            Self::Refused(why) => write!(f, "refused: {why}"),
            Self::TimedOut(what) => write!(f, "timed out: {what}"),
            Self::Vanished(how) => write!(f, "the client vanished: {how}"),
            Self::Crashed(why) => {
                write!(f, "the handler panicked: {why}; only this connection ends")
            }
        }
    }
}

// SPDX-License-Identifier: MIT

//! [`Error`]: why there is no channel, with the address and the next step.

use super::address::FORMS;
use super::Address;
use std::io;

/// [`std::result::Result`] with this module's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Why a channel could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No address at all.
    #[error("{text:?} is no address: {why}. An address is one of: {FORMS}")]
    Syntax {
        /// What was typed.
        text: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// getaddrinfo(3) knows no such name.
    #[error("{address}: the name is not known: {why}")]
    Resolve {
        /// The address.
        address: Box<Address>,
        /// gai_strerror(3)'s words.
        why: String,
    },
    /// Nobody listens there.
    #[error("{address}: nobody listens there: start a server first, for example `kpipe serve echo --listen {address}`")]
    NobodyListens {
        /// The address.
        address: Box<Address>,
    },
    /// Queues with names carry one client at a time, and there is one.
    #[error("{address}: another client has these queues: wait until it ends, or use others; sockets take many clients")]
    Taken {
        /// The address.
        address: Box<Address>,
    },
    /// Somebody else listens there.
    #[error("{address}: in use: another program listens there ({} shows which); end it or choose another address", finder(address))]
    InUse {
        /// The address.
        address: Box<Address>,
    },
    /// Only who makes such a channel can reach its ends.
    #[error("{address}: has no name by which another process could reach it: use one with a name, such as kpipe:0,1 or unix:/tmp/socket")]
    Nameless {
        /// The address.
        address: Box<Address>,
    },
    /// The connection was not there in time.
    #[error("{address}: no connection within {seconds} s")]
    TimedOut {
        /// The address.
        address: Box<Address>,
        /// How long it was tried.
        seconds: f32,
    },
    /// A queue's own error.
    #[error(transparent)]
    Queue(#[from] crate::Error),
    /// Anything else, as the kernel says it.
    #[error("{address}: {doing}: {}", plain(source))]
    Io {
        /// The address.
        address: Box<Address>,
        /// Which call failed.
        doing: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl Error {
    /// For `map_err`: the call `doing` failed.
    pub(super) fn io<'a, E: Into<io::Error> + 'a>(
        address: &'a Address,
        doing: &'static str,
    ) -> impl FnOnce(E) -> Self + 'a {
        move |source| {
            let (address, source) = (Box::new(address.clone()), source.into());
            match (doing, source.kind()) {
                ("connect", io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => {
                    Self::NobodyListens { address }
                }
                ("bind" | "listen", io::ErrorKind::AddrInUse) => Self::InUse { address },
                _ => Self::Io {
                    address,
                    doing,
                    source,
                },
            }
        }
    }

    /// Whether the error may be over in a moment: nobody listens yet, or another client is still there.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::NobodyListens { .. } | Self::Taken { .. } | Self::TimedOut { .. }
        )
    }
}

/// What shows which program listens there.
fn finder(address: &Address) -> String {
    match address {
        Address::Queues { there, .. } => format!("`fuser -v {there}`"),
        _ => "`ss -lpn`".to_owned(),
    }
}

/// The kernel's words without std's number.
fn plain(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => nix::errno::Errno::from_raw(number).desc().to_owned(),
        None => error.to_string(),
    }
}

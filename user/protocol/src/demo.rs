// SPDX-License-Identifier: MIT

//! [`Demo`]: the calls of `kpipe serve rpc`, and [`Service`], which answers them without I/O.

use crate::rpc::{respond, Answer, Fault, FaultCode, Interface};
use crate::{Broken, Frame, Limit};
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// A server to try things with.
#[derive(Debug)]
pub enum Demo {}

impl Interface for Demo {
    type Call = Call;
    type Reply = Reply;
}

/// Which call, with its arguments. New ones are added at the end: their place is their number on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Call {
    /// Gives the same bytes.
    Echo(#[serde(with = "serde_bytes")] Vec<u8>),
    /// Adds; fails if the sum is no `i64`.
    Sum(i64, i64),
    /// Gives the text in upper case.
    Upper(String),
    /// Gives its reply after so many milliseconds, at most [`LONGEST_SLEEP_MS`].
    Sleep(u32),
    /// Fails with this text.
    Fail(String),
    /// What the server has done.
    Stat,
    /// The server's clock.
    Time,
}

/// What the calls give.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// Of [`Call::Echo`].
    Echo(#[serde(with = "serde_bytes")] Vec<u8>),
    /// Of [`Call::Sum`].
    Sum(i64),
    /// Of [`Call::Upper`].
    Upper(String),
    /// Of [`Call::Sleep`].
    Slept,
    /// Of [`Call::Stat`].
    Stat {
        /// Since the server began.
        uptime_ms: u64,
        /// Calls answered, this one not counted. By this process: a server with a process for each client has
        /// a count in each.
        calls: u64,
        /// Of these, with an error.
        faults: u64,
    },
    /// Of [`Call::Time`]: since 1970.
    Time {
        /// Nanoseconds.
        unix_ns: u64,
    },
}

/// A minute.
pub const LONGEST_SLEEP_MS: u32 = 60_000;

/// Answers the calls. One for all clients; it may be shared by threads.
#[derive(Debug)]
pub struct Service {
    began: Instant,
    calls: AtomicU64,
    faults: AtomicU64,
}

impl Default for Service {
    fn default() -> Self {
        Self::new()
    }
}

impl Service {
    /// That begins now.
    pub fn new() -> Self {
        Self {
            began: Instant::now(),
            calls: AtomicU64::new(0),
            faults: AtomicU64::new(0),
        }
    }

    /// What answers `request`.
    ///
    /// # Errors
    /// [`Broken::Unexpected`] if it is no request: tell the client ([`last_words`](crate::rpc::last_words)) and close.
    pub fn answer(&self, request: &Frame, limit: Limit) -> Result<Answer, Broken> {
        let mut after = Duration::ZERO;
        let frame = respond::<Demo>(request, limit, |call| self.run(call, &mut after))?;
        self.calls.fetch_add(1, Ordering::Relaxed);
        if frame.kind == crate::Kind::Error {
            self.faults.fetch_add(1, Ordering::Relaxed);
        }
        Ok(Answer { frame, after })
    }

    /// An answer was replaced by an error, because of where it would have gone.
    pub fn count_fault(&self) {
        self.faults.fetch_add(1, Ordering::Relaxed);
    }

    fn run(&self, call: Call, after: &mut Duration) -> Result<Reply, Fault> {
        Ok(match call {
            Call::Echo(bytes) => Reply::Echo(bytes),
            Call::Sum(left, right) => {
                let sum = left.checked_add(right);
                Reply::Sum(sum.ok_or_else(|| {
                    Fault::new(
                        FaultCode::Failed,
                        format_args!("{left} + {right} does not fit into 64 bits"),
                    )
                })?)
            }
            Call::Upper(text) => Reply::Upper(text.to_uppercase()),
            Call::Sleep(ms) if ms > LONGEST_SLEEP_MS => {
                return Err(Fault::new(
                    FaultCode::Refused,
                    format_args!("{ms} ms are too long, {LONGEST_SLEEP_MS} are allowed"),
                ))
            }
            Call::Sleep(ms) => {
                *after = Duration::from_millis(ms.into());
                Reply::Slept
            }
            Call::Fail(text) => return Err(Fault::new(FaultCode::Failed, text)),
            Call::Stat => Reply::Stat {
                uptime_ms: self.began.elapsed().as_millis() as u64,
                calls: self.calls.load(Ordering::Relaxed),
                faults: self.faults.load(Ordering::Relaxed),
            },
            Call::Time => Reply::Time {
                unix_ns: SystemTime::now()
                    .duration_since(SystemTime::UNIX_EPOCH)
                    .map_or(0, |time| time.as_nanos() as u64),
            },
        })
    }
}

// SPDX-License-Identifier: MIT

//! [`Child`]: a forked process that does its part, waiting at gates on the way, and reports a result.
//! `demo` and `bench` use one for each end of a channel.
//!
//! Parent and child talk over a socket pair: at each gate the child sends one byte
//! ([`Gate::pass`]) and the parent one back ([`Child::go`]); at the end the child sends its result as
//! JSON and exits. Every wait of the parent has a deadline.

use crate::failure::{Failure, Result};
use crate::sys;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{kill, Signal};
use nix::sys::wait::{waitpid, WaitStatus};
use nix::time::{clock_gettime, ClockId};
use nix::unistd::{ForkResult, Pid};
use serde::{de::DeserializeOwned, Serialize};
use std::io::{Read, Write};
use std::marker::PhantomData;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// A forked process whose result is an `R`. It is killed when this is dropped, or the parent dies.
pub struct Child<R> {
    part: &'static str,
    pid: Pid,
    control: UnixStream,
    is_reaped: bool,
    result: PhantomData<R>,
}

/// The child's side of the gate.
pub struct Gate {
    control: UnixStream,
}

impl Gate {
    /// Tells the parent that all is prepared, and waits until it says go.
    pub fn pass(&mut self) -> Result<()> {
        let passed = self
            .control
            .write_all(b"r")
            .and_then(|()| self.control.read_exact(&mut [0]));
        passed.map_err(Failure::io("gate"))
    }
}

impl<R: Serialize + DeserializeOwned> Child<R> {
    /// Forks a process that does `body` and nothing else. `part` names it in errors.
    ///
    /// The child has copies of all descriptors: `body` must drop the ends that are not its own.
    pub fn spawn(part: &'static str, body: impl FnOnce(&mut Gate) -> Result<R>) -> Result<Self> {
        let (control, theirs) = UnixStream::pair().map_err(Failure::io("starting a process"))?;
        let forked = sys::fork_single_threaded().map_err(Failure::io("starting a process"))?;
        let ForkResult::Parent { child: pid } = forked else {
            drop(control);
            live(theirs, body)
        };
        Ok(Self {
            part,
            pid,
            control,
            is_reaped: false,
            result: PhantomData,
        })
    }

    /// The child's process number.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Waits until the child stands at the gate.
    pub fn wait_ready(&mut self, patience: Duration) -> Result<()> {
        let mut byte = [0];
        match self.receive(&mut byte, Instant::now() + patience, "is ready")? {
            1 if byte == *b"r" => Ok(()),
            // It reported instead: why it could not get so far.
            len => Err(self
                .result_of(&byte[..len], patience)
                .err()
                .unwrap_or_else(|| self.failure("did not wait"))),
        }
    }

    /// Opens the gate.
    pub fn go(&mut self) -> Result<()> {
        self.control.write_all(b"g").map_err(Failure::io(self.part))
    }

    /// Waits for the result and the end of the process.
    pub fn finish(mut self, patience: Duration) -> Result<R> {
        self.result_of(&[], patience)
    }

    /// Waits for an end without a result: by a signal.
    pub fn died_of(mut self, patience: Duration) -> Result<Signal> {
        let report = self.drain(&[], patience)?;
        match self.reap()? {
            WaitStatus::Signaled(_, signal, _) => Ok(signal),
            status => Err(self.failure(format!(
                "was expected to be ended by a signal, but: {status:?} {}",
                String::from_utf8_lossy(&report)
            ))),
        }
    }

    fn result_of(&mut self, start: &[u8], patience: Duration) -> Result<R> {
        let report = self.drain(start, patience)?;
        match self.reap()? {
            WaitStatus::Exited(_, 0) => {}
            WaitStatus::Signaled(_, signal, _) => {
                return Err(self.failure(format!("ended by {signal}")))
            }
            status => return Err(self.failure(format!("ended with {status:?}"))),
        }
        match serde_json::from_slice::<std::result::Result<R, String>>(&report) {
            Ok(result) => result.map_err(|why| self.failure(why)),
            Err(error) => Err(self.failure(format!("no report: {error}"))),
        }
    }

    /// Reads until the child has closed its side, which is when it ends.
    fn drain(&mut self, start: &[u8], patience: Duration) -> Result<Vec<u8>> {
        let deadline = Instant::now() + patience;
        let mut report = start.to_vec();
        let mut block = [0; 1024];
        loop {
            match self.receive(&mut block, deadline, "has finished")? {
                0 => return Ok(report),
                len => report.extend_from_slice(&block[..len]),
            }
        }
    }

    fn receive(&mut self, buf: &mut [u8], deadline: Instant, what: &str) -> Result<usize> {
        use std::io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
        let patience = deadline.saturating_duration_since(Instant::now());
        // A zero timeout would mean to wait forever.
        let timeout = patience.max(Duration::from_millis(1));
        self.control
            .set_read_timeout(Some(timeout))
            .map_err(Failure::io(self.part))?;
        loop {
            match self.control.read(buf) {
                Err(error) if error.kind() == Interrupted => {}
                Err(error) if matches!(error.kind(), WouldBlock | TimedOut) => {
                    let what = format!("the {} {what}", self.part);
                    return Err(Failure::Deadline {
                        what,
                        seconds: timeout.as_secs().max(1),
                    });
                }
                result => return result.map_err(Failure::io(self.part)),
            }
        }
    }

    /// Collects the status of a child that has closed its side, that is: which is at its end.
    fn reap(&mut self) -> Result<WaitStatus> {
        let status = waitpid(self.pid, None).map_err(Failure::io(self.part))?;
        self.is_reaped = true;
        Ok(status)
    }

    fn failure(&self, why: impl Into<String>) -> Failure {
        Failure::Process {
            what: self.part,
            why: why.into(),
        }
    }
}

impl<R> Drop for Child<R> {
    fn drop(&mut self) {
        if !self.is_reaped {
            // Both fail only for a process that is no longer there.
            let _ = kill(self.pid, Signal::SIGKILL);
            let _ = waitpid(self.pid, None);
        }
    }
}

/// The whole life of a child.
fn live<R: Serialize>(control: UnixStream, body: impl FnOnce(&mut Gate) -> Result<R>) -> ! {
    let mut gate = Gate { control };
    let result = set_pdeathsig(Signal::SIGKILL)
        .map_err(Failure::io("prctl(2)"))
        .and_then(|()| body(&mut gate))
        .map_err(|failure| failure.to_string());
    // A parent that is gone reads no report, and there is nobody else to tell.
    let _ = gate
        .control
        .write_all(&serde_json::to_vec(&result).unwrap_or_default());
    std::process::exit(0);
}

/// The time in nanoseconds, by a clock that all processes share.
pub fn now_ns() -> Result<u64> {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_err(Failure::io("clock_gettime(2)"))?;
    Ok(Duration::from(now).as_nanos() as u64)
}

// SPDX-License-Identifier: MIT

//! [`Part`]: a forked process that plays a part of a lesson, as its parent sees it.
//!
//! Parent and child have a socket of their own: facts go up, cues come down. The parent shows a child's
//! facts when the lesson says so, which makes the order of what is printed the same each time.

use super::ffi::fork_single_threaded;
use super::notes::{shown, Notes, Out, Returned, Said};
use super::{look, until, Call, PATIENCE};
use crate::{Error, Result};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{kill, raise, Signal};
use nix::sys::wait::{waitpid, WaitPidFlag, WaitStatus};
use nix::unistd::{ForkResult, Pid};
use std::fmt::Display;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Instant;

/// What fork(2) returns: two processes go on from here, each with copies of all descriptors.
pub enum Fork {
    /// In the child: its notes, to be played with [`Notes::play`].
    Child(Notes),
    /// In the parent: the child.
    Parent(Part),
}

/// A child. It is killed when this is dropped, or its parent dies.
pub struct Part {
    name: &'static str,
    pid: Pid,
    line: BufReader<UnixStream>,
    status: Option<WaitStatus>,
}

impl Notes {
    /// Forks a process that plays the part `name`.
    pub fn fork(&mut self, name: &'static str) -> Result<Fork> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_read_timeout(Some(PATIENCE))?;
        match fork_single_threaded()? {
            ForkResult::Parent { child } => Ok(Fork::Parent(Part {
                name,
                pid: child,
                line: BufReader::new(ours),
                status: None,
            })),
            ForkResult::Child => {
                set_pdeathsig(Signal::SIGKILL)?;
                Ok(Fork::Child(Self {
                    who: name,
                    began: self.began,
                    out: Out::Send(theirs),
                }))
            }
        }
    }

    /// The whole life of a child: it ends here, with status 0 if nothing failed.
    pub fn play(mut self, part: impl FnOnce(&mut Self) -> Result<()>) -> ! {
        let status = match part(&mut self) {
            Ok(()) => 0,
            Err(error) => {
                self.send(&Said::Failed(error.to_string()));
                1
            }
        };
        std::process::exit(status)
    }

    /// In a child: waits for [`Part::cue`].
    pub fn await_cue(&mut self) -> Result<()> {
        match &mut self.out {
            Out::Send(line) => Ok(line.read_exact(&mut [0])?),
            Out::Show(_) => unreachable!("only children get cues"),
        }
    }

    /// In a child: makes a call between two stops, so that the parent can look at the child before and
    /// after it ([`Part::count`]), and then notes what it returned.
    pub fn call_counted<T: Returned>(
        &mut self,
        what: impl Display,
        call: impl FnOnce() -> nix::Result<T>,
    ) -> Result<nix::Result<T>> {
        raise(Signal::SIGSTOP)?;
        let began = Instant::now();
        let result = call();
        let took_us = began.elapsed().as_micros() as u64;
        raise(Signal::SIGSTOP)?;
        self.returned(what, &shown(&result), took_us);
        Ok(result)
    }
}

impl Part {
    /// Its process number.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Shows the next fact that the child notes.
    pub fn hear(&mut self, notes: &mut Notes) -> Result<()> {
        if self.hear_if_any(notes)? {
            return Ok(());
        }
        Err(self.error("ended early"))
    }

    /// Looks at it until it sleeps in `call`, and notes that.
    pub fn until_asleep_in(&self, call: Call, notes: &mut Notes) -> Result<()> {
        let what = format!("the {} sleeps in {}", self.name, call.name);
        until(&what, || look::is_asleep_in(self.pid, call))?;
        notes.saw_of(self.name, "asleep in", call.name);
        Ok(())
    }

    /// The same, once it has slept more often than `slept` times ([`SLEEPS`](super::SLEEPS)): it has
    /// been awake since.
    pub fn until_asleep_again(&self, slept: u64, call: Call, notes: &mut Notes) -> Result<()> {
        until(&format!("the {} sleeps once more", self.name), || {
            Ok(self.counter(super::SLEEPS)? > slept)
        })?;
        self.until_asleep_in(call, notes)
    }

    /// A counter of it.
    pub fn counter(&self, counter: (&str, &str)) -> Result<u64> {
        look::count_of(self.pid, counter)
    }

    /// Looks at a counter of it until that has grown by at least `more`; by how much it has.
    pub fn until_counted(&self, counter: (&str, &str), more: u64) -> Result<u64> {
        let before = self.counter(counter)?;
        let mut grown = 0;
        until(
            &format!("{} of the {} has grown", counter.1, self.name),
            || {
                grown = self.counter(counter)? - before;
                Ok(grown >= more)
            },
        )?;
        Ok(grown)
    }

    /// Lets a child go on that waits in [`Notes::await_cue`].
    pub fn cue(&mut self) -> Result<()> {
        Ok(self.line.get_mut().write_all(b"c")?)
    }

    /// By how much these counters of /proc grow while the child is in [`Notes::call_counted`]; then shows
    /// what it returned.
    pub fn count<const N: usize>(
        &mut self,
        counters: [(&str, &str); N],
        notes: &mut Notes,
    ) -> Result<[u64; N]> {
        let before = self.stopped_at(counters)?;
        let after = self.stopped_at(counters)?;
        self.hear(notes)?;
        Ok(std::array::from_fn(|n| after[n] - before[n]))
    }

    /// Waits until it has stopped itself, reads the counters and lets it go on.
    fn stopped_at<const N: usize>(&mut self, counters: [(&str, &str); N]) -> Result<[u64; N]> {
        match self.wait_for(WaitPidFlag::WUNTRACED)? {
            WaitStatus::Stopped(..) => {}
            status => return Err(self.error(format!("did not stop but {}", ending(status)))),
        }
        let mut values = [0; N];
        for (value, counter) in values.iter_mut().zip(counters) {
            *value = self.counter(counter)?;
        }
        kill(self.pid, Signal::SIGCONT)?;
        Ok(values)
    }

    /// Sends it a signal and notes that.
    pub fn signal(&self, signal: Signal, notes: &mut Notes) -> Result<()> {
        let what = format!("kill({}, {signal})", self.name);
        Ok(notes.call(what, || kill(self.pid, signal))?)
    }

    /// Shows all that the child still notes, waits for its end, and notes how it ended.
    pub fn end(mut self, notes: &mut Notes) -> Result<()> {
        while self.hear_if_any(notes)? {}
        let status = self.wait_for(WaitPidFlag::empty())?;
        notes.saw_of(self.name, "ended", ending(status));
        Ok(())
    }

    /// False: it has ended.
    fn hear_if_any(&mut self, notes: &mut Notes) -> Result<bool> {
        let mut text = String::new();
        let read = self.line.read_line(&mut text);
        match read {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Err(Error::Deadline {
                    what: format!("the {} goes on", self.name),
                    seconds: PATIENCE.as_secs(),
                })
            }
            // Killed while it had not read a cue.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(false),
            read => {
                if read? == 0 {
                    return Ok(false);
                }
            }
        }
        match serde_json::from_str(&text) {
            Ok(Said::Fact(fact)) => notes.pass_on(fact),
            Ok(Said::Failed(why)) => return Err(self.error(why)),
            Err(error) => return Err(self.error(error.to_string())),
        }
        Ok(true)
    }

    fn wait_for(&mut self, flags: WaitPidFlag) -> Result<WaitStatus> {
        let mut status = WaitStatus::StillAlive;
        until(&format!("the {} stops or ends", self.name), || {
            status = waitpid(self.pid, Some(flags | WaitPidFlag::WNOHANG))?;
            Ok(status != WaitStatus::StillAlive)
        })?;
        if !matches!(status, WaitStatus::Stopped(..)) {
            self.status = Some(status);
        }
        Ok(status)
    }

    fn error(&self, why: impl Into<String>) -> Error {
        Error::Part {
            part: self.name,
            why: why.into(),
        }
    }
}

/// How a process ended, in the words of wait(2).
pub(super) fn ending(status: WaitStatus) -> String {
    match status {
        WaitStatus::Exited(_, status) => format!("exit status {status}"),
        WaitStatus::Signaled(_, signal, _) => format!("killed by {signal}"),
        status => format!("{status:?}"),
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if self.status.is_none() {
            // Both fail only for a process that is no longer there.
            let _ = kill(self.pid, Signal::SIGKILL);
            let _ = waitpid(self.pid, None);
        }
    }
}

// SPDX-License-Identifier: MIT

//! [`Notes`]: where a lesson says what it saw. Each process of a lesson has its own; those of a child go to
//! its parent, who shows them when it comes to that child.

use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use std::fmt::Display;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Instant;

/// One thing that was seen.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Fact {
    /// When it was over, in microseconds since the lesson began.
    pub at_us: u64,
    /// How long the call took, if it is one.
    pub took_us: Option<u64>,
    /// Which process, or "==" for what the lesson does next.
    pub who: String,
    /// The call and what it returned, or what was looked at and what it showed.
    pub what: String,
}

/// Takes facts. See the file's head.
pub struct Notes {
    pub(super) who: &'static str,
    pub(super) began: Instant,
    pub(super) out: Out,
}

/// Where facts go.
pub(super) enum Out {
    Show(Box<dyn FnMut(&Fact)>),
    Send(UnixStream),
}

/// What a child says to its parent.
#[derive(Serialize, Deserialize)]
pub(super) enum Said {
    Fact(Fact),
    Failed(String),
}

impl Notes {
    /// Of the process that is `who` in the lesson and started all others.
    pub fn of_director(who: &'static str, seen: impl FnMut(&Fact) + 'static) -> Self {
        Self {
            who,
            began: Instant::now(),
            out: Out::Show(Box::new(seen)),
        }
    }

    /// What comes next. This is no fact: it says what the program is about to do.
    pub fn step(&mut self, text: &str) {
        self.note("==", text.to_owned(), None);
    }

    /// Makes a call and notes what it returned.
    pub fn call<T: Returned>(
        &mut self,
        what: impl Display,
        call: impl FnOnce() -> nix::Result<T>,
    ) -> nix::Result<T> {
        let began = Instant::now();
        let result = call();
        let took_us = began.elapsed().as_micros() as u64;
        self.returned(what, &shown(&result), took_us);
        result
    }

    /// Notes a call that was made.
    pub(super) fn returned(&mut self, what: impl Display, returned: &str, took_us: u64) {
        self.note(self.who, format!("{what} = {returned}"), Some(took_us));
    }

    /// Notes something that was looked at, and what it showed.
    pub fn saw(&mut self, what: impl Display, value: impl Display) {
        self.note(self.who, format!("{what}: {value}"), None);
    }

    /// The same about another process.
    pub fn saw_of(&mut self, who: &str, what: impl Display, value: impl Display) {
        self.note(who, format!("{what}: {value}"), None);
    }

    fn note(&mut self, who: &str, what: String, took_us: Option<u64>) {
        self.pass_on(Fact {
            at_us: self.began.elapsed().as_micros() as u64,
            took_us,
            who: who.to_owned(),
            what,
        });
    }

    pub(super) fn pass_on(&mut self, fact: Fact) {
        match &mut self.out {
            Out::Show(seen) => seen(&fact),
            Out::Send(_) => self.send(&Said::Fact(fact)),
        }
    }

    pub(super) fn send(&mut self, said: &Said) {
        if let Out::Send(line) = &mut self.out {
            let mut text = serde_json::to_vec(said).expect("plain data");
            text.push(b'\n');
            // A parent that is gone reads nothing, and there is nobody else to tell.
            let _ = line.write_all(&text);
        }
    }
}

/// A result as strace(1) writes it.
pub(super) fn shown<T: Returned>(result: &nix::Result<T>) -> String {
    match result {
        Ok(value) => value.shown(),
        Err(errno) => errno_of(*errno),
    }
}

/// An error as strace(1) writes it.
pub(super) fn errno_of(errno: Errno) -> String {
    format!("-1 {errno:?} ({})", errno.desc())
}

/// What calls return, as the system call has it.
pub trait Returned {
    /// The text behind the "=".
    fn shown(&self) -> String;
}

impl Returned for () {
    fn shown(&self) -> String {
        "0".to_owned()
    }
}

/// A queue's two ends: the numbers say nothing to a reader, so none are shown.
impl Returned for (OwnedFd, OwnedFd) {
    fn shown(&self) -> String {
        "0: rx, tx".to_owned()
    }
}

impl Returned for OwnedFd {
    fn shown(&self) -> String {
        "a descriptor".to_owned()
    }
}

macro_rules! returned {
    ($($number:ty),*) => {
        $(impl Returned for $number {
            fn shown(&self) -> String {
                self.to_string()
            }
        })*
    };
}
returned!(i32, u32, i64, u64, usize, String);

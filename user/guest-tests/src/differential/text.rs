// SPDX-License-Identifier: MIT

//! Operations as text: what is printed can be given to `--replay`.

use std::fmt;
use std::str::{FromStr, SplitWhitespace};

use super::op::{Access, Action, Buffer, Events, Op};

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}:{}", self.process, self.action)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let optional = |is_on: bool, word: &'static str| if is_on { word } else { "" };
        match self {
            Action::Open { access, nonblock } => {
                write!(f, "open {access}{}", optional(*nonblock, " nonblock"))
            }
            Action::Visit { access } => write!(f, "visit {access}"),
            Action::Close { handle } => write!(f, "close {handle}"),
            Action::Dup { handle } => write!(f, "dup {handle}"),
            Action::Fork => f.write_str("fork"),
            Action::Exit => f.write_str("exit"),
            Action::Kill => f.write_str("kill"),
            Action::Signal { restart } => write!(f, "signal{}", optional(*restart, " restart")),
            Action::Read { handle, buffer } => write!(f, "read {handle} {buffer}"),
            Action::Write { handle, buffer } => write!(f, "write {handle} {buffer}"),
            Action::Poll {
                handle,
                events,
                wait,
            } => write!(f, "poll {handle} {events}{}", optional(*wait, " wait")),
            Action::Watch {
                handle,
                events,
                edge,
            } => write!(f, "watch {handle} {events}{}", optional(*edge, " edge")),
            Action::Unwatch { handle } => write!(f, "unwatch {handle}"),
            Action::Await { wait } => write!(f, "await{}", optional(*wait, " wait")),
            Action::Queued { handle } => write!(f, "queued {handle}"),
            Action::Nonblock { handle, on } => {
                write!(f, "nonblock {handle} {}", if *on { "on" } else { "off" })
            }
            Action::Async { handle, on } => {
                write!(f, "async {handle} {}", if *on { "on" } else { "off" })
            }
            Action::Resize { handle, bytes } => write!(f, "resize {handle} {bytes}"),
            Action::SpliceOut {
                handle,
                len,
                nonblock,
            } => {
                let nonblock = optional(*nonblock, " nonblock");
                write!(f, "splice-out {handle} {len}{nonblock}")
            }
            Action::SpliceIn {
                handle,
                len,
                nonblock,
            } => {
                let nonblock = optional(*nonblock, " nonblock");
                write!(f, "splice-in {handle} {len}{nonblock}")
            }
        }
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Access::Read => "r",
            Access::Write => "w",
            Access::Both => "rw",
        })
    }
}

impl fmt::Display for Events {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Events::In => "in",
            Events::Out => "out",
            Events::Both => "inout",
        })
    }
}

impl fmt::Display for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let parts: Vec<String> = self.parts.iter().map(usize::to_string).collect();
        f.write_str(&parts.join("+"))?;
        match self.good {
            Some(good) => write!(f, " bad {good}"),
            None => Ok(()),
        }
    }
}

/// The words of one action, taken one by one.
struct Words<'a>(SplitWhitespace<'a>);

impl<'a> Words<'a> {
    fn word(&mut self) -> Result<&'a str, String> {
        self.0.next().ok_or_else(|| "a word is missing".to_owned())
    }

    fn number(&mut self) -> Result<usize, String> {
        number(self.word()?)
    }

    /// Is this the next word? Takes it then.
    fn has(&mut self, word: &str) -> bool {
        let mut rest = self.0.clone();
        let is_next = rest.next() == Some(word);
        if is_next {
            self.0 = rest;
        }
        is_next
    }

    fn access(&mut self) -> Result<Access, String> {
        match self.word()? {
            "r" => Ok(Access::Read),
            "w" => Ok(Access::Write),
            "rw" => Ok(Access::Both),
            other => Err(format!("{other:?} is none of r, w, rw")),
        }
    }

    fn on(&mut self) -> Result<bool, String> {
        match self.word()? {
            "on" => Ok(true),
            "off" => Ok(false),
            other => Err(format!("{other:?} is neither on nor off")),
        }
    }

    fn events(&mut self) -> Result<Events, String> {
        match self.word()? {
            "in" => Ok(Events::In),
            "out" => Ok(Events::Out),
            "inout" => Ok(Events::Both),
            other => Err(format!("{other:?} is none of in, out, inout")),
        }
    }

    fn buffer(&mut self) -> Result<Buffer, String> {
        let parts = self
            .word()?
            .split('+')
            .map(number)
            .collect::<Result<_, _>>();
        let good = self.has("bad").then(|| self.number()).transpose()?;
        Ok(Buffer {
            parts: parts?,
            good,
        })
    }
}

fn number(word: &str) -> Result<usize, String> {
    word.parse().map_err(|_| format!("{word:?} is no number"))
}

impl FromStr for Op {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (process, action) = text
            .trim()
            .split_once(':')
            .ok_or_else(|| format!("{text:?} is not PROCESS:ACTION"))?;
        Ok(Self {
            process: number(process)?,
            action: action.parse().map_err(|e| format!("{text:?}: {e}"))?,
        })
    }
}

impl FromStr for Action {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = Words(text.split_whitespace());
        let action = match words.word()? {
            "open" => Action::Open {
                access: words.access()?,
                nonblock: words.has("nonblock"),
            },
            "visit" => Action::Visit {
                access: words.access()?,
            },
            "close" => Action::Close {
                handle: words.number()?,
            },
            "dup" => Action::Dup {
                handle: words.number()?,
            },
            "fork" => Action::Fork,
            "exit" => Action::Exit,
            "kill" => Action::Kill,
            "signal" => Action::Signal {
                restart: words.has("restart"),
            },
            "read" => Action::Read {
                handle: words.number()?,
                buffer: words.buffer()?,
            },
            "write" => Action::Write {
                handle: words.number()?,
                buffer: words.buffer()?,
            },
            "poll" => Action::Poll {
                handle: words.number()?,
                events: words.events()?,
                wait: words.has("wait"),
            },
            "watch" => Action::Watch {
                handle: words.number()?,
                events: words.events()?,
                edge: words.has("edge"),
            },
            "unwatch" => Action::Unwatch {
                handle: words.number()?,
            },
            "await" => Action::Await {
                wait: words.has("wait"),
            },
            "queued" => Action::Queued {
                handle: words.number()?,
            },
            "nonblock" => Action::Nonblock {
                handle: words.number()?,
                on: words.on()?,
            },
            "async" => Action::Async {
                handle: words.number()?,
                on: words.on()?,
            },
            "resize" => Action::Resize {
                handle: words.number()?,
                bytes: words.number()?,
            },
            "splice-out" => Action::SpliceOut {
                handle: words.number()?,
                len: words.number()?,
                nonblock: words.has("nonblock"),
            },
            "splice-in" => Action::SpliceIn {
                handle: words.number()?,
                len: words.number()?,
                nonblock: words.has("nonblock"),
            },
            other => return Err(format!("{other:?} is no action")),
        };
        match words.0.next() {
            Some(word) => Err(format!("{word:?} is too much")),
            None => Ok(action),
        }
    }
}

/// A whole sequence: operations with `;` or line ends between them.
pub fn parse(text: &str) -> Result<Vec<Op>, String> {
    text.split([';', '\n'])
        .filter(|part| !part.trim().is_empty())
        .map(str::parse)
        .collect()
}

/// The same as text.
pub fn print(ops: &[Op]) -> String {
    let ops: Vec<String> = ops.iter().map(Op::to_string).collect();
    ops.join("; ")
}

#[cfg(test)]
mod tests {
    use super::super::generate::sequence;
    use super::*;

    #[test]
    fn what_is_printed_can_be_parsed() {
        for index in 0..500 {
            let ops = sequence(7, index);
            assert_eq!(parse(&print(&ops)), Ok(ops));
        }
    }

    #[test]
    fn a_word_too_many_is_an_error() {
        assert!(parse("0:fork 1").is_err());
        assert!(parse("0:read 1").is_err());
        assert!(parse("open r").is_err());
    }
}

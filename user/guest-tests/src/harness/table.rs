// SPDX-License-Identifier: MIT

//! What a line of a test table says, and the cases that come of it.

use std::time::Duration;

use super::difference::Difference;
use crate::tools::subject::{Queue, Subject};

/// One line of a table: a function that is a fact, and how to run it. A line can also be the
/// heading of a section or the sentence that the facts below it prove.
#[derive(Clone, Copy)]
pub struct Test {
    module: &'static str,
    name: &'static str,
    kind: Kind,
    /// The test itself.
    pub body: Body,
    /// Time for the whole process on a fast kernel.
    pub deadline: Duration,
    /// What the kernel must have for this; `Err` says what is missing, and the test is ignored.
    pub needs: Option<fn() -> Result<(), String>>,
    /// Parts of lines that the kernel must log; no other complaint is allowed.
    pub expected_log: &'static [&'static str],
    /// What the test expects to be otherwise on some subjects.
    pub differences: &'static [&'static Difference],
    is_for_sockets: bool,
    sets_transport: bool,
    without: Option<(&'static [Subject], &'static str)>,
}

/// What a line is.
#[derive(Clone, Copy)]
pub enum Body {
    /// A test that takes the queue to test on.
    Queue(fn(&Queue)),
    /// A test of the module as a whole.
    Plain(fn()),
    /// The heading of a section. `sockets` is why most of its facts are none about sockets.
    Section {
        /// A noun or two.
        title: &'static str,
        /// The reason.
        sockets: &'static str,
    },
    /// What the facts below it prove, up to the next sentence.
    Sentence(&'static str),
}

/// Which subjects a fact is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Everything that behaves as a pipe does.
    Each,
    /// Queues with a name.
    Named,
    /// Queues that a call makes together with both ends.
    Unnamed,
    /// What only the driver has.
    Ours,
    /// What only the driver's named queues have.
    Device,
    /// What only the driver's private queues have.
    Pair,
    /// No queue at all.
    Nothing,
}

/// A test that runs on pipe, FIFO, device and private pair: `each!(name_of_the_function)`.
macro_rules! each {
    ($function:ident) => {
        $crate::harness::table_line!(Each, $function)
    };
}

/// A test of what only a queue with a name has: `named!(name_of_the_function)`.
macro_rules! named {
    ($function:ident) => {
        $crate::harness::table_line!(Named, $function)
    };
}

/// A test of what only a queue without a name has: `unnamed!(name_of_the_function)`.
macro_rules! unnamed {
    ($function:ident) => {
        $crate::harness::table_line!(Unnamed, $function)
    };
}

/// A test of what only the driver's queues have, named or private: `ours!(name_of_the_function)`.
macro_rules! ours {
    ($function:ident) => {
        $crate::harness::table_line!(Ours, $function)
    };
}

/// A test of what only the driver's named queues have: `device!(name_of_the_function)`.
macro_rules! device {
    ($function:ident) => {
        $crate::harness::table_line!(Device, $function)
    };
}

/// A test of what only the driver's private queues have: `private!(name_of_the_function)`.
macro_rules! private {
    ($function:ident) => {
        $crate::harness::table_line!(Pair, $function)
    };
}

/// A test without a queue: `plain!(name_of_the_function)`.
macro_rules! plain {
    ($function:ident) => {
        $crate::harness::Test::plain(module_path!(), stringify!($function), $function)
    };
}

/// What the macros for tests with a queue share.
macro_rules! table_line {
    ($kind:ident, $function:ident) => {
        $crate::harness::Test::queue(
            module_path!(),
            stringify!($function),
            $crate::harness::Kind::$kind,
            $function,
        )
    };
}

pub(crate) use {device, each, named, ours, plain, private, table_line, unnamed};

/// The heading of a section, as its first line. `sockets` says why most of its facts are none about
/// sockets.
pub const fn section(title: &'static str, sockets: &'static str) -> Test {
    Test {
        body: Body::Section { title, sockets },
        ..Test::plain("", "", || ())
    }
}

/// What the facts below prove.
pub const fn says(sentence: &'static str) -> Test {
    Test {
        body: Body::Sentence(sentence),
        ..Test::plain("", "", || ())
    }
}

impl Test {
    /// Enough for anything that sleeps only until its partner is there.
    const DEADLINE: Duration = Duration::from_secs(20);

    /// Use `each!`, `named!`, `ours!`, `device!` or `private!`.
    pub const fn queue(
        module: &'static str,
        name: &'static str,
        kind: Kind,
        function: fn(&Queue),
    ) -> Self {
        Self {
            module,
            name,
            kind,
            body: Body::Queue(function),
            deadline: Self::DEADLINE,
            needs: None,
            expected_log: &[],
            differences: &[],
            is_for_sockets: false,
            sets_transport: false,
            without: None,
        }
    }

    /// Use `plain!`.
    pub const fn plain(module: &'static str, name: &'static str, function: fn()) -> Self {
        Self {
            body: Body::Plain(function),
            ..Self::queue(module, name, Kind::Nothing, |_| ())
        }
    }

    /// Gives the test this much time on a fast kernel.
    pub const fn deadline_secs(self, seconds: u64) -> Self {
        Self {
            deadline: Duration::from_secs(seconds),
            ..self
        }
    }

    /// Ignores the test, with the reason, where this says what is missing.
    pub const fn needs(self, condition: fn() -> Result<(), String>) -> Self {
        Self {
            needs: Some(condition),
            ..self
        }
    }

    /// Demands a line with each of these texts in the kernel log, and allows them.
    pub const fn logs(self, texts: &'static [&'static str]) -> Self {
        Self {
            expected_log: texts,
            ..self
        }
    }

    /// Runs it on an AF_UNIX socketpair too.
    pub const fn and_socket(self) -> Self {
        Self {
            is_for_sockets: true,
            ..self
        }
    }

    /// Expects something else on some subjects. The test has to ask for each of them by
    /// [`Queue::differs`], and so proves in which way they differ.
    pub const fn differs(self, differences: &'static [&'static Difference]) -> Self {
        Self {
            differences,
            ..self
        }
    }

    /// Leaves out subjects that it would otherwise run on, and says why.
    pub const fn not_on(self, subjects: &'static [Subject], reason: &'static str) -> Self {
        Self {
            without: Some((subjects, reason)),
            ..self
        }
    }

    /// Sets the transports itself, so that one run of it is enough.
    pub const fn sets_transport(self) -> Self {
        Self {
            sets_transport: true,
            ..self
        }
    }

    /// `section::fact`
    pub fn name(&self) -> String {
        let section = self.module.rsplit("::").next().unwrap_or_default();
        format!("{section}::{}", self.name)
    }

    /// The fact as a sentence without capital and full stop.
    pub fn sentence(&self) -> String {
        self.name.replace('_', " ")
    }

    /// `None`: it runs on this subject. Otherwise the reason why it does not; `sockets` is the
    /// reason of the section.
    pub fn reason_against(&self, subject: Subject, sockets: &'static str) -> Option<&'static str> {
        use Subject::{Device, Fifo, Pair, Pipe, Socket};
        if let Some((subjects, reason)) = self.without {
            if subjects.contains(&subject) {
                return Some(reason);
            }
        }
        match (self.kind, subject) {
            (_, Socket) if self.is_for_sockets => None,
            (Kind::Nothing, _) => Some("it is about the module"),
            (Kind::Each, Pipe | Fifo | Device | Pair) => None,
            (Kind::Named, Fifo | Device) => None,
            (Kind::Unnamed, Pipe | Pair) => None,
            (Kind::Ours, Device | Pair) => None,
            (Kind::Device, Device) => None,
            (Kind::Pair, Pair) => None,
            (Kind::Each, Socket) => Some(sockets),
            (Kind::Named, _) => Some("it has no name"),
            (Kind::Unnamed, Fifo | Device) => Some("it has a name"),
            (Kind::Unnamed, Socket) => Some(sockets),
            (Kind::Ours | Kind::Device | Kind::Pair, Pipe | Fifo | Socket) => {
                Some("it has nothing like that")
            }
            (Kind::Device, Pair) => Some("named queues only"),
            (Kind::Pair, Device) => Some("private queues only"),
        }
    }

    /// The subjects that it runs on.
    pub fn subjects(&self) -> impl Iterator<Item = Subject> + '_ {
        let all = Subject::ALL.into_iter();
        all.filter(|&subject| self.reason_against(subject, "").is_none())
    }
}

/// One test on one subject.
#[derive(Clone, Copy)]
pub struct Case {
    /// The line of the table.
    pub test: &'static Test,
    /// What it runs on; `None` for a test of the module as a whole.
    pub subject: Option<Subject>,
}

impl Case {
    /// `section::fact::subject`: what the filters of the command line look at.
    pub fn name(&self) -> String {
        let name = self.test.name();
        match self.subject {
            Some(subject) => format!("{name}::{subject}"),
            None => name,
        }
    }

    /// Does it show something of the driver's that the transport could change?
    pub fn is_about_the_driver(&self) -> bool {
        !self.test.sets_transport
            && matches!(self.subject, None | Some(Subject::Device | Subject::Pair))
    }

    /// The differences that it has to show.
    pub fn differences(&self) -> impl Iterator<Item = &'static Difference> + '_ {
        let all = self.test.differences.iter().copied();
        all.filter(|difference| {
            self.subject
                .is_some_and(|subject| difference.on.contains(&subject))
        })
    }
}

/// All cases in the order of the tables.
pub fn cases(sections: &'static [&'static [Test]]) -> impl Iterator<Item = Case> {
    let tests = sections.iter().flat_map(|tests| tests.iter());
    tests.flat_map(|test| {
        let subjects: Vec<_> = match test.body {
            Body::Queue(_) => test.subjects().map(Some).collect(),
            Body::Plain(_) => vec![None],
            Body::Section { .. } | Body::Sentence(_) => vec![],
        };
        subjects
            .into_iter()
            .map(move |subject| Case { test, subject })
    })
}

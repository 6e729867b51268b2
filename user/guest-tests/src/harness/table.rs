// SPDX-License-Identifier: MIT

//! What a line of a test table says, and the cases that come of it.

use std::time::Duration;

use crate::tools::subject::Subject;

/// One line of a table: a function that is a fact, and how to run it.
#[derive(Clone, Copy)]
pub struct Test {
    module: &'static str,
    name: &'static str,
    subjects: &'static [Subject],
    /// The test itself.
    pub body: Body,
    /// Time for the whole process on a fast kernel.
    pub deadline: Duration,
    /// What the kernel must have for this; `Err` says what is missing, and the test is ignored.
    pub needs: Option<fn() -> Result<(), String>>,
    /// Parts of lines that the kernel must log; no other complaint is allowed.
    pub expected_log: &'static [&'static str],
}

/// The two kinds of test function.
#[derive(Clone, Copy)]
pub enum Body {
    /// Takes the queue to test on.
    Queue(fn(&crate::tools::subject::Queue)),
    /// Tests the module as a whole.
    Plain(fn()),
}

/// A test that runs on the device and on a FIFO: `each!(name_of_the_function)`.
macro_rules! each {
    ($function:ident) => {
        $crate::harness::Test::queue(
            module_path!(),
            stringify!($function),
            $crate::tools::subject::EACH,
            $function,
        )
    };
}

/// A test of something that only the device has: `device!(name_of_the_function)`.
macro_rules! device {
    ($function:ident) => {
        $crate::harness::Test::queue(
            module_path!(),
            stringify!($function),
            $crate::tools::subject::DEVICE,
            $function,
        )
    };
}

/// A test without a queue: `plain!(name_of_the_function)`.
macro_rules! plain {
    ($function:ident) => {
        $crate::harness::Test::plain(module_path!(), stringify!($function), $function)
    };
}

pub(crate) use {device, each, plain};

impl Test {
    /// Enough for anything that sleeps only until its partner is there.
    const DEADLINE: Duration = Duration::from_secs(10);

    /// Use `each!` or `device!`.
    pub const fn queue(
        module: &'static str,
        name: &'static str,
        subjects: &'static [Subject],
        function: fn(&crate::tools::subject::Queue),
    ) -> Self {
        Self {
            module,
            name,
            subjects,
            body: Body::Queue(function),
            deadline: Self::DEADLINE,
            needs: None,
            expected_log: &[],
        }
    }

    /// Use `plain!`.
    pub const fn plain(module: &'static str, name: &'static str, function: fn()) -> Self {
        Self {
            body: Body::Plain(function),
            ..Self::queue(module, name, &[], |_| ())
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
        let section = self.test.module.rsplit("::").next().unwrap_or_default();
        match self.subject {
            Some(subject) => format!("{section}::{}::{subject}", self.test.name),
            None => format!("{section}::{}", self.test.name),
        }
    }
}

/// All cases in the order of the tables.
pub fn cases(sections: &'static [&'static [Test]]) -> impl Iterator<Item = Case> {
    let tests = sections.iter().flat_map(|tests| tests.iter());
    tests.flat_map(|test| {
        let alone = matches!(test.body, Body::Plain(_)).then_some(None);
        let subjects = test.subjects.iter().copied().map(Some);
        subjects
            .chain(alone)
            .map(move |subject| Case { test, subject })
    })
}

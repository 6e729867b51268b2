// SPDX-License-Identifier: MIT

//! Runs the tests: each in one process with one deadline, and nothing may be left behind.
//!
//! The outer process lists, filters and reports (libtest-mimic). For each test it starts this
//! binary again with [`RUN_ONE`], and calls the test failed if that process fails, is late, leaves
//! processes or open queues behind, or makes the kernel complain.

mod aftermath;
mod kernel_log;
mod process;
mod scale;
mod table;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Completion, Failed, Trial};

use crate::tools::subject::Queue;
use kernel_log::KernelLog;
use process::TestProcess;
use table::{Body, Case};

pub use scale::{amount, patience};
pub use table::Test;
pub(crate) use table::{device, each, plain};

/// First argument of the inner process; the second is the name of the test.
pub const RUN_ONE: &str = "--run-one";

/// The outer process: everything that the command line asks for, one test after the other.
pub fn run_all(sections: &'static [&'static [Test]]) -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Two tests at once would share queues, and the kernel log could not say whose line it is.
    arguments.test_threads = Some(1);
    aftermath::adopt_orphans();
    let trials = table::cases(sections)
        .map(|case| Trial::ignorable_test(case.name(), move || run_watched(&case)))
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// The inner process: the test itself, in the main thread.
pub fn run_one(name: &str, sections: &'static [&'static [Test]]) -> ExitCode {
    let Some(case) = table::cases(sections).find(|case| case.name() == name) else {
        eprintln!("kpipe-tests: no test is named {name:?}; --list shows them");
        return ExitCode::from(2);
    };
    process::die_with_the_outer_process();
    process::end_at_first_panic();
    match case.test.body {
        Body::Queue(run) => run(&Queue::new(
            case.subject.expect("a queue test has a subject"),
        )),
        Body::Plain(run) => run(),
    }
    ExitCode::SUCCESS
}

/// One test in its process, and the verdict over everything that can be seen from outside.
fn run_watched(case: &Case) -> Result<Completion, Failed> {
    if let Some(Err(reason)) = case.test.needs.map(|needs| needs()) {
        return Ok(Completion::ignored_with(reason));
    }
    let mut problems = Vec::new();
    let before = aftermath::Before::look();
    let mut log = KernelLog::from_now()?;

    let output = TestProcess::start(&case.name())?
        .wait(scale::patience(case.test.deadline), &mut problems)?;

    before.restore(&mut problems);
    log.judge(case.test.expected_log, &mut problems);
    if problems.is_empty() {
        return Ok(Completion::Completed);
    }
    if !output.is_empty() {
        problems.insert(0, output);
    }
    Err(problems.join("\n").into())
}

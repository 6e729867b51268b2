// SPDX-License-Identifier: MIT

//! Runs the tests: each in one process with one deadline, and nothing may be left behind.
//!
//! The outer process lists, filters and reports: as a test program (libtest-mimic), or as the table
//! of [`conformance`]. For each test it forks, and calls the test failed if that process fails, is
//! late, leaves processes or open queues behind, or makes the kernel complain.

mod aftermath;
pub mod conformance;
pub mod difference;
mod kernel_log;
mod process;
mod scale;
mod table;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Completion, Trial};

use crate::tools::subject::Queue;
use crate::tools::transport;
use kernel_log::KernelLog;
use process::TestProcess;
use table::{Body, Case};

pub use scale::{amount, amount_of_heavy, is_debug_kernel, patience, slow_down};
pub(crate) use table::{device, each, named, ours, plain, private, table_line, unnamed};
pub use table::{says, section, Kind, Test};

/// Deadlines are this many times as long as a test takes at most on a quiet machine: there are slower ones, and
/// a test that hangs does so for ever.
const SLOW_MACHINE: u32 = 3;

/// What came of one test on one subject.
enum Verdict {
    Passed,
    /// This kernel or machine lacks something; what.
    Skipped(String),
    /// What went wrong.
    Failed(String),
}

/// Everything that the command line asks for, one test after the other.
pub fn run_all(sections: &'static [&'static [Test]], arguments: Vec<String>) -> ExitCode {
    let name = "kpipe-tests".to_owned();
    let mut arguments = Arguments::from_iter(std::iter::once(name).chain(arguments));
    // Two tests at once would share queues, and the kernel log could not say whose line it is.
    arguments.test_threads = Some(1);
    aftermath::adopt_orphans();
    let trials = table::cases(sections)
        .filter(|case| !transport::is_chosen() || case.is_about_the_driver())
        .map(|case| {
            Trial::ignorable_test(case.name(), move || match run_watched(case) {
                Verdict::Passed => Ok(Completion::Completed),
                Verdict::Skipped(reason) => Ok(Completion::ignored_with(reason)),
                Verdict::Failed(problems) => Err(problems.into()),
            })
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// The test itself, in the process that was forked for it.
fn run(case: Case) {
    difference::begin(case);
    match case.test.body {
        Body::Queue(run) => run(&Queue::new(
            case.subject.expect("a queue test has a subject"),
        )),
        Body::Plain(run) => run(),
        Body::Section { .. } | Body::Sentence(_) => unreachable!("no test"),
    }
    difference::end();
}

/// One test in its process, and the verdict over everything that can be seen from outside.
fn run_watched(case: Case) -> Verdict {
    if let Some(Err(reason)) = case.test.needs.map(|needs| needs()) {
        return Verdict::Skipped(reason);
    }
    let mut problems = Vec::new();
    let output = watch(case, &mut problems).unwrap_or_else(|problem| problem);
    if problems.is_empty() {
        return Verdict::Passed;
    }
    if !output.is_empty() {
        problems.insert(0, output);
    }
    Verdict::Failed(problems.join("\n"))
}

fn watch(case: Case, problems: &mut Vec<String>) -> Result<String, String> {
    let before = aftermath::Before::look();
    let mut log = KernelLog::from_now().inspect_err(|e| problems.push(e.clone()))?;

    let process = TestProcess::start(move || run(case));
    let deadline = scale::patience(case.test.deadline) * SLOW_MACHINE;
    let output = process.and_then(|process| process.wait(deadline, problems));
    let output = output.inspect_err(|e| problems.push(e.clone()));

    before.restore(problems);
    log.judge(case.test.expected_log, problems);
    output.or_else(|_| Ok(String::new()))
}

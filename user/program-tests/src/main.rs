// SPDX-License-Identifier: MIT

//! `kpipe-program-tests`: programs that know nothing of the device, with their pipes on it. And those of
//! docs/examples, which use it.
//!
//! Each test of the former runs a program twice, under `kpipe exec` and as it is, and wants the same from both:
//! the kernel's own pipe is the judge of the device. A run in which no pipe was replaced proves
//! nothing, so every test also asks how many were. Run it as root in the VM (`qemu/vm --root programs`):
//!
//! ```text
//! kpipe-program-tests              everything
//! kpipe-program-tests --list       what there is
//! kpipe-program-tests cpython::    names that contain this
//! ```
//!
//! With `KPIPE_PROGRAM_TESTS=all` CPython runs its test modules as a whole (4 minutes) and not the
//! parts that are about pipes.

mod cpython;
mod details;
mod examples;
mod kernel;
#[allow(dead_code)] // Its tests, and what kpipe-tests alone needs.
#[path = "../../guest-tests/src/harness/kernel_log.rs"]
mod kernel_log;
mod load;
mod run;
#[allow(dead_code)]
#[path = "../../guest-tests/src/harness/scale.rs"]
mod scale;
mod shell;

use std::process::ExitCode;

use kernel_log::KernelLog;
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use run::Place;

/// What a test is: it gets a folder of its own, and fails with a sentence.
type Body = fn(&Place) -> Result<(), String>;

/// A test by its name; `Err` of the third says what this guest lacks for it.
type Test = (&'static str, Body, fn() -> Result<(), String>);

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // The kernel's log could not say whose line it is.
    arguments.test_threads = Some(1);
    let plain = [
        shell::TESTS,
        details::TESTS,
        examples::TESTS,
        load::TESTS,
        kernel::TESTS,
    ]
    .concat();
    let plain = plain
        .into_iter()
        .map(|(name, body, needs)| Trial::ignorable_test(name, move || watched(needs, body)));
    let cpython = cpython::MODULES.iter().map(|module| {
        let name = format!("cpython::{}", module.name.replace('.', "::"));
        Trial::ignorable_test(name, || {
            watched(|| Ok(()), |place| cpython::run(module, place))
        })
    });
    let rest = Trial::test("cpython::every_listed_difference_is_one", || {
        cpython::every_listed_difference_is_of_a_test().map_err(Failed::from)
    });
    libtest_mimic::run(&arguments, plain.chain(cpython).chain([rest]).collect()).exit_code()
}

/// Runs a test in a folder of its own; a complaint of the kernel fails it too.
fn watched(
    needs: fn() -> Result<(), String>,
    body: impl Fn(&Place) -> Result<(), String>,
) -> Result<Completion, Failed> {
    if let Err(reason) = needs() {
        return Ok(Completion::ignored_with(reason));
    }
    let mut log = KernelLog::from_now()?;
    let place = Place::new()?;
    let mut problems: Vec<String> = body(&place).err().into_iter().collect();
    log.judge(&[], &mut problems);
    if problems.is_empty() {
        return Ok(Completion::Completed);
    }
    Err(problems.join("\n").into())
}

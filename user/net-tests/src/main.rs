// SPDX-License-Identifier: MIT

//! `kpipe-net-tests`: what is built on channels, run in the VM, where the device is, and programs that a host
//! may not have. Run it as root:
//!
//! ```text
//! qemu/vm --root programs -- kpipe-net-tests              everything
//! qemu/vm --root programs -- kpipe-net-tests --list       what there is
//! qemu/vm --root programs -- kpipe-net-tests servers::    names that contain this
//! ```

mod commands;
#[allow(dead_code)] // Its tests, and what kpipe-tests alone needs.
#[path = "../../guest-tests/src/harness/kernel_log.rs"]
mod kernel_log;
mod lessons;
mod load;
#[allow(dead_code)]
#[path = "../../guest-tests/src/harness/scale.rs"]
mod scale;
mod servers;

use kernel_log::KernelLog;
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::process::ExitCode;
use tempfile::TempDir;

/// A test: its name, what it does in a folder of its own, and the programs that it needs.
pub type Test = (&'static str, fn(&TempDir), &'static [&'static str]);

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // The tests share two processors, /dev/kpipeN, the loopback network and the kernel's log.
    arguments.test_threads = Some(1);
    let mut tests = lessons::tests();
    tests.extend(
        servers::TESTS
            .iter()
            .chain(load::TESTS)
            .map(|&(name, body, programs)| {
                Trial::ignorable_test(name, move || watched(body, programs))
            }),
    );
    libtest_mimic::run(&arguments, tests).exit_code()
}

/// Runs a test; a complaint of the kernel fails it too.
fn watched(body: fn(&TempDir), programs: &[&str]) -> Result<Completion, Failed> {
    if let Some(missing) = programs.iter().find(|name| !commands::exists(name)) {
        let reason = format!("{missing} is not in this root");
        return Ok(Completion::ignored_with(reason));
    }
    let mut log = KernelLog::from_now()?;
    let folder = tempfile::tempdir()?;
    let mut problems = Vec::new();
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| body(&folder))) {
        let text = panic.downcast_ref::<&str>().map(ToString::to_string);
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        problems.push(text.unwrap_or_else(|| "panicked".to_owned()));
    }
    log.judge(&[], &mut problems);
    if problems.is_empty() {
        return Ok(Completion::Completed);
    }
    Err(problems.join("\n").into())
}

// SPDX-License-Identifier: MIT

//! `kpipe-tests`: what the driver's queues promise, proven in a running kernel.
//!
//! Every promise that the kernel's own pipe or FIFO makes too is tested on those as well, so the
//! kernel itself proves the tests. Run it as root in the VM:
//!
//! ```text
//! kpipe-tests                      everything
//! kpipe-tests --list               what there is
//! kpipe-tests wakeups::            names that contain this
//! kpipe-tests ::pipe               one subject: pipe, fifo, kpipe, pair or socket
//! kpipe-tests --conformance        the facts as a table, `kpipe conformance`; --json too
//! kpipe-tests --transport doorbell --bottom-half work   all on another transport; --msi 0: INTx
//! ```
//!
//! On a transport only the driver's own queues are tested; afterwards the module is still loaded that way.
//!
//! `KPIPE_TEST_SCALE=N` gives every deadline N times its time and moves an N-th of the data; by
//! default N is 1, 8 on a kernel with lock debugging, and more on a slow transport. `KPIPE_MODULE=PATH` is the module that the
//! tests in [`tests::module`] load, by default `/lib/modules/kpipe.ko`.
//!
//! Where to read: [`tests`] are the facts, one function and one line each; [`differences`] is where a
//! subject is not as a pipe; [`tools`] is what the tests are made of; [`harness`] runs each in a
//! process of its own and watches it.

mod differences;
mod differential;
mod harness;
mod tests;
mod tools;

use std::process::ExitCode;

/// What `--help` says.
const HELP: &str = "\
Prove in a running kernel what the queues promise, each fact also on the kernel's own pipe and FIFO.

Usage: kpipe-tests [OPTIONS] [NAME...]
       kpipe-tests differential --help

  NAME                 only tests whose name contains this: wakeups::, or ::pipe for one subject (pipe, fifo, kpipe,
                       pair, socket)
  --skip NAME          all but these
  --list               what there is
  --conformance        the facts as a table, as kpipe conformance shows it; --json
  --transport NAME     the driver's queues on timer, doorbell or dma; --bottom-half hard|bh|work|thread, --msi 0|1.
                       Afterwards the module is still loaded that way.

As root, with the module loaded; one test at a time. KPIPE_TEST_SCALE=N gives every deadline N times its time and moves an
N-th of the data (1, or 8 on a kernel with lock debugging); KPIPE_MODULE=PATH is what is
loaded (/lib/modules/kpipe.ko). The exit status is 1 if a test failed, 2 for wrong usage.";

fn main() -> ExitCode {
    let arguments = match tools::transport::take_options(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(message) => {
            eprintln!("kpipe-tests: {message}");
            return ExitCode::from(2);
        }
    };
    if let Some("--help" | "-h") = arguments.first().map(String::as_str) {
        println!("{HELP}");
        return ExitCode::SUCCESS;
    }
    if let Err(problem) = tools::module::use_transport() {
        eprintln!("kpipe-tests: {problem}");
        return ExitCode::FAILURE;
    }
    let all = arguments.clone();
    let mut arguments = arguments.into_iter();
    match arguments.next().as_deref() {
        Some(harness::conformance::ARGUMENT) => {
            harness::conformance::run(tests::SECTIONS, arguments)
        }
        Some(differential::SUBCOMMAND) => differential::main(arguments),
        _ => harness::run_all(tests::SECTIONS, all),
    }
}

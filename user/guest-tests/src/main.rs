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
//! ```
//!
//! `KPIPE_TEST_SCALE=N` gives every deadline N times its time and moves an N-th of the data; by
//! default N is 1, and 8 on a kernel with lock debugging. `KPIPE_MODULE=PATH` is the module that the
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

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some(harness::conformance::ARGUMENT) => {
            harness::conformance::run(tests::SECTIONS, arguments)
        }
        Some(differential::SUBCOMMAND) => differential::main(arguments),
        _ => harness::run_all(tests::SECTIONS),
    }
}

// SPDX-License-Identifier: MIT

//! `kpipe-tests`: what the device promises, proven in a running kernel.
//!
//! Every promise that a named FIFO makes too is tested twice: on the device and on a FIFO that
//! mkfifo(3) made, so the kernel's own pipe proves the tests. Run it as root in the VM:
//!
//! ```text
//! kpipe-tests                 everything
//! kpipe-tests --list          what there is
//! kpipe-tests wakeups::       names that contain this
//! kpipe-tests ::fifo          the FIFO only; needs no module
//! ```
//!
//! `KPIPE_TEST_SCALE=N` gives every deadline N times its time and moves an N-th of the data; by
//! default N is 1, and 8 on a kernel with lock debugging. `KPIPE_MODULE=PATH` is the module that the
//! tests in [`tests::module`] load, by default `/lib/modules/kpipe.ko`.
//!
//! Where to read: [`tests`] are the facts, one function and one line each; [`tools`] is what they
//! are made of; [`harness`] runs each in a process of its own and watches it.

mod harness;
mod tests;
mod tools;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(harness::RUN_ONE) {
        return harness::run_one(&arguments.next().unwrap_or_default(), tests::SECTIONS);
    }
    harness::run_all(tests::SECTIONS)
}

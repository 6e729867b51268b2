// SPDX-License-Identifier: MIT

//! `kpipe-vm-tests`: what `qemu/vm --help` promises, proven by running it.
//!
//! Environment: `KPIPE_VM` is the runner (`qemu/vm`), `KPIPE_OOPS` a module that oopses (built from
//! `oops/`). A boot takes seconds, so a test looks at all that one boot can show about its fact.

mod facts;
mod run;

use libtest_mimic::{Arguments, Trial};

fn main() {
    let trials = facts::ALL
        .iter()
        .map(|&(name, fact)| Trial::test(name, move || fact().map_err(Into::into)))
        .collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

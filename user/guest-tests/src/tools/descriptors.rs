// SPDX-License-Identifier: MIT

//! The table of descriptors of this process: how full it is, and how full it can be.

use std::fs::File;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::sys::resource::{setrlimit, Resource};

/// A table that is soon full.
const SMALL: u64 = 64;

/// Descriptors that are open now.
pub fn number() -> usize {
    // Without the one that looks.
    std::fs::read_dir("/proc/self/fd").expect("/proc").count() - 1
}

/// Lets this process have descriptors below this number.
pub fn limit(number: u64) {
    setrlimit(Resource::RLIMIT_NOFILE, number, number)
        .expect("RLIMIT_NOFILE; these tests run as root");
}

/// Opens something until no descriptor is free.
pub fn take_all_descriptors() -> Vec<OwnedFd> {
    limit(SMALL);
    let mut all = vec![];
    loop {
        match File::open("/dev/null") {
            Ok(file) => all.push(file.into()),
            Err(e) => {
                assert_eq!(
                    e.raw_os_error(),
                    Some(Errno::EMFILE as i32),
                    "end of opening"
                );
                return all;
            }
        }
    }
}

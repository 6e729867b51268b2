// SPDX-License-Identifier: MIT

//! Makes a race happen at every run: a thread that is woken cannot run before the test allows it.

use nix::errno::Errno;
use nix::libc;
use nix::sched::{sched_getaffinity, sched_getcpu, sched_setaffinity, CpuSet};
use nix::unistd::Pid;

/// The calling thread.
const SELF: Pid = Pid::from_raw(0);

/// The processors that this thread may use, two at most: more only slow the test down.
pub fn processors() -> Vec<usize> {
    let all = sched_getaffinity(SELF).expect("sched_getaffinity");
    let may_use = |processor: &usize| all.is_set(*processor).unwrap_or(false);
    (0..CpuSet::count()).filter(may_use).take(2).collect()
}

/// Runs `part` on one processor, and with it all threads that it starts.
pub fn on_one_processor<T>(part: impl FnOnce() -> T) -> T {
    on_processor(sched_getcpu().expect("getcpu"), part)
}

/// The same on this one.
pub fn on_processor<T>(processor: usize, part: impl FnOnce() -> T) -> T {
    let all = sched_getaffinity(SELF).expect("sched_getaffinity");
    let mut one = CpuSet::new();
    one.set(processor).expect("the set holds every processor");
    sched_setaffinity(SELF, &one).expect("sched_setaffinity");
    let result = part();
    sched_setaffinity(SELF, &all).expect("sched_setaffinity");
    result
}

/// Runs `part` with a real-time priority: no ordinary thread of the same processor runs meanwhile.
pub fn undisturbed<T>(part: impl FnOnce() -> T) -> T {
    set_policy(libc::SCHED_FIFO, 1).expect("SCHED_FIFO; these tests run as root");
    let result = part();
    set_policy(libc::SCHED_OTHER, 0).expect("SCHED_OTHER");
    result
}

fn set_policy(policy: libc::c_int, priority: libc::c_int) -> nix::Result<()> {
    let parameters = libc::sched_param {
        sched_priority: priority,
    };
    // SAFETY: the structure is only read. The number 0 is the calling thread.
    let result = unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) };
    Errno::result(result).map(drop)
}

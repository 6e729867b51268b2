// SPDX-License-Identifier: MIT

//! A child process that plays a part: for what a thread cannot show, as dying of a signal, being
//! another user, or inheriting descriptors.

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{kill, Signal};
use nix::sys::wait::{waitpid, WaitPidFlag, WaitStatus};
use nix::unistd::{fork, setgroups, setresgid, setresuid, ForkResult, Gid, Pid, Uid};

use super::actor::wait_until;
use super::observe::{Call, Thread};

/// A child of the test.
pub struct Process {
    name: String,
    pid: Pid,
}

impl Process {
    /// Forks; the child runs `part` and exits with status 0. A panic in it shows its message and
    /// gives another status.
    pub fn start(name: &str, part: impl FnOnce()) -> Self {
        // SAFETY: the tests fork before they start threads, or glibc's own fork handlers keep
        // malloc usable in the child; it calls nothing else that another thread may have locked.
        match unsafe { fork() }.expect("fork") {
            ForkResult::Parent { child } => Self {
                name: name.to_owned(),
                pid: child,
            },
            ForkResult::Child => {
                set_pdeathsig(Signal::SIGKILL).expect("PR_SET_PDEATHSIG");
                part();
                std::process::exit(0);
            }
        }
    }

    /// Waits until the child sleeps in `call`.
    #[track_caller]
    pub fn wait_asleep_in(&self, call: Call) {
        wait_until(&format!("{} asleep in {call:?}", self.name), || {
            Thread(self.pid).is_asleep_in(call)
        });
    }

    /// Sends a signal to the child.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid, signal).expect("the child is not waited for yet");
    }

    /// Waits for its end, with a deadline.
    #[track_caller]
    pub fn wait(self) -> WaitStatus {
        let mut status = WaitStatus::StillAlive;
        wait_until(&format!("end of {}", self.name), || {
            status = waitpid(self.pid, Some(WaitPidFlag::WNOHANG)).expect("waitpid");
            status != WaitStatus::StillAlive
        });
        status
    }

    /// Waits for its end, which has to be a good one.
    #[track_caller]
    pub fn wait_success(self) {
        let name = self.name.clone();
        match self.wait() {
            WaitStatus::Exited(_, 0) => {}
            other => panic!("{name}: expected exit status 0, got {other:?} (its message is above)"),
        }
    }
}

/// Makes the calling process an ordinary user without groups and capabilities.
pub fn become_ordinary_user() {
    const NOBODY: u32 = 65534;
    let (gid, uid) = (Gid::from_raw(NOBODY), Uid::from_raw(NOBODY));
    setgroups(&[]).expect("setgroups; these tests run as root");
    setresgid(gid, gid, gid).expect("setresgid");
    setresuid(uid, uid, uid).expect("setresuid");
}

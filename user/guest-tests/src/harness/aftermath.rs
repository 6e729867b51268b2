// SPDX-License-Identifier: MIT

//! What a test must not leave behind: processes, open or resized queues, another module.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{killpg, Signal};
use nix::sys::wait::{waitpid, WaitPidFlag, WaitStatus};
use nix::unistd::Pid;

use super::scale::patience;
use crate::tools::edu;
use crate::tools::module::Module;
use crate::tools::observe;
use crate::tools::subject;

/// Time for the kernel to finish what a dead process began; io_uring closes its files from a
/// work queue.
const GRACE: Duration = Duration::from_secs(2);

/// Makes processes whose parent (a test) has died children of this process, so that
/// [`reap_group`] sees them.
pub fn adopt_orphans() {
    set_child_subreaper(true).expect("PR_SET_CHILD_SUBREAPER needs no privilege");
}

/// Waits for the last process of a test's group; one that lives on is a problem, and is killed.
pub fn reap_group(group: Pid, problems: &mut Vec<String>) {
    let mut deadline = Instant::now() + patience(GRACE);
    let mut is_killed = false;
    loop {
        match waitpid(Pid::from_raw(-group.as_raw()), Some(WaitPidFlag::WNOHANG)) {
            Err(Errno::ECHILD) => return,
            Ok(WaitStatus::StillAlive) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(WaitStatus::StillAlive) if !is_killed => {
                problems.push(format!(
                    "left processes behind:\n{}",
                    observe::describe_group(group)
                ));
                // ESRCH: it ended just now.
                let _ = killpg(group, Signal::SIGKILL);
                is_killed = true;
                deadline = Instant::now() + patience(GRACE);
            }
            Ok(WaitStatus::StillAlive) => {
                problems.push("they do not even die".to_owned());
                return;
            }
            Ok(_) => {}
            Err(e) => {
                problems.push(format!("cannot wait for the group of the test: {e}"));
                return;
            }
        }
    }
}

/// How things were before a test.
pub struct Before {
    module: Option<Module>,
    references: Option<u64>,
    edu_devices: usize,
}

impl Before {
    /// Remembers the module with its parameters.
    pub fn look() -> Self {
        Self {
            module: Module::loaded(),
            references: Module::references(),
            edu_devices: edu::bound().len(),
        }
    }

    /// After the test: queues that are not as unused are a problem. What a test may change, it need
    /// not change back: the module, its devices, the transports and the capacities become what they were, so that no test
    /// depends on the one before.
    pub fn restore(&self, problems: &mut Vec<String>) {
        let Some(module) = self.module else { return };
        if let Err(problem) = edu::restore(self.edu_devices) {
            problems.push(problem);
        }
        for path in subject::device_paths() {
            if let Err(problem) = restore_queue(&path, &module) {
                problems.push(format!("{}: {problem}", path.display()));
            }
        }
        if Module::loaded() != Some(module) {
            if let Err(problem) = module.restore() {
                problems.push(format!(
                    "cannot load the module as it was before: {problem}"
                ));
            }
        }
        // Each open file of the module counts, also those of queues without a name.
        let deadline = Instant::now() + patience(GRACE);
        while Module::references() != self.references {
            if Instant::now() > deadline {
                let (now, before) = (Module::references(), self.references);
                problems.push(format!(
                    "references to the module: {now:?}, before {before:?}"
                ));
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn restore_queue(path: &Path, module: &Module) -> Result<(), String> {
    let observer = subject::observe(path).map_err(|e| format!("open after the test: {e}"))?;
    let deadline = Instant::now() + patience(GRACE);
    loop {
        let info = observer.info();
        match (info.readers, info.writers, info.queued_bytes) {
            (0, 0, 0) => break,
            _ if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(1)),
            (readers, writers, bytes) => {
                return Err(format!(
                    "left with {readers} readers, {writers} writers and {bytes} bytes"
                ));
            }
        }
    }
    if kpipe_abi::transport(&observer) != Ok(module.transport) {
        kpipe_abi::set_transport(&observer, module.transport)
            .map_err(|e| format!("transport after the test: {e}"))?;
    }
    let capacity_bytes = module.capacity_bytes;
    let resized = observer.resize(capacity_bytes);
    resized
        .map(drop)
        .map_err(|e| format!("resize to {capacity_bytes} after the test: {e}"))
}

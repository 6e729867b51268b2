// SPDX-License-Identifier: MIT

//! The process that one test runs in: started, awaited with a deadline, killed with its group.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::memfd::{memfd_create, MFdFlags};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{killpg, Signal};
use nix::sys::wait::{waitpid, WaitPidFlag, WaitStatus};
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout, fork, setpgid, ForkResult, Pid};

use super::{aftermath, scale};
use crate::tools::observe;
use crate::tools::subject::use_directory;

/// How often the outer process looks whether the test is done, on a fast kernel. With --icount each look
/// ends an idle time that would cost nothing.
const LOOK_EVERY: Duration = Duration::from_micros(500);

/// A test that runs.
pub struct TestProcess {
    /// Its first process, and the group of all of them.
    group: Pid,
    /// Stdout and stderr of the test. A file, not a pipe: a process that the test forgot could hold
    /// a pipe open, and nobody would have to empty it meanwhile.
    output: File,
    directory: PathBuf,
}

impl TestProcess {
    /// Runs `test` in a process group and a directory of its own. Forking is a fraction of the cost
    /// of starting the program again, and the copy is as fresh: this process runs no test.
    pub fn start(test: impl FnOnce()) -> Result<Self, String> {
        Self::try_start(test).map_err(|e| format!("cannot start the process of the test: {e}"))
    }

    fn try_start(test: impl FnOnce()) -> std::io::Result<Self> {
        let directory = std::env::temp_dir().join(format!("kpipe-tests-{}", std::process::id()));
        fs::create_dir_all(&directory)?;
        let output = File::from(memfd_create(c"test-output", MFdFlags::MFD_CLOEXEC)?);
        let nothing = File::open("/dev/null")?;
        let threads = fs::read_dir("/proc/self/task")?.count();
        assert_eq!(threads, 1, "threads of a process that forks");
        // SAFETY: this process has one thread, so no lock is held by another one in the copy.
        match unsafe { fork() }? {
            ForkResult::Parent { child } => {
                // Both set it: whoever comes first. EACCES: the child is done with it.
                match setpgid(child, child) {
                    Ok(()) | Err(Errno::EACCES | Errno::ESRCH) => {}
                    Err(e) => return Err(e.into()),
                }
                Ok(Self {
                    group: child,
                    output,
                    directory,
                })
            }
            ForkResult::Child => {
                enter(&nothing, &output, &directory);
                drop((nothing, output));
                test();
                std::process::exit(0);
            }
        }
    }

    /// Waits for the end, kills at the deadline, and gives back what the test printed. What went
    /// wrong is added to `problems`.
    pub fn wait(
        mut self,
        deadline: Duration,
        problems: &mut Vec<String>,
    ) -> Result<String, String> {
        match self.wait_until(Instant::now() + deadline)? {
            Some(status) => problems.extend(blame(status)),
            None => {
                problems.push(format!(
                    "not done after {} s, killed; where its threads were:\n{}",
                    deadline.as_secs(),
                    observe::describe_group(self.group)
                ));
                self.kill(problems)?;
            }
        }
        aftermath::reap_group(self.group, problems);
        if let Err(e) = fs::remove_dir_all(&self.directory) {
            problems.push(format!("{}: {e}", self.directory.display()));
        }
        self.printed()
            .map_err(|e| format!("output of the test: {e}"))
    }

    fn wait_until(&self, deadline: Instant) -> Result<Option<WaitStatus>, String> {
        loop {
            match waitpid(self.group, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) if Instant::now() < deadline => {
                    std::thread::sleep(scale::patience(LOOK_EVERY));
                }
                Ok(WaitStatus::StillAlive) => return Ok(None),
                Ok(status) => return Ok(Some(status)),
                Err(e) => return Err(format!("cannot wait for the test: {e}")),
            }
        }
    }

    fn kill(&mut self, problems: &mut Vec<String>) -> Result<(), String> {
        killpg(self.group, Signal::SIGKILL).map_err(|e| format!("cannot kill the test: {e}"))?;
        let grace = scale::patience(Duration::from_secs(5));
        if self.wait_until(Instant::now() + grace)?.is_none() {
            problems.push(format!(
                "does not even die; where its threads are:\n{}",
                observe::describe_group(self.group)
            ));
        }
        Ok(())
    }

    fn printed(&mut self) -> std::io::Result<String> {
        let mut bytes = Vec::new();
        self.output.seek(SeekFrom::Start(0))?;
        self.output.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
    }
}

/// What is wrong with the way that a test ended, if anything.
fn blame(status: WaitStatus) -> Option<String> {
    match status {
        WaitStatus::Exited(_, 0) => None,
        WaitStatus::Exited(_, FAILED) => Some("the test failed".to_owned()),
        WaitStatus::Exited(_, code) => Some(format!("the test exited with status {code}")),
        WaitStatus::Signaled(_, signal, _) => Some(format!("the test was killed by {signal}")),
        other => Some(format!("the test ended in an odd way: {other:?}")),
    }
}

/// Exit status after a panic, as libtest has it.
const FAILED: i32 = 101;

/// Makes the calling process, which was just forked, one that a test can run in.
fn enter(stdin: &File, output: &File, directory: &Path) {
    let own = Pid::from_raw(0);
    setpgid(own, own).expect("setpgid of a process that has done nothing yet");
    // No test survives the process that judges it (Ctrl-C kills only that one).
    set_pdeathsig(Signal::SIGKILL).expect("PR_SET_PDEATHSIG takes any signal");
    dup2_stdin(stdin).expect("dup2");
    dup2_stdout(output).expect("dup2");
    dup2_stderr(output).expect("dup2");
    use_directory(directory);
    // A panic in any thread ends the process at once with its message. Unwinding would wait for
    // threads that sleep in the queue.
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        print(info);
        std::process::exit(FAILED);
    }));
}

// SPDX-License-Identifier: MIT

//! The process that one test runs in: started, awaited with a deadline, killed with its group.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::memfd::{memfd_create, MFdFlags};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{killpg, Signal};
use nix::unistd::Pid;

use super::{aftermath, scale, RUN_ONE};
use crate::tools::observe;
use crate::tools::subject::DIRECTORY_VARIABLE;

/// How often the outer process looks whether the test is done.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// A test that runs.
pub struct TestProcess {
    child: Child,
    group: Pid,
    /// Stdout and stderr of the test. A file, not a pipe: a process that the test forgot could hold
    /// a pipe open, and nobody would have to empty it meanwhile.
    output: File,
    directory: PathBuf,
}

impl TestProcess {
    /// Starts the test in a process group and a directory of its own.
    pub fn start(name: &str) -> Result<Self, String> {
        Self::try_start(name).map_err(|e| format!("cannot start the process of the test: {e}"))
    }

    fn try_start(name: &str) -> std::io::Result<Self> {
        let directory = std::env::temp_dir().join(format!("kpipe-tests-{}", std::process::id()));
        fs::create_dir_all(&directory)?;
        let output = File::from(memfd_create(c"test-output", MFdFlags::MFD_CLOEXEC)?);
        let child = Command::new(std::env::current_exe()?)
            .args([RUN_ONE, name])
            .env(DIRECTORY_VARIABLE, &directory)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output.try_clone()?)
            .process_group(0)
            .spawn()?;
        let group = Pid::from_raw(child.id() as i32);
        Ok(Self {
            child,
            group,
            output,
            directory,
        })
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
        fs::remove_dir_all(&self.directory)
            .map_err(|e| format!("{}: {e}", self.directory.display()))?;
        self.printed()
            .map_err(|e| format!("output of the test: {e}"))
    }

    fn wait_until(&mut self, deadline: Instant) -> Result<Option<ExitStatus>, String> {
        loop {
            match self.child.try_wait() {
                Ok(None) if Instant::now() < deadline => std::thread::sleep(LOOK_EVERY),
                Ok(status) => return Ok(status),
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

/// What is wrong with an exit status, if anything.
fn blame(status: ExitStatus) -> Option<String> {
    match (status.code(), status.signal()) {
        (Some(0), _) => None,
        (Some(FAILED), _) => Some("the test failed".to_owned()),
        (Some(code), _) => Some(format!("the test exited with status {code}")),
        (None, signal) => Some(format!(
            "the test was killed by {}",
            signal.map_or("?".to_owned(), |number| Signal::try_from(number)
                .map_or(number.to_string(), |signal| signal.to_string()))
        )),
    }
}

/// Exit status after a panic, as libtest has it.
const FAILED: i32 = 101;

/// Inner process: no test survives the process that judges it (Ctrl-C kills only that one).
pub fn die_with_the_outer_process() {
    set_pdeathsig(Signal::SIGKILL).expect("PR_SET_PDEATHSIG takes any signal");
}

/// Inner process: a panic in any thread ends it at once with its message. Unwinding would wait for
/// threads that sleep in the queue.
pub fn end_at_first_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        print(info);
        std::process::exit(FAILED);
    }));
}

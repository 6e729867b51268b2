// SPDX-License-Identifier: MIT

//! Seeing that a process is blocked, from outside: by what the kernel says about it in /proc.

use crate::failure::{Failure, Result};
use nix::unistd::Pid;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

/// How long anything here may take before it counts as not happening.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Is `pid` asleep in the system call with this number?
///
/// proc_pid_stat(5): the third field is the state, `S` an interruptible sleep. proc_pid_syscall(5):
/// the number of the call that a process is blocked in, or `running`.
pub fn is_asleep_in(pid: Pid, syscall: i64) -> Result<bool> {
    let Some(stat) = read_proc(pid, "stat")? else {
        return Ok(false);
    };
    let Some(call) = read_proc(pid, "syscall")? else {
        return Ok(false);
    };
    // The second field is the program's name, in parentheses and with whatever it contains.
    let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
    let number = call.split_whitespace().next().unwrap_or_default();
    Ok(state.starts_with('S') && number == syscall.to_string())
}

/// Looks at `is_so` until it holds.
///
/// # Errors
/// [`Failure::Deadline`] when it does not come to hold; `what` says what was awaited.
pub fn until(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !is_so()? {
        if Instant::now() > deadline {
            return Err(Failure::Deadline {
                what: what.into(),
                seconds: PATIENCE.as_secs(),
            });
        }
        // Leaves the CPU to the process that is watched; nothing relies on how long this takes.
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// A file of a process, or nothing if the process has ended.
fn read_proc(pid: Pid, name: &str) -> Result<Option<String>> {
    let path = format!("/proc/{pid}/{name}");
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text)),
        Err(error)
            if error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH) =>
        {
            Ok(None)
        }
        Err(error) => Err(Failure::io(path)(error)),
    }
}

// SPDX-License-Identifier: MIT

//! Where a process is, from outside, in /proc: nobody has to sleep "until it will be blocked by then".

use crate::Result;
use nix::errno::Errno;
use nix::libc;
use nix::unistd::Pid;
use std::fs;

/// A system call that lessons watch processes sleep in.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// As man pages have it.
    pub name: &'static str,
    numbers: &'static [i64],
}

impl Call {
    /// read(2)
    pub const READ: Self = Self::new("read(2)", &[libc::SYS_read]);
    /// write(2)
    pub const WRITE: Self = Self::new("write(2)", &[libc::SYS_write]);
    /// poll(2)
    pub const POLL: Self = Self::new("poll(2)", &[libc::SYS_poll, libc::SYS_ppoll]);
    /// accept(2)
    pub const ACCEPT: Self = Self::new("accept(2)", &[libc::SYS_accept, libc::SYS_accept4]);

    const fn new(name: &'static str, numbers: &'static [i64]) -> Self {
        Self { name, numbers }
    }
}

/// Is `pid` asleep in `call`, so that a signal could wake it? False while it runs or has ended.
///
/// proc_pid_stat(5): the third field is the state, `S` an interruptible sleep. proc_pid_syscall(5):
/// the number of the call that a process is blocked in, or `running`.
pub(super) fn is_asleep_in(pid: Pid, call: Call) -> Result<bool> {
    let (Some(stat), Some(syscall)) = (read_proc(pid, "stat")?, read_proc(pid, "syscall")?) else {
        return Ok(false);
    };
    // The second field is the program's name, in parentheses and with whatever it contains.
    let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
    let number = syscall.split_whitespace().next().unwrap_or_default();
    Ok(state.starts_with('S')
        && number
            .parse()
            .is_ok_and(|number| call.numbers.contains(&number)))
}

/// read(2) calls and their like that got as far as the file's own method: proc_pid_io(5).
pub const IO_READS: (&str, &str) = ("io", "syscr");
/// The bytes they gave.
pub const IO_READ_BYTES: (&str, &str) = ("io", "rchar");
/// write(2) calls and their like.
pub const IO_WRITES: (&str, &str) = ("io", "syscw");
/// Is it in this state (proc_pid_stat(5))?
pub(super) fn is_in_state(pid: Pid, state: char) -> Result<bool> {
    let stat = read_proc(pid, "stat")?.unwrap_or_default();
    let found = stat.rsplit(')').next().unwrap_or_default().trim_start();
    Ok(found.starts_with(state))
}

/// How often it gave up the processor to wait for something: proc_pid_status(5).
pub const SLEEPS: (&str, &str) = ("status", "voluntary_ctxt_switches");
/// How many threads it has.
pub const THREADS: (&str, &str) = ("status", "Threads");

/// A counter of a process: the number behind this name in this file of /proc.
pub(super) fn count_of(pid: Pid, (file, name): (&str, &str)) -> Result<u64> {
    let text = read_proc(pid, file)?.unwrap_or_default();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|value| value.trim().parse().ok())
        .ok_or_else(|| std::io::Error::other(format!("/proc/{pid}/{file} has no {name}")).into())
}

/// A file of a process, or nothing if the process has ended.
fn read_proc(pid: Pid, name: &str) -> Result<Option<String>> {
    match fs::read_to_string(format!("/proc/{pid}/{name}")) {
        Ok(text) => Ok(Some(text)),
        Err(error)
            if error.kind() == std::io::ErrorKind::NotFound
                || error.raw_os_error() == Some(Errno::ESRCH as i32) =>
        {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

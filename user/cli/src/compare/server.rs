// SPDX-License-Identifier: MIT

//! [`Server`]: a `kpipe serve echo` of our own, in a process group of its own; and [`Census`]: what it costs the
//! machine.

use crate::failure::{Failure, Result};
use crate::sys::end_with_this_thread;
use kpipe::channel::Address;
use kpipe_server::Model;
use nix::errno::Errno;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::signal::{kill, killpg, Signal};
use nix::unistd::Pid;
use rustix::process::{pidfd_open, PidfdFlags};
use serde::Serialize;
use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};

/// The text at which its handler crashes: not a part of any request of the load.
pub const CRASH_TEXT: &str = "\n*** crash ***\n";
/// How long it may take to listen, and to stop.
const PATIENCE_S: u16 = 60;
/// The longest that Linux allows unless told otherwise (net.core.somaxconn).
const BACKLOG: &str = "4096";

/// A server that listens. It is killed when this is dropped.
pub struct Server {
    process: Child,
    address: Address,
    /// Where it says so; kept open, as it may want to say more.
    stdout: BufReader<ChildStdout>,
}

impl Server {
    /// Starts one for so many connections.
    pub fn start(model: Model, connections: u64) -> Result<Self> {
        let mut command = Command::new("/proc/self/exe");
        command
            .args([
                "serve",
                "echo",
                "--listen",
                "tcp:127.0.0.1:0",
                "--timeout",
                "0s",
            ])
            .args(["--model", model.name(), "--backlog", BACKLOG])
            .args([
                "--workers",
                &super::WORKERS.to_string(),
                "--crash-on",
                CRASH_TEXT,
            ])
            // Those that stall, and the one that crashes, come on top.
            .args([
                "--max-connections",
                &(connections + 2 * super::WORKERS).to_string(),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0);
        // Ctrl-C does not reach its group.
        let mut process = end_with_this_thread(&mut command)
            .spawn()
            .map_err(Failure::io("kpipe serve"))?;
        let stdout = process.stdout.take().expect("it is a pipe");
        let mut server = Self {
            process,
            address: Address::Pipes,
            stdout: BufReader::new(stdout),
        };
        server.address = server.read_address()?;
        Ok(server)
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Tells it to stop. Returns whether it was there to be told, and did so.
    pub fn stop(mut self) -> Result<bool> {
        let pid = Pid::from_raw(self.process.id() as i32);
        let handle = pidfd_open(
            rustix::process::Pid::from_child(&self.process),
            PidfdFlags::empty(),
        )
        .map_err(Failure::io("kpipe serve"))?;
        // It stays a zombie until it is waited for, so the number is still its own.
        kill(pid, Signal::SIGTERM).map_err(Failure::io("kpipe serve"))?;
        wait_readable(handle.as_fd(), "kpipe serve ended")?;
        Ok(self
            .process
            .wait()
            .map_err(Failure::io("kpipe serve"))?
            .success())
    }

    fn read_address(&mut self) -> Result<Address> {
        let stdout = &mut self.stdout;
        wait_readable(stdout.get_ref().as_fd(), "kpipe serve listened")?;
        let mut line = String::new();
        stdout
            .read_line(&mut line)
            .map_err(Failure::io("kpipe serve"))?;
        let address = line.trim_end().strip_prefix("listening at ");
        address
            .and_then(|address| address.parse().ok())
            .ok_or_else(|| Failure::Process {
                what: "kpipe serve",
                why: format!("it did not say where it listens, but {line:?}"),
            })
    }
}

fn wait_readable(fd: BorrowedFd<'_>, what: &str) -> Result<()> {
    let patience = PollTimeout::from(PATIENCE_S * 1000);
    match poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], patience).map_err(Failure::io("poll"))? {
        0 => Err(Failure::Deadline {
            what: what.to_owned(),
            seconds: PATIENCE_S.into(),
        }),
        _ => Ok(()),
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // With the processes for its clients, whether or not it lives itself.
        let group = Pid::from_raw(self.process.id() as i32);
        while killpg(group, Signal::SIGKILL) == Err(Errno::EINTR) {}
        let _ = self.process.wait();
    }
}

/// What there is on the machine, or more of it than before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Census {
    /// Processes and threads.
    pub tasks: u64,
    /// Memory in use, of the kernel too.
    pub memory_bytes: u64,
}

impl Census {
    /// Now.
    pub fn take() -> Result<Self> {
        let read = |path| std::fs::read_to_string(path).map_err(Failure::io(path));
        let loadavg = read("/proc/loadavg")?;
        let meminfo = read("/proc/meminfo")?;
        let kib = |name: &str| -> Option<u64> {
            let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        let used_kib = kib("MemTotal:").zip(kib("MemAvailable:"));
        Ok(Self {
            tasks: tasks(&loadavg).unwrap_or(0),
            memory_bytes: used_kib.map_or(0, |(total, available)| (total - available) * 1024),
        })
    }

    /// How much more that is.
    pub fn since(&self, before: &Self) -> Self {
        Self {
            tasks: self.tasks.saturating_sub(before.tasks),
            memory_bytes: self.memory_bytes.saturating_sub(before.memory_bytes),
        }
    }

    /// Keeps the larger of each.
    pub fn raise(&mut self, other: &Self) {
        self.tasks = self.tasks.max(other.tasks);
        self.memory_bytes = self.memory_bytes.max(other.memory_bytes);
    }
}

/// "0.20 0.18 0.12 1/80 11206": running and all, before the last number (proc_loadavg(5)).
fn tasks(loadavg: &str) -> Option<u64> {
    loadavg
        .split_whitespace()
        .nth(3)?
        .split_once('/')?
        .1
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_counted() {
        assert_eq!(tasks("0.20 0.18 0.12 1/80 11206\n"), Some(80));
        let now = Census::take().unwrap();
        assert!(now.tasks > 0 && now.memory_bytes > 0, "{now:?}");
    }

    #[test]
    fn a_peak_only_rises() {
        let mut peak = Census::default();
        for (tasks, memory_bytes) in [(3, 10), (1, 20), (2, 5)] {
            peak.raise(&Census {
                tasks,
                memory_bytes,
            });
        }
        assert_eq!(
            peak,
            Census {
                tasks: 3,
                memory_bytes: 20
            }
        );
    }
}

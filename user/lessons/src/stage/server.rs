// SPDX-License-Identifier: MIT

//! [`Server`]: a `kpipe serve` that a lesson watches, and who is a client of it.

use super::notes::Notes;
use super::{look, part, until, Call};
use crate::{Error, Result};
use kpipe::channel::{Address, Channel, Options};
use nix::sys::signal::{kill, Signal};
use nix::sys::wait::{waitid, waitpid, Id, WaitPidFlag, WaitStatus};
use nix::unistd::Pid;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// A server, killed when this is dropped.
pub struct Server {
    pid: Pid,
    address: Address,
    /// A daemon is not ours to wait for.
    is_child: bool,
    status: Option<WaitStatus>,
}

impl Notes {
    /// Starts `kpipe serve ARGUMENTS`, and waits until it listens.
    pub fn serve(&mut self, arguments: &[&str]) -> Result<Server> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("serve")
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut server = Server {
            pid: Pid::from_raw(child.id() as i32),
            address: Address::Pipes,
            is_child: true,
            status: None,
        };
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        // It ends without a line if it cannot listen; stderr has said why.
        let Some(address) = line.trim_end().strip_prefix("listening at ") else {
            return Err(server.error("does not listen"));
        };
        self.saw_of("server", "listening at", address);
        server.address = address.parse()?;
        Ok(server)
    }

    /// Starts one that detaches, and waits until it has.
    pub fn serve_detached(&mut self, listen: &str, pid_file: &Path, log: &Path) -> Result<Server> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args([
            "serve",
            "echo",
            "--listen",
            listen,
            "--daemon",
            "--pid-file",
        ]);
        let output = command.arg(pid_file).arg("--log").arg(log).output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        self.saw_of("starter", "ended", output.status);
        self.saw_of("starter", "said", said.trim_end());
        let pid = fs::read_to_string(pid_file)?;
        let address = said
            .trim_end()
            .strip_prefix("listening at ")
            .unwrap_or_default();
        Ok(Server {
            pid: Pid::from_raw(pid.trim().parse().map_err(std::io::Error::other)?),
            address: address.parse()?,
            is_child: false,
            status: None,
        })
    }
}

impl Server {
    /// Its process.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// A new client. Queues with names are refused at once if another has them.
    ///
    /// # Errors
    /// Those of [`Address::connect`].
    pub fn connect(&self) -> kpipe::channel::Result<Box<dyn Channel>> {
        let mut options = Options::default();
        if matches!(self.address, Address::Queues { .. }) {
            options.connect_timeout = Duration::from_millis(50);
        }
        self.address.connect(&options)
    }

    /// Is its first thread asleep in `call`?
    pub fn is_asleep_in(&self, call: Call) -> Result<bool> {
        look::is_asleep_in(self.pid, call)
    }

    /// Have all its threads ended? It stays a zombie until [`Server::end`].
    pub fn has_ended(&self) -> Result<bool> {
        let how = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        Ok(waitid(Id::Pid(self.pid), how)? != WaitStatus::StillAlive)
    }

    /// Has SIGSTOP stopped it?
    pub fn is_stopped(&self) -> Result<bool> {
        look::is_in_state(self.pid, 'T')
    }

    /// A number of /proc.
    pub fn counter(&self, counter: (&str, &str)) -> Result<u64> {
        look::count_of(self.pid, counter)
    }

    /// Processes that it has started, and zombies that it has not asked about: proc_pid_task(5).
    pub fn children(&self) -> Result<usize> {
        let pid = self.pid;
        let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        Ok(list.split_whitespace().count())
    }

    /// Sends it a signal and notes that.
    pub fn signal(&self, signal: Signal, notes: &mut Notes) -> Result<()> {
        let what = format!("kill(server, {signal})");
        Ok(notes.call(what, || kill(self.pid, signal))?)
    }

    /// Waits for its end, and notes how it ended.
    pub fn end(mut self, notes: &mut Notes) -> Result<()> {
        until("the server ends", || {
            match waitpid(self.pid, Some(WaitPidFlag::WNOHANG))? {
                WaitStatus::StillAlive => Ok(false),
                status => {
                    self.status = Some(status);
                    Ok(true)
                }
            }
        })?;
        notes.saw_of(
            "server",
            "ended",
            self.status.map_or(String::new(), part::ending),
        );
        Ok(())
    }

    fn error(&self, why: &str) -> Error {
        Error::Part {
            part: "server",
            why: why.to_owned(),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.status.is_none() {
            // Both fail only for a process that is no longer there.
            let _ = kill(self.pid, Signal::SIGKILL);
            if self.is_child {
                let _ = waitpid(self.pid, None);
            }
        }
    }
}

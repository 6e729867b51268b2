// SPDX-License-Identifier: MIT

//! The monitor of the QEMU that runs this VM, by the port that the runner gives every VM
//! (`qemu/machine.args`, `user/vm`): commands as JSON, one per line (QEMU's QMP specification).

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use serde_json::{json, Value};

use crate::harness::patience;

/// Name of the port: `kpipe_init::MONITOR_PORT`.
const PORT: &str = "kpipe.monitor";

/// Longest that an answer may take.
const ANSWER: Duration = Duration::from_secs(5);

/// The open monitor. Only one process can have it open at a time.
pub struct Monitor {
    port: File,
    received: Vec<u8>,
    commands: u32,
}

impl Monitor {
    /// Opens it.
    pub fn open() -> Result<Self, String> {
        let node = node().ok_or(format!("no port {PORT}: not a VM of qemu/vm"))?;
        let opened = OpenOptions::new().read(true).write(true).open(&node);
        let mut monitor = Self {
            port: opened.map_err(|e| format!("{}: {e}", node.display()))?,
            received: Vec::new(),
            commands: 0,
        };
        // Once in the life of the VM; later it is an error that says so.
        let _ = monitor.run("qmp_capabilities", json!({}));
        Ok(monitor)
    }

    /// Runs a command and waits for its answer.
    pub fn run(&mut self, command: &str, arguments: Value) -> Result<Value, String> {
        self.commands += 1;
        // What an earlier process did not take may still come, so the answer has to be ours.
        let id = format!("{}-{}", std::process::id(), self.commands);
        let request = json!({ "execute": command, "arguments": arguments, "id": id });
        writeln!(self.port, "{request}").map_err(|e| format!("{PORT}: {e}"))?;
        let deadline = Instant::now() + patience(ANSWER);
        loop {
            // Greetings and events have no id, and half a line is no JSON.
            let Ok(answer) = serde_json::from_slice::<Value>(&self.line(deadline)?) else {
                continue;
            };
            if answer["id"] == id.as_str() {
                return match answer.get("return") {
                    Some(result) => Ok(result.clone()),
                    None => Err(format!("{command}: {}", answer["error"])),
                };
            }
        }
    }

    fn line(&mut self, deadline: Instant) -> Result<Vec<u8>, String> {
        loop {
            if let Some(end) = self.received.iter().position(|&byte| byte == b'\n') {
                return Ok(self.received.drain(..=end).collect());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let mut fds = [PollFd::new(self.port.as_fd(), PollFlags::POLLIN)];
            if poll(&mut fds, timeout).map_err(|e| format!("{PORT}: {e}"))? == 0 {
                return Err(format!("{PORT}: no answer"));
            }
            let mut buffer = [0; 4096];
            let read = self.port.read(&mut buffer);
            let len = read.map_err(|e| format!("{PORT}: {e}"))?;
            self.received.extend(&buffer[..len]);
        }
    }
}

/// The device node of the port, if this VM has one.
pub fn node() -> Option<PathBuf> {
    let entries = fs::read_dir("/sys/class/virtio-ports").ok()?;
    let has_name = |path: &Path| {
        fs::read_to_string(path.join("name")).is_ok_and(|name| name.trim_end() == PORT)
    };
    let entry = { entries.flatten() }.find(|entry| has_name(&entry.path()))?;
    Some(Path::new("/dev").join(entry.file_name()))
}

// SPDX-License-Identifier: MIT

//! The virtio-serial ports to the host.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use kpipe_init::{Port, Report, Request};
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::reboot::{reboot, RebootMode};

use crate::Error;

/// How long the kernel may take to find the ports; it takes some milliseconds.
const APPEARANCE_DEADLINE: Duration = Duration::from_secs(30);

/// The open ports. A port can be opened once at a time, so a copy is a duplicate descriptor.
pub struct Ports {
    stdin: File,
    stdout: File,
    stderr: File,
    control: File,
}

impl Ports {
    /// Waits for the ports and opens them.
    pub fn open() -> Result<Self, Error> {
        Ok(Self {
            stdin: open(Port::Stdin)?,
            stdout: open(Port::Stdout)?,
            stderr: open(Port::Stderr)?,
            control: open(Port::Control)?,
        })
    }

    /// A descriptor of one of the raw ports for a thread that copies.
    pub fn stream(&self, port: Port) -> Result<File, Error> {
        let file = match port {
            Port::Stdin => &self.stdin,
            Port::Stdout => &self.stdout,
            Port::Stderr => &self.stderr,
            Port::Control => &self.control,
        };
        Ok(file.try_clone()?)
    }

    /// Tells the host. A host that does not listen any more needs no answer.
    pub fn report(&self, report: &Report) {
        let mut line = serde_json::to_vec(report).expect("a report is valid JSON");
        line.push(b'\n');
        let _ = (&self.control).write_all(&line);
    }

    /// Calls `handle` for each request of the host, in a thread. When the host has gone, the VM
    /// goes too.
    pub fn on_request(
        &self,
        mut handle: impl FnMut(Request) + Send + 'static,
    ) -> Result<(), Error> {
        let requests = BufReader::new(self.stream(Port::Control)?);
        thread::spawn(move || {
            for line in requests.lines() {
                match line.map(|line| serde_json::from_str(&line)) {
                    Ok(Ok(request)) => handle(request),
                    _ => break,
                }
            }
            nix::unistd::sync();
            let _ = reboot(RebootMode::RB_POWER_OFF);
        });
        Ok(())
    }
}

fn open(port: Port) -> Result<File, Error> {
    let deadline = Instant::now() + APPEARANCE_DEADLINE;
    let node = retry_until(deadline, || node(port))
        .ok_or_else(|| format!("there is no virtio port {}", port.name()))?;
    let file = OpenOptions::new().read(true).write(true).open(node)?;
    // Until the kernel has heard that the host is connected, read() would return 0.
    retry_until(deadline, || is_connected(&file).then_some(()))
        .ok_or_else(|| format!("the host does not connect {}", port.name()))?;
    Ok(file)
}

/// The device node of the port with this name, if the host has announced it.
fn node(port: Port) -> Option<PathBuf> {
    let entries = fs::read_dir("/sys/class/virtio-ports").ok()?;
    entries.flatten().find_map(|entry| {
        let name = fs::read_to_string(entry.path().join("name")).ok()?;
        let node = Path::new("/dev").join(entry.file_name());
        (name.trim_end() == port.name() && node.exists()).then_some(node)
    })
}

fn is_connected(file: &File) -> bool {
    let mut fds = [PollFd::new(file.as_fd(), PollFlags::empty())];
    let polled = poll(&mut fds, PollTimeout::ZERO);
    polled.is_ok()
        && fds[0]
            .revents()
            .is_some_and(|events| !events.contains(PollFlags::POLLHUP))
}

/// Both conditions come from messages of the host to the driver, and the kernel wakes nobody who
/// waits for them: so look again every millisecond.
fn retry_until<T>(deadline: Instant, mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
    loop {
        if let Some(result) = attempt() {
            return Some(result);
        }
        if Instant::now() > deadline {
            return None;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

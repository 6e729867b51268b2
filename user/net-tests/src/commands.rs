// SPDX-License-Identifier: MIT

//! [`Server`], a running `kpipe serve`, and [`run`], any command with a deadline.

use crate::scale::patience;
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// All models, as they are typed.
pub const MODELS: [&str; 6] = ["sequential", "fork-wait", "fork", "thread", "pool", "event"];

/// How long anything may take.
pub fn deadline() -> Duration {
    patience(Duration::from_secs(180))
}

/// Whether there is such a program.
pub fn exists(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
}

/// A command that has ended.
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Ended {
    /// What it printed, if it succeeded.
    #[track_caller]
    pub fn text(&self) -> String {
        assert!(self.status.success(), "{:?}: {}", self.status, self.stderr);
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// Runs a command with the file `input` on stdin.
#[track_caller]
pub fn run_with(words: &[&str], input: &Path) -> Ended {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    let input = std::fs::File::open(input).unwrap_or_else(|error| panic!("{input:?}: {error}"));
    let child = command
        .stdin(input)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    Running::new(child.unwrap_or_else(|error| panic!("{words:?}: {error}"))).ended()
}

/// Runs a command with nothing on stdin.
#[track_caller]
pub fn run(words: &[&str]) -> Ended {
    run_with(words, Path::new("/dev/null"))
}

/// A command that is killed if the test ends first. Its streams are read by threads, so that it never
/// waits for the test.
pub struct Running {
    child: Child,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: Option<JoinHandle<Vec<u8>>>,
}

impl Running {
    pub fn new(mut child: Child) -> Self {
        fn drained(mut stream: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
            thread::spawn(move || {
                let mut all = Vec::new();
                let _ = stream.read_to_end(&mut all);
                all
            })
        }
        Self {
            stdout: child.stdout.take().map(drained),
            stderr: child.stderr.take().map(drained),
            child,
        }
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().unwrap())
    }

    /// Waits for its end.
    #[track_caller]
    pub fn ended(mut self) -> Ended {
        let mut status = None;
        until("the command has ended", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        let all = |stream: Option<JoinHandle<Vec<u8>>>| {
            stream.map_or_else(Vec::new, |thread| thread.join().unwrap())
        };
        Ended {
            status: status.unwrap(),
            stdout: all(self.stdout.take()),
            stderr: String::from_utf8_lossy(&all(self.stderr.take())).into_owned(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until `condition` holds.
#[track_caller]
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + deadline();
    while !condition() {
        assert!(Instant::now() < end, "in vain until {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// A running `kpipe serve`.
pub struct Server {
    running: Running,
    /// Where it listens, as it is typed.
    pub address: String,
}

impl Server {
    /// `kpipe serve SERVICE --model MODEL --listen LISTEN OPTIONS`, when it listens.
    #[track_caller]
    pub fn start(service: &str, model: &str, listen: &str, options: &[&str]) -> Self {
        let mut command = Command::new("kpipe");
        command.args(["serve", service, "--model", model, "--listen", listen]);
        command.args(options).stdin(Stdio::null());
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.expect("kpipe is on the PATH");
        let mut line = String::new();
        let stdout = child.stdout.as_mut().expect("it is a pipe");
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let running = Running::new(child);
        match line.trim_end().strip_prefix("listening at ") {
            Some(address) => Self {
                running,
                address: address.to_owned(),
            },
            None => panic!("{line:?} {}", running.ended().stderr),
        }
    }

    /// For http://, a server that listens on TCP.
    pub fn url(&self, path: &str) -> String {
        let address = self.address.strip_prefix("tcp:").expect("TCP");
        format!("http://{address}{path}")
    }

    /// Ends it; it has to end well. Returns what it said on standard error.
    #[track_caller]
    pub fn stop(self) -> String {
        kill(self.running.pid(), Signal::SIGTERM).unwrap();
        let ended = self.running.ended();
        assert!(
            ended.status.success(),
            "{:?}: {}",
            ended.status,
            ended.stderr
        );
        ended.stderr
    }
}

/// A file in the folder.
pub fn file(folder: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

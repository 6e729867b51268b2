// SPDX-License-Identifier: MIT

//! What the tests of the command share: a folder with FIFOs, and commands that cannot hang.

use nix::libc;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Nothing here takes a second; more than this means that it hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A folder with the FIFOs `a` and `b`.
pub struct Place {
    pub dir: TempDir,
}

impl Place {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a", "b"] {
            mkfifo(&dir.path().join(name), Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        }
        Self { dir }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        std::fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }

    /// The FIFO `a` open for reading, without waiting for a writer.
    pub fn reader(&self) -> File {
        File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(self.path("a"))
            .unwrap()
    }

    /// `kpipe ARGS`, started in this folder. By env(1), which takes its own place: a shell that runs
    /// the tests in the background has SIGINT ignored, and that is inherited.
    pub fn start(&self, args: &[&str]) -> Running {
        self.start_by(&["--default-signal=INT"], args)
    }

    /// The same with other arguments for env(1).
    pub fn start_by(&self, env: &[&str], args: &[&str]) -> Running {
        let mut command = Command::new("env");
        command.args(env).arg(env!("CARGO_BIN_EXE_kpipe"));
        command.args(args).current_dir(self.dir.path());
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Running(Some(command.spawn().unwrap()))
    }

    /// `kpipe ARGS` from start to end, with nothing on stdin.
    pub fn run(&self, args: &[&str]) -> Output {
        self.start(args).finish()
    }
}

/// A command that is killed if the test ends before it does.
pub struct Running(Option<Child>);

impl Running {
    pub fn child(&mut self) -> &mut Child {
        self.0.as_mut().unwrap()
    }

    /// The first line that it prints.
    pub fn first_line(&mut self) -> String {
        let mut stdout = self.child().stdout.take().unwrap();
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let line = BufReader::new(&mut stdout).lines().next();
            let _ = sender.send(line.map(|line| line.unwrap()));
            // Kept open until the command ends.
            let _ = std::io::copy(&mut stdout, &mut std::io::sink());
        });
        let line = receiver.recv_timeout(PATIENCE).expect("it prints nothing");
        line.expect("it has ended")
    }

    pub fn finish(mut self) -> Output {
        drop(self.child().stdin.take());
        let deadline = Instant::now() + PATIENCE;
        // Its output is small, so that it never waits for us to read it.
        while self.child().try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "the command hangs");
            std::thread::sleep(Duration::from_millis(2));
        }
        self.0.take().unwrap().wait_with_output().unwrap()
    }

    /// Waits until the command is blocked in open(2).
    pub fn wait_until_it_opens(&mut self) {
        let path = format!("/proc/{}/syscall", self.child().id());
        let deadline = Instant::now() + PATIENCE;
        let in_open = format!("{} ", libc::SYS_openat);
        while !std::fs::read_to_string(&path)
            .unwrap_or_default()
            .starts_with(&in_open)
        {
            assert!(
                Instant::now() < deadline,
                "the command does not wait in open"
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[track_caller]
pub fn assert_fails(output: &Output, status: i32, words: &[&str]) {
    let text = stderr(output);
    assert_eq!(output.status.code(), Some(status), "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
}

/// More than fits into any FIFO, and no two blocks alike.
pub fn much() -> Vec<u8> {
    (0u32..500_000).flat_map(u32::to_le_bytes).collect()
}

// SPDX-License-Identifier: MIT

//! What the tests of the command share: a folder with FIFOs, commands that cannot hang, and waiting with a deadline.

use nix::libc;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Nothing here takes so long, on whatever machine; more than this means that it hangs.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Asks again and again until it is so.
#[track_caller]
pub fn until(what: &str, mut ask: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !ask() {
        assert!(Instant::now() < deadline, "in vain until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// What is done at the same time, and has to be done in time.
pub struct Task<T> {
    what: &'static str,
    result: mpsc::Receiver<T>,
}

impl<T: Send + 'static> Task<T> {
    pub fn start(what: &'static str, work: impl FnOnce() -> T + Send + 'static) -> Self {
        let (sender, result) = mpsc::channel();
        std::thread::spawn(move || {
            let _ = sender.send(work());
        });
        Self { what, result }
    }

    #[track_caller]
    pub fn done(self) -> T {
        let result = self.result.recv_timeout(PATIENCE);
        result.unwrap_or_else(|why| panic!("in vain until {}: {why}", self.what))
    }
}

/// The same, without doing anything else meanwhile.
#[track_caller]
pub fn in_time<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    Task::start(what, work).done()
}

/// Whether this process has ended. That it has been waited for is the business of its parent, and where that is gone
/// of process 1, which may take its time.
pub fn has_ended(pid: i32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return true;
    };
    // After the name: the state (proc_pid_stat(5)).
    let state = stat.rsplit_once(") ").unwrap().1;
    state.starts_with(['Z', 'X'])
}

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
        let mut command = self.command(env, args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        Running::new(command)
    }

    /// `kpipe ARGS` from start to end, with these files at its ends.
    pub fn run_between(&self, input: File, output: File, args: &[&str]) -> Output {
        let mut command = self.command(&[], args);
        command.stdin(input).stdout(output);
        Running::new(command).finish()
    }

    fn command(&self, env: &[&str], args: &[&str]) -> Command {
        let mut command = Command::new("env");
        command.args(env).arg(env!("CARGO_BIN_EXE_kpipe"));
        command.args(args).current_dir(self.dir.path());
        command
    }

    /// `kpipe ARGS` from start to end, with nothing on stdin.
    pub fn run(&self, args: &[&str]) -> Output {
        self.start(args).finish()
    }
}

/// A command that is killed if the test ends before it does.
pub struct Running {
    child: Option<Child>,
    /// What was read of stderr.
    said: String,
}

impl Running {
    fn new(mut command: Command) -> Self {
        Self {
            child: Some(command.stderr(Stdio::piped()).spawn().unwrap()),
            said: String::new(),
        }
    }

    pub fn child(&mut self) -> &mut Child {
        self.child.as_mut().unwrap()
    }

    pub fn pid(&mut self) -> i32 {
        self.child().id().try_into().unwrap()
    }

    /// The first line that it prints.
    pub fn first_line(&mut self) -> String {
        next_line(&mut self.child().stdout)
    }

    /// Waits for a line on stderr with these words.
    #[track_caller]
    pub fn wait_until_it_says(&mut self, words: &str) -> String {
        loop {
            let line = next_line(&mut self.child().stderr);
            self.said += &line;
            assert!(!line.is_empty(), "{words:?} is not in: {}", self.said);
            if line.contains(words) {
                return line;
            }
        }
    }

    #[track_caller]
    pub fn finish(self) -> Output {
        self.finish_within(PATIENCE)
    }

    #[track_caller]
    pub fn finish_within(mut self, patience: Duration) -> Output {
        drop(self.child().stdin.take());
        let deadline = Instant::now() + patience;
        // Its output is small, so that it never waits for us to read it.
        while self.child().try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "the command hangs");
            std::thread::sleep(Duration::from_millis(2));
        }
        // A process that it has left behind may have its output, too.
        let child = self.child.take().unwrap();
        let output = in_time("its output ends", || child.wait_with_output()).unwrap();
        let stderr = [self.said.as_bytes(), &output.stderr].concat();
        Output { stderr, ..output }
    }

    /// Waits until the command is blocked in open(2).
    pub fn wait_until_it_opens(&mut self) {
        let path = format!("/proc/{}/syscall", self.pid());
        let in_open = format!("{} ", libc::SYS_openat);
        until("the command waits in open", || {
            let call = std::fs::read_to_string(&path).unwrap_or_default();
            call.starts_with(&in_open)
        });
    }
}

/// Reads a line, byte by byte, so that what follows is there for whoever reads next; "" at the end.
#[track_caller]
fn next_line<R: Read + Send + 'static>(pipe: &mut Option<R>) -> String {
    let mut from = pipe.take().unwrap();
    let (from, line) = in_time("the command says something", move || {
        let (mut line, mut byte) = (Vec::new(), [0]);
        while !line.ends_with(b"\n") && from.read(&mut byte).unwrap() > 0 {
            line.extend(byte);
        }
        (from, String::from_utf8(line).unwrap())
    });
    *pipe = Some(from);
    line
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
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

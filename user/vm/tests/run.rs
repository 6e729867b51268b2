// SPDX-License-Identifier: MIT

//! Runs `qemu/vm` for a test, with a deadline.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// What went wrong, as a sentence.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Longer than any run here takes, on a loaded machine too.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// A runner whose VM has one processor, which boots faster; the tests of a fact add what they need.
pub fn vm(arguments: &[&str]) -> Command {
    let runner = env::var_os("KPIPE_VM").unwrap_or_else(|| "qemu/vm".into());
    let mut command = Command::new(runner);
    command.args(["--quiet", "--timeout", "60"]);
    if !arguments.contains(&"--smp") && !arguments.contains(&"--icount") {
        command.args(["--smp", "1"]);
    }
    command.args(arguments);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// How a run ended and what it wrote.
#[derive(Debug)]
pub struct Done {
    /// The exit status.
    pub status: i32,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

impl Done {
    /// Standard output as text.
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

/// Runs to the end.
pub fn finish(mut command: Command) -> Result<Done, Failure> {
    collect(command.spawn()?)
}

/// Runs `qemu/vm` with these arguments to the end.
pub fn run(arguments: &[&str]) -> Result<Done, Failure> {
    finish(vm(arguments))
}

/// Everything that a started one still writes, and how it ends.
pub fn collect(mut child: Child) -> Result<Done, Failure> {
    let read = |stream: Option<Box<dyn Read + Send>>| {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(mut stream) = stream {
                let _ = stream.read_to_end(&mut bytes);
            }
            bytes
        })
    };
    let stdout = read(child.stdout.take().map(|stream| Box::new(stream) as _));
    let stderr = read(child.stderr.take().map(|stream| Box::new(stream) as _));
    let status = wait(&mut child)?;
    Ok(Done {
        status: code(status),
        stdout: stdout.join().map_err(|_| "the reader panicked")?,
        stderr: stderr.join().map_err(|_| "the reader panicked")?,
    })
}

/// The exit status, or 128 plus the signal, as a shell shows it.
pub fn code(status: ExitStatus) -> i32 {
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// Waits for the end of a process; after the deadline it is killed, and that is a failure.
pub fn wait(child: &mut Child) -> Result<ExitStatus, Failure> {
    let ended = until(|| child.try_wait().ok().flatten());
    ended.map_err(|_| {
        let _ = child.kill();
        format!("the runner did not end within {DEADLINE:?}").into()
    })
}

/// Asks again and again until there is an answer; fails after the deadline.
pub fn until<T>(ask: impl FnMut() -> Option<T>) -> Result<T, Failure> {
    within(DEADLINE, ask).ok_or_else(|| format!("nothing happened within {DEADLINE:?}").into())
}

/// Asks again and again until there is an answer, or none within this time.
pub fn within<T>(limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        let answer = ask();
        if answer.is_some() || Instant::now() > deadline {
            return answer;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// The VM that this runner has started, once it has. (Before that it asks QEMU for its version.)
pub fn qemu_of(runner: &Child) -> Option<u32> {
    let pid = runner.id();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    let is_vm = |pid: &u32| {
        let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        comm.starts_with("qemu") && arguments.windows(7).any(|part| part == b"-initrd")
    };
    children
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .find(is_vm)
}

/// Whether the process exists and has not ended.
pub fn is_alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|stat| {
            stat.rsplit_once(") ")
                .map(|(_, rest)| rest.starts_with('Z'))
        })
        .is_some_and(|is_zombie| !is_zombie)
}

/// A failure unless the two are equal.
pub fn same<T: PartialEq + std::fmt::Debug>(what: &str, is: T, should: T) -> Result<(), Failure> {
    if is == should {
        return Ok(());
    }
    Err(format!("{what}: {is:?} instead of {should:?}").into())
}

/// A failure unless the text contains this.
pub fn has(what: &str, text: &str, part: &str) -> Result<(), Failure> {
    if text.contains(part) {
        return Ok(());
    }
    let text = text.trim_end();
    let start = text.char_indices().rev().nth(2000).map_or(0, |(at, _)| at);
    Err(format!(
        "{what} does not contain {part:?}, but ends: {}",
        &text[start..]
    )
    .into())
}

/// A file of the host that a test needs; its path.
pub fn environment(name: &str) -> Result<String, Failure> {
    let value = env::var(name).map_err(|_| format!("{name} is not set; run this by: make test"))?;
    if !OsStr::new(&value).is_empty() && fs::metadata(&value).is_ok() {
        return Ok(value);
    }
    Err(format!("{name}={value}: there is no such file").into())
}

/// A folder of the host that is removed with the value.
pub struct Folder {
    /// Where it is.
    pub path: PathBuf,
}

impl Folder {
    /// Makes one in the folder for temporary files.
    pub fn new(name: &str) -> Result<Self, Failure> {
        let name = format!("kpipe-vm-tests-{}-{name}", std::process::id());
        let path = env::temp_dir().join(name);
        fs::create_dir(&path)?;
        Ok(Self { path })
    }

    /// The path of a file in it.
    pub fn file(&self, name: &str) -> Result<String, Failure> {
        let path = self.path.join(name).into_os_string().into_string();
        path.map_err(|_| "the folder for temporary files has a name that is not UTF-8".into())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

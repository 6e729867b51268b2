// SPDX-License-Identifier: MIT

//! Runs a program on the device or on real pipes, with a deadline, and collects what it says.

use std::fs::{self, File};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{killpg, Signal};
use nix::unistd::Pid;

use crate::scale::patience;

/// How often it is looked whether a program has ended.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// What a program's pipes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pipes {
    /// The device's, by `kpipe exec`.
    Device,
    /// The kernel's own.
    Real,
}

/// A folder of one test, removed with it.
pub struct Place {
    folder: PathBuf,
}

impl Place {
    /// Makes it.
    pub fn new() -> Result<Self, String> {
        let folder = std::env::temp_dir().join(format!("program-tests-{}", std::process::id()));
        // Of an earlier test that left something undeletable: the next line says so.
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        Ok(Self { folder })
    }

    /// A program and its arguments, to be run here.
    pub fn program<const N: usize>(&self, words: [&str; N]) -> Program<'_> {
        Program {
            place: self,
            words: words.iter().map(|&word| word.to_owned()).collect(),
            options: Vec::new(),
            deadline: Duration::from_secs(120),
            folder: self.folder.clone(),
        }
    }

    /// A shell command.
    pub fn shell(&self, shell: &str, command: &str) -> Program<'_> {
        self.program([shell, "-c", command])
    }

    /// A file here.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // The guest ends soon anyway.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A program that is about to be run.
#[derive(Clone)]
pub struct Program<'a> {
    place: &'a Place,
    words: Vec<String>,
    options: Vec<String>,
    deadline: Duration,
    folder: PathBuf,
}

/// How a program ended.
#[derive(Debug)]
pub struct Ended {
    status: ExitStatus,
    /// What it wrote to standard output.
    pub stdout: String,
    stderr: String,
    counts: Option<serde_json::Value>,
    what: String,
}

/// A program that runs.
pub struct Running {
    child: Child,
    until: Instant,
    name: String,
    what: String,
    folder: PathBuf,
}

impl Program<'_> {
    /// More words.
    pub fn args(mut self, words: &[&str]) -> Self {
        self.words.extend(words.iter().map(|&word| word.to_owned()));
        self
    }

    /// An option of `kpipe exec`.
    pub fn option(mut self, option: &str) -> Self {
        self.options.push(option.to_owned());
        self
    }

    /// How long it may take on a fast kernel.
    pub fn deadline_secs(mut self, seconds: u64) -> Self {
        self.deadline = Duration::from_secs(seconds);
        self
    }

    /// Runs it on the device: it must end with 0, and all its pipes must be of the device.
    pub fn on_the_device(&self) -> Result<Ended, String> {
        self.start(Pipes::Device)?
            .finish()?
            .succeeded()?
            .all_replaced()
    }

    /// Runs it as it is: it must end with 0.
    pub fn on_real_pipes(&self) -> Result<Ended, String> {
        self.start(Pipes::Real)?.finish()?.succeeded()
    }

    /// Runs it on both; both must write the same to standard output. Gives what it wrote.
    pub fn on_both_alike(&self) -> Result<String, String> {
        let (real, device) = (self.start(Pipes::Real)?, self.start(Pipes::Device)?);
        let real = real.finish()?.succeeded()?;
        let device = device.finish()?.succeeded()?.all_replaced()?;
        if real.stdout != device.stdout {
            return Err(format!(
                "{}: the device gives {:?}, real pipes give {:?}",
                device.what, device.stdout, real.stdout
            ));
        }
        Ok(device.stdout)
    }

    /// Starts it.
    pub fn start(&self, pipes: Pipes) -> Result<Running, String> {
        let name = format!("{pipes:?}");
        let folder = self.place.path(&name);
        fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        let mut words = self.words.clone();
        if pipes == Pipes::Device {
            let stats = self.place.path("Device.json").display().to_string();
            let mut all = vec!["kpipe".to_owned(), "exec".to_owned(), "--quiet".to_owned()];
            all.extend(["--stats".to_owned(), stats]);
            all.extend(self.options.clone());
            all.push("--".to_owned());
            words.splice(..0, all);
        }
        let what = words.join(" ");
        let output = |kind: &str| File::create(self.place.path(&format!("{name}.{kind}")));
        let start = || {
            Command::new(&words[0])
                .args(&words[1..])
                .current_dir(&folder)
                .env("TMPDIR", &folder)
                .stdin(Stdio::null())
                .stdout(output("stdout")?)
                .stderr(output("stderr")?)
                .process_group(0)
                .spawn()
        };
        Ok(Running {
            child: start().map_err(|e: std::io::Error| format!("{what}: {e}"))?,
            until: Instant::now() + patience(self.deadline),
            name,
            what,
            folder: self.folder.clone(),
        })
    }
}

impl Drop for Running {
    /// A test that has failed already does not wait for its other program.
    fn drop(&mut self) {
        // ESRCH: there is nobody left.
        let _ = killpg(Pid::from_raw(self.child.id() as i32), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

impl Running {
    /// Waits for its end.
    pub fn finish(mut self) -> Result<Ended, String> {
        let group = Pid::from_raw(self.child.id() as i32);
        let mut is_late = false;
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) => {}
                Err(e) => return Err(format!("{}: {e}", self.what)),
            }
            if !is_late && Instant::now() > self.until {
                is_late = true;
                let _ = killpg(group, Signal::SIGKILL);
            }
            std::thread::sleep(LOOK_EVERY);
        };
        let read = |kind: &str| {
            let bytes = fs::read(self.folder.join(format!("{}.{kind}", self.name)));
            String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
        };
        let ended = Ended {
            status,
            stdout: read("stdout"),
            stderr: read("stderr"),
            counts: serde_json::from_str(&read("json")).ok(),
            what: self.what.clone(),
        };
        if is_late {
            return Err(format!("not done in time: {}", ended.description()));
        }
        Ok(ended)
    }
}

impl Ended {
    /// It must have ended with 0.
    pub fn succeeded(self) -> Result<Self, String> {
        if self.status.success() {
            return Ok(self);
        }
        Err(format!("{}: {}", self.status, self.description()))
    }

    /// Some pipes must have been replaced, and none of them not.
    pub fn all_replaced(self) -> Result<Self, String> {
        if self.count("device_pipes") > 0 && self.count("real_pipes") == 0 {
            return Ok(self);
        }
        let counts = format!("{:?}", self.counts);
        Err(format!(
            "not all pipes were replaced: {counts}: {}",
            self.description()
        ))
    }

    /// At least so many of this kind must have been counted.
    pub fn at_least(self, number: u64, kind: &str) -> Result<Self, String> {
        match self.count(kind) {
            count if count >= number => Ok(self),
            count => Err(format!(
                "{kind}: {count}, expected {number} or more: {}",
                self.description()
            )),
        }
    }

    /// One of the numbers that `kpipe exec --stats` gives.
    pub fn count(&self, kind: &str) -> u64 {
        let counts = self.counts.as_ref();
        counts
            .and_then(|counts| counts.get(kind)?.as_u64())
            .unwrap_or(0)
    }

    /// What it did, and the ends of what it wrote.
    pub fn description(&self) -> String {
        let signal = self
            .status
            .signal()
            .map(|signal| format!(" (signal {signal})"));
        format!(
            "{}{}\n{}{}",
            self.what,
            signal.unwrap_or_default(),
            end_of(&self.stdout),
            end_of(&self.stderr)
        )
    }
}

/// The last lines.
fn end_of(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(30);
    match lines[from..].join("\n    ") {
        empty if empty.is_empty() => empty,
        lines => format!("    {lines}\n"),
    }
}

/// For a test that needs a program which is not always there.
pub fn exists(path: &str, otherwise: &str) -> Result<(), String> {
    if Path::new(path).exists() {
        Ok(())
    } else {
        Err(otherwise.to_owned())
    }
}

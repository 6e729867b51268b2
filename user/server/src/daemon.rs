// SPDX-License-Identifier: MIT

//! [`Daemon`]: a server that goes on when its terminal is gone (daemon(7)): detached, with a pid file by which it
//! is found, and a log file in place of standard error.

use crate::sys::fork_single_threaded;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::wait::waitpid;
use nix::unistd::{chdir, dup2_stderr, dup2_stdin, dup2_stdout, pipe2, setsid, ForkResult};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// The server's side of having been detached: it tells the one who started it how that went.
#[derive(Debug)]
pub struct Daemon {
    starter: File,
}

/// Whose process this is after [`detach`].
#[derive(Debug)]
pub enum Detached {
    /// The server's.
    Server(Daemon),
    /// That of whoever started it: the server is ready, and this is what it said. Or why it is not.
    Starter(Result<String, String>),
}

/// Leaves the terminal. Returns twice: in the server at once, in the starter when the server has called
/// [`Daemon::ready`] or has failed.
///
/// Two forks: the first child leads a new session, which has no terminal; the second does not lead it
/// and can therefore never get one.
pub fn detach() -> io::Result<Detached> {
    let (rx, tx) = pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    if let ForkResult::Parent { child } = fork_single_threaded()? {
        drop(tx);
        waitpid(child, None)?;
        let mut said = String::new();
        File::from(rx).read_to_string(&mut said)?;
        return Ok(Detached::Starter(match said.split_at_checked(1) {
            Some(("+", text)) => Ok(text.to_owned()),
            Some((_, text)) => Err(text.to_owned()),
            None => Err("the server ended before it was ready".to_owned()),
        }));
    }
    setsid()?;
    if let ForkResult::Parent { .. } = fork_single_threaded()? {
        std::process::exit(0);
    }
    // No file system is kept from being unmounted.
    chdir("/")?;
    let null = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    let starter = tx.into();
    Ok(Detached::Server(Daemon { starter }))
}

impl Daemon {
    /// The server serves. `text` is for who started it.
    pub fn ready(&self, text: &str) {
        self.tell("+", text);
    }

    /// The server cannot serve.
    pub fn failed(&self, why: &str) {
        self.tell("-", why);
    }

    fn tell(&self, kind: &str, text: &str) {
        // Nobody may be left to hear it.
        let _ = (&self.starter).write_all(format!("{kind}{text}").as_bytes());
    }
}

/// Makes the file the standard error of this process, also when it was renamed meanwhile: then a new one is made.
pub fn log_to(path: &Path) -> io::Result<()> {
    let log = OpenOptions::new().create(true).append(true).open(path)?;
    Ok(dup2_stderr(&log)?)
}

/// A file with the number of this process. It is locked while the process lives, so a number that was left behind
/// misleads nobody, and a second server is refused.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    owner: u32,
    _lock: Flock<File>,
}

impl PidFile {
    /// Writes it.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`]: another server has it.
    pub fn new(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)?;
        let mut file = Flock::lock(file, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, error)| io::Error::from(error))?;
        file.set_len(0)?;
        let owner = std::process::id();
        writeln!(file, "{owner}")?;
        Ok(Self {
            path: path.to_owned(),
            owner,
            _lock: file,
        })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Not by a forked child.
        if self.owner == std::process::id() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

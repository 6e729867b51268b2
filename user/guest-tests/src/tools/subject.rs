// SPDX-License-Identifier: MIT

//! What a test runs on: a queue of the device, or a FIFO, under one interface.

use std::fmt;
use std::path::{Path, PathBuf};

use kpipe_abi::uapi;
use nix::errno::Errno;
use nix::fcntl::{open, OFlag};
use nix::sys::stat::Mode as FileMode;
use nix::unistd::mkfifo;

use super::end::{End, Mode};

/// Environment variable with the directory where a test may make files; the outer process removes
/// it.
pub const DIRECTORY_VARIABLE: &str = "KPIPE_TEST_DIRECTORY";

/// The two kinds of queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// /dev/kpipe0
    Device,
    /// A FIFO of the kernel, as mkfifo(3) makes it.
    Fifo,
}

/// For tests that both subjects must pass.
pub const EACH: &[Subject] = &[Subject::Device, Subject::Fifo];
/// For tests of what a FIFO has not.
pub const DEVICE: &[Subject] = &[Subject::Device];

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Subject::Device => "kpipe",
            Subject::Fifo => "fifo",
        })
    }
}

/// One queue that nobody has open yet.
#[derive(Clone, Debug)]
pub struct Queue {
    subject: Subject,
    path: PathBuf,
}

impl Queue {
    /// The first queue of a subject.
    pub fn new(subject: Subject) -> Self {
        Self::numbered(subject, 0)
    }

    fn numbered(subject: Subject, index: u32) -> Self {
        let path = match subject {
            Subject::Device => device_path(index),
            Subject::Fifo => {
                let path = scratch_path(&format!("fifo{index}"));
                mkfifo(&path, FileMode::from_bits_truncate(0o600)).expect("mkfifo");
                path
            }
        };
        Self { subject, path }
    }

    /// Another queue of the same subject.
    pub fn another(&self) -> Self {
        Self::numbered(self.subject, 1)
    }

    /// Which kind it is.
    pub fn subject(&self) -> Subject {
        self.subject
    }

    /// Its node.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// open(2) with these flags, close-on-exec in addition.
    pub fn open(&self, flags: OFlag) -> nix::Result<End> {
        open(&self.path, flags | OFlag::O_CLOEXEC, FileMode::empty()).map(End::from)
    }

    /// A read end that blocks, whether there is a writer or not.
    #[track_caller]
    pub fn reader(&self) -> End {
        let end = self.must_open(OFlag::O_RDONLY | OFlag::O_NONBLOCK);
        end.set_mode(Mode::Blocking);
        end
    }

    /// A write end that blocks. There must be a reader.
    #[track_caller]
    pub fn writer(&self) -> End {
        let end = self.must_open(OFlag::O_WRONLY | OFlag::O_NONBLOCK);
        end.set_mode(Mode::Blocking);
        end
    }

    /// A read end and a write end, both blocking.
    #[track_caller]
    pub fn pair(&self) -> (End, End) {
        let reader = self.reader();
        (reader, self.writer())
    }

    /// The same with a queue of `capacity_bytes`.
    #[track_caller]
    pub fn pair_of(&self, capacity_bytes: usize) -> (End, End) {
        let (reader, writer) = self.pair();
        writer
            .resize(capacity_bytes as u64)
            .unwrap_or_else(|e| panic!("resize to {capacity_bytes} bytes: {e}"));
        (reader, writer)
    }

    /// open(2) that has to succeed.
    #[track_caller]
    pub fn must_open(&self, flags: OFlag) -> End {
        self.open(flags).unwrap_or_else(|e| {
            let hint = match (self.subject, e) {
                (Subject::Device, Errno::ENOENT) => {
                    " (is the module loaded? without it run only ::fifo)"
                }
                (_, Errno::EACCES) => " (these tests run as root)",
                _ => "",
            };
            panic!("open {} with {flags:?}: {e}{hint}", self.path.display())
        })
    }
}

/// /dev/kpipeN
pub fn device_path(index: u32) -> PathBuf {
    PathBuf::from(format!("/dev/{}{index}", uapi::NAME))
}

/// Every /dev/kpipeN that there is.
pub fn device_paths() -> Vec<PathBuf> {
    (0..).map(device_path).take_while(|p| p.exists()).collect()
}

/// A file name for the test that runs.
pub fn scratch_path(name: &str) -> PathBuf {
    let directory = std::env::var_os(DIRECTORY_VARIABLE).expect("set by the outer process");
    Path::new(&directory).join(name)
}

/// Looks at a queue without being one of its ends: access mode 3, which open(2) calls "check for
/// permission and return a descriptor for device-specific ioctls".
pub fn observe(path: &Path) -> nix::Result<End> {
    let flags = OFlag::O_ACCMODE | OFlag::O_CLOEXEC;
    open(path, flags, FileMode::empty()).map(End::from)
}

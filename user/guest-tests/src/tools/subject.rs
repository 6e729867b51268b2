// SPDX-License-Identifier: MIT

//! What a test runs on: the driver's queues and those of the kernel, under one interface.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use kpipe_abi::uapi;
use nix::errno::Errno;
use nix::fcntl::{open, OFlag};
use nix::sys::socket::{socketpair, AddressFamily, SockFlag, SockType};
use nix::sys::stat::Mode as FileMode;
use nix::unistd::{mkfifo, pipe2};

use super::end::{End, Mode};
use super::private;
use crate::harness::difference::{self, Difference};

/// The kinds of queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A pipe of the kernel, as pipe(2) makes it: the oracle.
    Pipe,
    /// A FIFO of the kernel, as mkfifo(3) makes it: the oracle for what has a name.
    Fifo,
    /// /dev/kpipe0
    Device,
    /// A private queue of the driver, as `IOC_PAIR` makes it.
    Pair,
    /// Two AF_UNIX stream sockets, as socketpair(2) makes them.
    Socket,
}

impl Subject {
    /// All of them, in the order of the columns.
    pub const ALL: [Self; 5] = [
        Self::Pipe,
        Self::Fifo,
        Self::Device,
        Self::Pair,
        Self::Socket,
    ];
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(match self {
            Subject::Pipe => "pipe",
            Subject::Fifo => "fifo",
            Subject::Device => "kpipe",
            Subject::Pair => "pair",
            Subject::Socket => "socket",
        })
    }
}

/// One queue that nobody has open yet.
#[derive(Clone, Debug)]
pub struct Queue {
    subject: Subject,
    path: PathBuf,
    /// What the path goes through, where the queue has no name of its own: a descriptor that is no
    /// end (`O_PATH`). Opening `/proc/self/fd/N` then opens what it stands for (proc(5)).
    _handle: Option<Arc<OwnedFd>>,
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
            Subject::Pipe => {
                let (reader, _writer) = pipe2(OFlag::O_CLOEXEC).expect("pipe2");
                return Self::without_name(subject, &reader.into());
            }
            Subject::Pair => {
                let (reader, _writer) = private::pair(OFlag::O_CLOEXEC);
                return Self::without_name(subject, &reader);
            }
            Subject::Socket => PathBuf::from("/dev/null/no socket has a path"),
        };
        Self {
            subject,
            path,
            _handle: None,
        }
    }

    /// The queue that this is an end of.
    fn without_name(subject: Subject, end: &End) -> Self {
        let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
        let handle = open(&end.path(), flags, FileMode::empty()).expect("open with O_PATH");
        Self {
            subject,
            path: descriptor_path(&handle),
            _handle: Some(Arc::new(handle)),
        }
    }

    /// Another queue of the same subject.
    pub fn another(&self) -> Self {
        Self::numbered(self.subject, 1)
    }

    /// Which kind it is.
    pub fn subject(&self) -> Subject {
        self.subject
    }

    /// Is it one of the driver's?
    pub fn is_ours(&self) -> bool {
        matches!(self.subject, Subject::Device | Subject::Pair)
    }

    /// Does this subject differ from a pipe in this way? The table of the test has to say so too.
    #[track_caller]
    pub fn differs(&self, difference: &'static Difference) -> bool {
        difference::ask(self.subject, difference)
    }

    /// Its node, or what stands for it.
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

    /// A read end and a write end, both blocking. Those of a socket are new each time.
    #[track_caller]
    pub fn pair(&self) -> (End, End) {
        if self.subject == Subject::Socket {
            let flags = SockFlag::SOCK_CLOEXEC;
            let ends = socketpair(AddressFamily::Unix, SockType::Stream, None, flags);
            let (reader, writer) = ends.expect("socketpair");
            return (reader.into(), writer.into());
        }
        let reader = self.reader();
        (reader, self.writer())
    }

    /// The call that makes a queue with both ends, with these flags. It is one for subjects without
    /// a name only.
    #[track_caller]
    pub fn make(&self, flags: OFlag) -> nix::Result<(End, End)> {
        match self.subject {
            Subject::Pipe => pipe2(flags).map(|(reader, writer)| (reader.into(), writer.into())),
            Subject::Pair => {
                let handle = private::handle();
                private::ask(handle.as_fd(), &mut private::arguments(flags))
            }
            Subject::Socket => {
                // The same bits; see net/socket.c.
                let flags = SockFlag::from_bits_retain(flags.bits());
                let ends = socketpair(AddressFamily::Unix, SockType::Stream, None, flags);
                ends.map(|(reader, writer)| (reader.into(), writer.into()))
            }
            Subject::Fifo | Subject::Device => panic!("{} has a name", self.subject),
        }
    }

    /// The two ends that the call gave that made the queue, where such a call makes it.
    ///
    /// Not every property of those is one of the ends that [`pair`](Self::pair) opens.
    #[track_caller]
    pub fn first_pair(&self) -> (End, End) {
        match self.subject {
            Subject::Pipe | Subject::Pair => {
                let made = self.make(OFlag::O_CLOEXEC);
                made.unwrap_or_else(|e| panic!("a new {}: {e}", self.subject))
            }
            _ => self.pair(),
        }
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
                    " (is the module loaded? without it run only ::pipe and ::fifo)"
                }
                (_, Errno::EACCES) => " (these tests run as root)",
                _ => "",
            };
            panic!("open {} with {flags:?}: {e}{hint}", self.path.display())
        })
    }
}

/// The name of an open descriptor that open(2) takes: proc_pid_fd(5).
pub fn descriptor_path(fd: &impl AsRawFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
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
    DIRECTORY.get().expect("a test runs").join(name)
}

/// Where the test of this process may make files; the outer process removes it.
static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();

/// Sets the directory that [`scratch_path`] is in.
pub fn use_directory(directory: &Path) {
    let directory = directory.to_owned();
    DIRECTORY.set(directory).expect("one test in one process");
}

/// Looks at a queue without being one of its ends: access mode 3, which open(2) calls "check for
/// permission and return a descriptor for device-specific ioctls".
pub fn observe(path: &Path) -> nix::Result<End> {
    let flags = OFlag::O_ACCMODE | OFlag::O_CLOEXEC;
    open(path, flags, FileMode::empty()).map(End::from)
}

// SPDX-License-Identifier: MIT

//! [`Queue`]: the name of a queue, and how its ends are opened. Everything starts here.

use crate::{Error, Monitor, Reader, Result, Writer};
use kpipe_abi::uapi;
use nix::errno::Errno;
use nix::fcntl::{open, OFlag};
use nix::sys::stat::{fstat, Mode, SFlag};
use std::convert::Infallible;
use std::fmt;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// What to do when an operation cannot go on now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Sleep until it can.
    Block,
    /// Fail at once (`O_NONBLOCK`): opening for writing without a reader is [`Error::NoReader`],
    /// reading an empty queue and writing a full one is [`std::io::ErrorKind::WouldBlock`].
    /// Opening for reading succeeds at once.
    Never,
}

/// The name of a queue. Making one opens nothing.
///
/// A FIFO's path is as good a name: its ends behave the same, only [`crate::Control`]'s calls other
/// than `queued_bytes` fail with [`Error::NotAQueue`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Queue {
    path: PathBuf,
}

impl Queue {
    /// The queue `/dev/kpipeN`.
    pub fn number(n: u32) -> Self {
        Self::at(format!("/dev/{}{n}", uapi::NAME))
    }

    /// The queue whose device node is at `path`.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// All queues that `/dev` shows, by number.
    ///
    /// # Errors
    /// [`Error::NotLoaded`] if there is none, or `/dev` cannot be read.
    pub fn all() -> Result<Vec<Self>> {
        let cannot_list = |error: std::io::Error| Error::Io {
            queue: Self::at("/dev"),
            doing: "list",
            source: Errno::from_raw(error.raw_os_error().unwrap_or(0)),
        };
        let mut numbers = Vec::new();
        for entry in std::fs::read_dir("/dev").map_err(cannot_list)? {
            let name = entry.map_err(cannot_list)?.file_name();
            numbers.extend(name.to_str().and_then(number_of_name));
        }
        if numbers.is_empty() {
            return Err(Error::NotLoaded {
                queue: Self::at(format!("/dev/{}*", uapi::NAME)),
            });
        }
        numbers.sort_unstable();
        Ok(numbers.into_iter().map(Self::number).collect())
    }

    /// Path of the device node.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The N of `/dev/kpipeN`, if that is what the path says.
    pub(crate) fn index(&self) -> Option<u32> {
        number_of_name(self.path.strip_prefix("/dev").ok()?.to_str()?)
    }

    /// Opens the read end. With [`Wait::Block`] this waits until somebody opens the write end.
    pub fn reader(&self, wait: Wait) -> Result<Reader> {
        Ok(Reader::new(self.clone(), self.open(OFlag::O_RDONLY, wait)?))
    }

    /// Opens the write end. With [`Wait::Block`] this waits until somebody opens the read end.
    pub fn writer(&self, wait: Wait) -> Result<Writer> {
        Ok(Writer::new(self.clone(), self.open(OFlag::O_WRONLY, wait)?))
    }

    /// Opens a descriptor for asking and setting. Never waits; see [`Monitor`].
    ///
    /// # Errors
    /// [`Error::NotAQueue`] also for the clone node, which is another queue at each open.
    pub fn monitor(&self) -> Result<Monitor> {
        if *self == Self::clone_node() {
            return Err(Error::NotAQueue {
                queue: self.clone(),
            });
        }
        self.control()
    }

    /// The node that private queues come from.
    pub(crate) fn clone_node() -> Self {
        Self::at(format!("/dev/{}", uapi::NAME))
    }

    /// [`monitor`](Self::monitor) of any node.
    pub(crate) fn control(&self) -> Result<Monitor> {
        // Linux's access mode 3, "device-specific ioctl(2) operations only" (open(2)).
        match self.open(OFlag::O_ACCMODE, Wait::Never) {
            Ok(fd) => Ok(Monitor::new(self.clone(), fd)),
            // fs/pipe.c's fifo_open() refuses it.
            Err(Error::Io {
                source: Errno::EINVAL,
                ..
            }) => Err(Error::NotAQueue {
                queue: self.clone(),
            }),
            Err(error) => Err(error),
        }
    }

    fn open(&self, access: OFlag, wait: Wait) -> Result<OwnedFd> {
        let mut flags = access | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
        if wait == Wait::Never {
            flags |= OFlag::O_NONBLOCK;
        }
        let fd = loop {
            match open(&self.path, flags, Mode::empty()) {
                // A signal handler ran while we waited for a partner. Whoever wants to stop then
                // opens with Wait::Never.
                Err(Errno::EINTR) => {}
                result => break result,
            }
        };
        let fd = fd.map_err(|errno| Error::of_open(self, wait, errno))?;
        // Writing would destroy what a file or a disk holds that was named by mistake.
        let mode = fstat(&fd)
            .map_err(|errno| Error::of_call(self, "fstat", errno))?
            .st_mode;
        match SFlag::from_bits_truncate(mode & SFlag::S_IFMT.bits()) {
            SFlag::S_IFCHR | SFlag::S_IFIFO => Ok(fd),
            _ => Err(Error::NotAQueue {
                queue: self.clone(),
            }),
        }
    }
}

impl FromStr for Queue {
    type Err = Infallible;

    /// `0` and `kpipe0` are `/dev/kpipe0`; everything else is a path.
    fn from_str(name: &str) -> std::result::Result<Self, Infallible> {
        let number = canonical_number(name).or_else(|| number_of_name(name));
        Ok(number.map_or_else(|| Self::at(name), Self::number))
    }
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(f)
    }
}

/// `kpipe7` -> 7.
fn number_of_name(name: &str) -> Option<u32> {
    canonical_number(name.strip_prefix(uapi::NAME)?)
}

/// A number as the kernel writes it: digits only, no leading zero.
fn canonical_number(digits: &str) -> Option<u32> {
    let number: u32 = digits.parse().ok()?;
    (number.to_string() == digits).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path_of(name: &str) -> String {
        name.parse::<Queue>().unwrap().to_string()
    }

    #[test]
    fn a_number_a_name_and_a_path_name_the_same_queue() {
        assert_eq!(path_of("3"), "/dev/kpipe3");
        assert_eq!(path_of("kpipe3"), "/dev/kpipe3");
        assert_eq!(path_of("/dev/kpipe3"), "/dev/kpipe3");
    }

    #[test]
    fn what_is_neither_a_number_nor_a_name_is_a_path() {
        for name in [
            "/tmp/fifo",
            "fifo",
            "+1",
            "01",
            "-1",
            "kpipe",
            "kpipe01",
            "kpipe-1",
            "4294967296",
        ] {
            assert_eq!(path_of(name), name);
        }
    }

    #[test]
    fn the_index_is_known_for_nodes_in_dev_only() {
        assert_eq!(Queue::number(12).index(), Some(12));
        assert_eq!(Queue::at("/dev/null").index(), None);
        assert_eq!(Queue::at("/tmp/kpipe3").index(), None);
    }
}

// SPDX-License-Identifier: MIT

//! Which two queues are compared.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{open, OFlag};
use nix::sys::stat::Mode;
use nix::unistd::{mkfifo, pipe2};

use crate::tools::end::End;
use crate::tools::subject;
use kpipe_abi::uapi::{self, Pair};

/// The two kinds that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The device's first queue and a FIFO.
    Named,
    /// A queue that [`uapi::IOC_PAIR`] made and one that pipe(2) made, opened anew by their names in
    /// /proc: this waits for no partner.
    Anonymous,
}

/// Two queues.
pub struct Subjects {
    kind: Kind,
    /// The device's, and the kernel's own.
    pub paths: [PathBuf; 2],
    /// Looks at the device's.
    pub observer: End,
    /// Descriptors that an anonymous queue has its name from, but is not open by (`O_PATH`).
    _names: Vec<OwnedFd>,
}

impl Subjects {
    /// For a FIFO it takes this path.
    pub fn new(kind: Kind, fifo: &Path) -> Self {
        let (paths, names) = match kind {
            Kind::Named => {
                mkfifo(fifo, Mode::from_bits_truncate(0o600)).expect("mkfifo");
                ([subject::device_path(0), fifo.to_owned()], Vec::new())
            }
            Kind::Anonymous => {
                let clone = format!("/dev/{}", uapi::NAME);
                let clone = subject::observe(Path::new(&clone)).expect("open /dev/kpipe");
                let (pair, _) = kpipe_abi::pair(&clone, Pair::default()).expect("IOC_PAIR");
                let pipe = pipe2(OFlag::O_CLOEXEC).expect("pipe2");
                let names = [name_of(&pair.0), name_of(&pipe.0)];
                let paths = names.each_ref().map(path_of);
                (paths, names.into())
            }
        };
        let observer = subject::observe(&paths[0]).expect("open the queue; is the module loaded?");
        Self {
            kind,
            paths,
            observer,
            _names: names,
        }
    }

    /// What they are called in a report.
    pub fn names(&self) -> [&'static str; 2] {
        match self.kind {
            Kind::Named => ["device", "fifo"],
            Kind::Anonymous => ["device", "pipe"],
        }
    }

    /// Is really nothing open any more?
    pub fn check_unused(&self) -> Result<(), String> {
        let info = self.observer.info();
        if (info.readers, info.writers, info.queued_bytes) != (0, 0, 0) {
            return Err(format!(
                "after all was closed the device has {} readers, {} writers and {} bytes\n",
                info.readers, info.writers, info.queued_bytes
            ));
        }
        let mut options = OpenOptions::new();
        options.custom_flags(OFlag::O_NONBLOCK.bits());
        let (is_unused, found) = match self.kind {
            Kind::Named => {
                let opened = options.write(true).open(&self.paths[1]);
                let errno = opened.as_ref().map_err(std::io::Error::raw_os_error);
                let is_unused = matches!(errno, Err(Some(e)) if e == Errno::ENXIO as i32);
                (is_unused, format!("{opened:?}"))
            }
            Kind::Anonymous => {
                let opened = options.read(true).open(&self.paths[1]);
                let end = opened.and_then(|mut pipe| pipe.read(&mut [0]));
                (matches!(end, Ok(0)), format!("{end:?}"))
            }
        };
        match is_unused {
            true => Ok(()),
            false => Err(format!(
                "after all was closed the other one is open: {found}\n"
            )),
        }
    }
}

impl Drop for Subjects {
    fn drop(&mut self) {
        if self.kind == Kind::Named {
            // The directory is removed in any case.
            let _ = std::fs::remove_file(&self.paths[1]);
        }
    }
}

fn name_of(fd: impl AsFd) -> OwnedFd {
    let path = path_of(&fd);
    open(&path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).expect("open with O_PATH")
}

/// The same in a process that is forked.
fn path_of(fd: impl AsFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd()))
}

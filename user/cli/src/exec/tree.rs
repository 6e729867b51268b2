// SPDX-License-Identifier: MIT

//! [`Tree`]: what the processes of a program inherit: the environment, a descriptor of the clone
//! node, and the ledger.

use super::contract::{
    Ledger, Setup, CLONE_NODE, ENTRIES, NO_FD, PATHS_MAX_BYTES, PATHS_VARIABLE, SETUP_VARIABLE,
};
use super::Args;
use crate::failure::{Failure, Result};
use kpipe::Queue;
use nix::errno::Errno;
use nix::fcntl::{fcntl, open, FcntlArg, OFlag, SealFlag};
use nix::sys::memfd::{memfd_create, MFdFlags};
use nix::sys::resource::{getrlimit, Resource};
use nix::sys::stat::{fstat, major, minor, Mode, SFlag};
use std::env;
use std::ffi::CStr;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The library's file.
const LIBRARY: &str = "libkpipe_preload.so";

/// The descriptors go below this number: the usual limit, so that programs of the tree that set it
/// find room above and below.
const HIGHEST_FD: u64 = 1024;

/// The common things of a tree of processes that is about to be started.
pub struct Tree {
    ledger: File,
}

impl Tree {
    /// Sets up this process so that its children have everything.
    pub fn prepare(args: &Args) -> Result<Self> {
        let library = find_library()?;
        let ledger = make_ledger().map_err(Failure::io("the shared counters"))?;
        let inherit =
            |file: &File| inheritable(file).map_err(Failure::io("a descriptor for the program"));
        let mut setup = Setup {
            clone_fd: NO_FD,
            clone_major: 0,
            clone_minor: 0,
            ledger_fd: inherit(&ledger)?,
            ledger_inode: fstat(&ledger)
                .map_err(Failure::io("the shared counters"))?
                .st_ino,
            owner_pid: std::process::id(),
            reports_fifo: args.report_fifo.into(),
        };
        match clone_node() {
            Ok((node, device)) => {
                setup.clone_fd = inherit(&node)?;
                (setup.clone_major, setup.clone_minor) = device;
            }
            Err(failure) if !args.optional => return Err(failure),
            Err(_) => {}
        }
        set(
            SETUP_VARIABLE,
            &setup.fields().map(|field| field.to_string()).join(","),
        );
        let paths = args.paths.iter();
        let paths = paths
            .map(|path| format!("{}={}", path.pattern, path.queue))
            .collect::<Vec<_>>()
            .join("\n");
        if paths.len() >= PATHS_MAX_BYTES {
            let why = format!("--path: more than {PATHS_MAX_BYTES} bytes in all");
            return Err(Failure::Differs(why));
        }
        set(PATHS_VARIABLE, &paths);
        preload(&library);
        Ok(Self { ledger })
    }

    /// What was counted until now.
    pub fn counts(&self) -> Result<[u64; ENTRIES]> {
        let mut bytes = [0; size_of::<Ledger>()];
        self.ledger
            .read_exact_at(&mut bytes, 0)
            .map_err(Failure::io("the shared counters"))?;
        let mut counts = [0; ENTRIES];
        for (count, bytes) in counts.iter_mut().zip(bytes.chunks_exact(8)) {
            *count = u64::from_ne_bytes(bytes.try_into().expect("eight bytes"));
        }
        Ok(counts)
    }
}

fn set(variable: &CStr, value: &str) {
    let name = variable.to_str().expect("a name in ASCII");
    if value.is_empty() {
        env::remove_var(name);
    } else {
        env::set_var(name, value);
    }
}

/// Before what is preloaded already, so that this library is asked first.
fn preload(library: &Path) {
    let mut value = library.as_os_str().to_owned();
    if let Some(others) = env::var_os("LD_PRELOAD").filter(|others| !others.is_empty()) {
        value.push(":");
        value.push(others);
    }
    env::set_var("LD_PRELOAD", value);
}

/// Beside this program, where a build puts it, or where it is installed.
fn find_library() -> Result<PathBuf> {
    let program = env::current_exe().map_err(Failure::io("/proc/self/exe"))?;
    let folder = program.parent().unwrap_or(Path::new("/"));
    let places = [
        folder.join(LIBRARY),
        folder.join("../lib/kpipe").join(LIBRARY),
    ];
    let found = places.iter().find(|place| place.is_file());
    // The loader separates its names by spaces and colons.
    match found.and_then(|place| place.canonicalize().ok()) {
        Some(place) if place.as_os_str().as_encoded_bytes().iter().any(|b| b" :".contains(b)) => {
            Err(Failure::Differs(format!(
                "{}: the loader cannot take a path with a space or a colon: put kpipe and its library elsewhere",
                place.display()
            )))
        }
        Some(place) => Ok(place),
        None => Err(Failure::Differs(format!(
            "{LIBRARY} is neither in {} nor in ../lib/kpipe beside it: build it with `make build`",
            folder.display()
        ))),
    }
}

/// A file in memory, of the ledger's size for ever: a process that maps it never finds less.
fn make_ledger() -> nix::Result<File> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let file = File::from(memfd_create(c"kpipe-exec", flags)?);
    let fresh = Ledger::new().bytes();
    let write = file.write_all_at(&fresh, 0);
    write.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))?;
    let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(file)
}

/// The clone node, open for ioctls only, and its device number.
fn clone_node() -> Result<(File, (u32, u32))> {
    let path = CLONE_NODE.to_str().expect("a path in ASCII");
    let queue = Queue::at(path);
    let node = open(path, OFlag::O_ACCMODE | OFlag::O_CLOEXEC, Mode::empty());
    let node = File::from(node.map_err(|errno| match errno {
        Errno::EACCES | Errno::EPERM => Failure::Queue(kpipe::Error::PermissionDenied { queue }),
        Errno::ENOENT if Path::new("/sys/module/kpipe").exists() => Failure::Differs(format!(
            "{path}: not there: the loaded module is too old for this: rebuild it with `make build`"
        )),
        Errno::ENOENT | Errno::ENXIO | Errno::ENODEV => {
            Failure::Queue(kpipe::Error::NotLoaded { queue })
        }
        errno => Failure::io(path)(errno),
    })?);
    let status = fstat(&node).map_err(Failure::io(path))?;
    let kind = SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT;
    if kind != SFlag::S_IFCHR {
        return Err(Failure::Queue(kpipe::Error::NotAQueue {
            queue: Queue::at(path),
        }));
    }
    let (major, minor) = (major(status.st_rdev), minor(status.st_rdev));
    Ok((node, (major as u32, minor as u32)))
}

/// A copy of the descriptor that programs inherit, at a number that they do not expect to be free.
fn inheritable(file: impl AsFd) -> nix::Result<u32> {
    let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let lowest = limit.min(HIGHEST_FD).saturating_sub(16);
    // Not closed on exec, and by nobody here: it lives as long as this process.
    let lowest = i32::try_from(lowest).expect("below 1024");
    let number = fcntl(file, FcntlArg::F_DUPFD(lowest))?;
    Ok(number.unsigned_abs())
}

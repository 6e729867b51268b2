// SPDX-License-Identifier: MIT

//! What `kpipe exec` and the preload library agree on: two environment variables, and the
//! [`Ledger`], one piece of memory that all processes of the tree share. This file is compiled into
//! both and uses nothing but `core`.

use core::ffi::CStr;
use core::sync::atomic::{AtomicU64, Ordering};

/// The environment variable with a [`Setup`] as text.
pub const SETUP_VARIABLE: &CStr = c"KPIPE_EXEC";

/// The environment variable with the named paths: `GLOB=N` on a line each, N being the number of a
/// queue.
pub const PATHS_VARIABLE: &CStr = c"KPIPE_EXEC_PATHS";

/// The longest value of [`PATHS_VARIABLE`] in bytes.
pub const PATHS_MAX_BYTES: usize = 4096;

/// The node that gives private queues.
pub const CLONE_NODE: &CStr = c"/dev/kpipe";

/// No descriptor.
pub const NO_FD: u32 = u32::MAX;

/// What a process of the tree has to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    /// A descriptor of the clone node that every process inherits unless somebody closes it, or
    /// [`NO_FD`].
    pub clone_fd: u32,
    /// Device number of the clone node; 0 if there is no device.
    pub clone_major: u32,
    /// The other half of it.
    pub clone_minor: u32,
    /// The same for the [`Ledger`].
    pub ledger_fd: u32,
    /// Inode number of the ledger.
    pub ledger_inode: u64,
    /// The process that has the ledger open under the same number, for as long as the program runs.
    pub owner_pid: u32,
    /// 1: fstat(2) on a numbered queue says FIFO.
    pub reports_fifo: u32,
}

impl Setup {
    /// The fields in the order of the structure, in decimal, with commas; after a version.
    pub fn fields(&self) -> [u64; 8] {
        [
            u64::from(LEDGER_VERSION),
            self.clone_fd.into(),
            self.clone_major.into(),
            self.clone_minor.into(),
            self.ledger_fd.into(),
            self.ledger_inode,
            self.owner_pid.into(),
            self.reports_fifo.into(),
        ]
    }

    /// The inverse of [`fields`](Self::fields), of the text in [`SETUP_VARIABLE`].
    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut fields = [0u64; 8];
        let mut parts = text.split(|&byte| byte == b',');
        for field in &mut fields {
            *field = parse_number(parts.next()?)?;
        }
        let small = |field: u64| u32::try_from(field).ok();
        (parts.next().is_none() && fields[0] == u64::from(LEDGER_VERSION)).then_some(())?;
        Some(Self {
            clone_fd: small(fields[1])?,
            clone_major: small(fields[2])?,
            clone_minor: small(fields[3])?,
            ledger_fd: small(fields[4])?,
            ledger_inode: fields[5],
            owner_pid: small(fields[6])?,
            reports_fifo: small(fields[7])?,
        })
    }
}

/// Reads a decimal number.
pub fn parse_number(digits: &[u8]) -> Option<u64> {
    core::str::from_utf8(digits).ok()?.parse().ok()
}

/// Of [`Setup`] and [`Ledger`].
pub const LEDGER_VERSION: u32 = 1;

/// What the ledger counts, over all processes, and its place there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// [`LEDGER_VERSION`]; no count.
    Version,
    /// Programs that have loaded the library.
    Programs,
    /// pipe() and pipe2() that gave a pair of the device.
    Pairs,
    /// Opens of a named path that went to a queue.
    Opens,
    /// `F_GETPIPE_SZ` and `F_SETPIPE_SZ` that the device answered.
    Sizes,
    /// fstat() and the like in which a queue passed for a FIFO.
    Stats,
    /// Real pipes: asked for with a flag that the device does not know.
    RealFlag,
    /// Real pipes: the clone node could not be opened.
    RealNoNode,
    /// Real pipes: the driver refused.
    RealRefused,
    /// The last error behind [`RealNoNode`](Self::RealNoNode); no count.
    NoNodeErrno,
    /// The last error behind [`RealRefused`](Self::RealRefused); no count.
    RefusedErrno,
}

/// How many entries there are.
pub const ENTRIES: usize = Entry::RefusedErrno as usize + 1;

/// The memory that all processes of the tree share.
#[repr(C)]
#[derive(Debug)]
pub struct Ledger {
    entries: [AtomicU64; ENTRIES],
}

impl Ledger {
    /// Nothing counted yet.
    pub const fn new() -> Self {
        let mut entries = [const { AtomicU64::new(0) }; ENTRIES];
        entries[Entry::Version as usize] = AtomicU64::new(LEDGER_VERSION as u64);
        Self { entries }
    }

    /// As the file has it that is shared.
    pub fn bytes(&self) -> [u8; 8 * ENTRIES] {
        let mut bytes = [0; 8 * ENTRIES];
        for (place, entry) in bytes.chunks_exact_mut(8).zip(&self.entries) {
            place.copy_from_slice(&entry.load(Ordering::Relaxed).to_ne_bytes());
        }
        bytes
    }

    /// Adds one.
    pub fn count(&self, entry: Entry) {
        self.entries[entry as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Notes a number.
    pub fn set(&self, entry: Entry, number: u64) {
        self.entries[entry as usize].store(number, Ordering::Relaxed);
    }

    /// The present number.
    pub fn get(&self, entry: Entry) -> u64 {
        self.entries[entry as usize].load(Ordering::Relaxed)
    }
}

// SPDX-License-Identifier: MIT

//! Writes an initramfs: a cpio archive of the "newc" kind, uncompressed, because the guest would
//! spend more time on unpacking than the host on copying. The format is described in the kernel's
//! Documentation/driver-api/early-userspace/buffer-format.rst.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The content of an initramfs by path, so that a later entry replaces an earlier one and a folder
/// comes before what it contains.
#[derive(Debug, Default)]
pub struct Archive {
    entries: BTreeMap<PathBuf, Entry>,
}

#[derive(Debug)]
struct Entry {
    mode: u32,
    content: Vec<u8>,
    device: (u32, u32),
}

const FOLDER: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

impl Archive {
    /// Adds a folder (mode 755), unless it is there.
    pub fn folder(&mut self, path: &Path) {
        self.parents(path);
        let key = key(path);
        if !key.as_os_str().is_empty() {
            self.entries.entry(key).or_insert(Entry {
                mode: FOLDER | 0o755,
                content: Vec::new(),
                device: (0, 0),
            });
        }
    }

    /// Adds a file with these permission bits.
    pub fn file(&mut self, path: &Path, permissions: u32, content: Vec<u8>) {
        self.add(path, FILE | (permissions & 0o7777), content, (0, 0));
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &Path, target: &Path) {
        let content = target.as_os_str().as_bytes().to_vec();
        self.add(path, LINK | 0o777, content, (0, 0));
    }

    /// Adds a character device with mode 600.
    pub fn character_device(&mut self, path: &Path, major: u32, minor: u32) {
        self.add(path, CHARACTER_DEVICE | 0o600, Vec::new(), (major, minor));
    }

    fn add(&mut self, path: &Path, mode: u32, content: Vec<u8>, device: (u32, u32)) {
        self.parents(path);
        self.entries.insert(
            key(path),
            Entry {
                mode,
                content,
                device,
            },
        );
    }

    fn parents(&mut self, path: &Path) {
        if let Some(parent) = path.parent() {
            if parent != path {
                self.folder(parent);
            }
        }
    }

    /// Writes the archive.
    pub fn write(&self, mut to: impl Write) -> io::Result<()> {
        for (number, (path, entry)) in self.entries.iter().enumerate() {
            write_entry(&mut to, number, path, entry)?;
        }
        let end = Entry {
            mode: 0,
            content: Vec::new(),
            device: (0, 0),
        };
        write_entry(&mut to, 0, Path::new("TRAILER!!!"), &end)
    }
}

/// Paths in the archive are relative to its root.
fn key(path: &Path) -> PathBuf {
    path.strip_prefix("/").unwrap_or(path).to_owned()
}

fn write_entry(to: &mut impl Write, number: usize, path: &Path, entry: &Entry) -> io::Result<()> {
    let name = path.as_os_str().as_bytes();
    let length = u32::try_from(entry.content.len()).map_err(|_| {
        let sentence = format!("{}: too large for an initramfs (4 GiB)", path.display());
        io::Error::new(io::ErrorKind::InvalidInput, sentence)
    })?;
    let links = if entry.mode & 0o170_000 == FOLDER {
        2
    } else {
        1
    };
    let (major, minor) = entry.device;
    // Magic, inode, mode, uid, gid, links, mtime, size, device, device of the node, name, checksum.
    write!(
        to,
        "070701{number:08X}{mode:08X}{zero:08X}{zero:08X}{links:08X}{zero:08X}{length:08X}\
         {zero:08X}{zero:08X}{major:08X}{minor:08X}{name_length:08X}{zero:08X}",
        mode = entry.mode,
        zero = 0,
        name_length = name.len() + 1,
    )?;
    to.write_all(name)?;
    // The name ends with a zero; header and name, and the content, are padded to four bytes.
    to.write_all(&[0; 4][..4 - (110 + name.len()) % 4])?;
    to.write_all(&entry.content)?;
    to.write_all(&[0; 3][..(4 - entry.content.len() % 4) % 4])
}

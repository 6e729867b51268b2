// SPDX-License-Identifier: MIT

//! [`Root`]: the folder whose files are served. The kernel resolves each path below it and refuses what
//! leads out, be it `..`, an absolute symbolic link or one that climbs (openat2(2), `RESOLVE_BENEATH`): no
//! own look at the path could be right, as links may change between the look and the opening.

use super::response::Status;
use rustix::fs::{fstat, open, openat2, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// The folder, open.
#[derive(Debug)]
pub struct Root(OwnedFd);

/// A file to send.
#[derive(Debug)]
pub struct Found {
    /// Open for reading.
    pub file: File,
    /// When it was opened.
    pub len_bytes: u64,
    /// Of its contents.
    pub modified: SystemTime,
    /// Changes with its contents, as far as its time tells.
    pub tag: String,
}

/// What a path leads to.
#[derive(Debug)]
pub enum Place {
    /// A file.
    File(Found),
    /// A folder: its files have paths that begin with this one and a slash.
    Folder,
}

impl Root {
    /// Opens the folder.
    pub fn open(folder: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(open(folder, flags, Mode::empty())?))
    }

    /// What `path` leads to, which is relative to the folder.
    ///
    /// # Errors
    /// The status to answer with.
    pub fn find(&self, path: &[u8]) -> Result<Place, Status> {
        // Looked at first, without opening: opening a FIFO or a device would do something to it.
        let stat = fstat(self.resolve(path, OFlags::PATH)?).map_err(status_of)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {}
            FileType::Directory => return Ok(Place::Folder),
            _ => return Err(Status::FORBIDDEN),
        }
        let file = self.resolve(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
        // It may have become another in between.
        let stat = fstat(&file).map_err(status_of)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Status::FORBIDDEN);
        }
        let len_bytes = u64::try_from(stat.st_size).unwrap_or(0);
        let modified = modified(&stat);
        let since = modified
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Ok(Place::File(Found {
            file: file.into(),
            len_bytes,
            modified,
            tag: format!("\"{:x}-{len_bytes:x}\"", since.as_nanos()),
        }))
    }

    fn resolve(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Status> {
        let path = if path.is_empty() { b"." } else { path };
        let how = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        // EAGAIN: a folder on the way was renamed just now.
        for _ in 0..16 {
            match openat2(&self.0, path, flags | OFlags::CLOEXEC, Mode::empty(), how) {
                Err(Errno::AGAIN) => {}
                result => return result.map_err(status_of),
            }
        }
        Err(Status::NOT_FOUND)
    }
}

fn modified(stat: &Stat) -> SystemTime {
    let seconds = u64::try_from(stat.st_mtime).unwrap_or(0);
    let nanos = u32::try_from(stat.st_mtime_nsec).unwrap_or(0);
    SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos)
}

fn status_of(error: Errno) -> Status {
    match error {
        Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG => Status::NOT_FOUND,
        Errno::MFILE | Errno::NFILE | Errno::NOMEM => Status::UNAVAILABLE,
        // Out of the folder (EXDEV), a circle of links (ELOOP), not allowed (EACCES).
        _ => Status::FORBIDDEN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn status(root: &Root, path: &str) -> u16 {
        match root.find(path.as_bytes()) {
            Ok(_) => 200,
            Err(status) => status.code,
        }
    }

    #[test]
    fn no_path_leads_out_of_the_folder() {
        let outside = tempfile::tempdir().unwrap();
        let folder = outside.path().join("root");
        std::fs::create_dir_all(folder.join("sub")).unwrap();
        std::fs::write(outside.path().join("secret"), "secret").unwrap();
        std::fs::write(folder.join("file"), "public").unwrap();
        symlink("../file", folder.join("sub/inside")).unwrap();
        symlink("../../secret", folder.join("sub/climbing")).unwrap();
        symlink(outside.path().join("secret"), folder.join("absolute")).unwrap();
        symlink("circle", folder.join("circle")).unwrap();
        let root = Root::open(&folder).unwrap();
        for (path, wanted) in [
            ("file", 200),
            ("sub/../file", 200),
            ("sub/inside", 200),
            ("../secret", 403),
            ("sub/../../secret", 403),
            ("../root/file", 403),
            ("/etc/passwd", 403),
            ("sub/climbing", 403),
            ("absolute", 403),
            ("circle", 403),
            ("file/more", 404),
            ("missing", 404),
        ] {
            assert_eq!(status(&root, path), wanted, "{path}");
        }
        assert_eq!(status(&root, &"x".repeat(5000)), 404);
    }

    #[test]
    fn what_is_no_file_is_not_even_opened() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let root = Root::open(folder.path()).unwrap();
        assert_eq!(status(&root, "fifo"), 403);
        assert!(matches!(root.find(b""), Ok(Place::Folder)));
    }
}

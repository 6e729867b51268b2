// SPDX-License-Identifier: MIT

//! What `--add` brings into the VM: files and folders, with the shared libraries that dynamic
//! programs need, at the places where their loader looks for them.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use kpipe_init::guest_home;

use crate::archive::Archive;
use crate::Error;

/// Adds what one `--add HOSTPATH[:GUESTPATH]` names.
pub fn add(archive: &mut Archive, argument: &OsStr) -> Result<(), Error> {
    let (host, guest) = split(argument);
    if !host.exists() {
        return Err(format!("--add {}: there is no such file", host.display()).into());
    }
    add_path(archive, &host, &guest)
        .map_err(|error| format!("--add {}: {error}", host.display()).into())
}

/// A name that exists as it stands may contain a colon.
fn split(argument: &OsStr) -> (PathBuf, PathBuf) {
    let bytes = argument.as_bytes();
    let colon = bytes.iter().rposition(|&byte| byte == b':');
    let (host, guest) = match colon {
        Some(at) if !Path::new(argument).exists() => (&bytes[..at], &bytes[at + 1..]),
        _ => (bytes, bytes),
    };
    let path = |bytes: &[u8]| PathBuf::from(OsString::from_vec(bytes.to_vec()));
    // An absolute path replaces what it is joined to.
    (path(host), normalize(&guest_home().join(path(guest))))
}

/// Without `.` and `..`, which a cpio archive does not know.
fn normalize(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir => drop(normal.pop()),
            other => normal.push(other),
        }
    }
    normal
}

/// The path itself may be a symbolic link: its target is meant. Links below it stay links.
fn add_path(archive: &mut Archive, host: &Path, guest: &Path) -> Result<(), Error> {
    let metadata = fs::metadata(host)?;
    if metadata.is_dir() {
        archive.folder(guest);
        for entry in fs::read_dir(host)? {
            let entry = entry?;
            let guest = guest.join(entry.file_name());
            let kind = entry.file_type()?;
            if kind.is_symlink() {
                archive.link(&guest, &fs::read_link(entry.path())?);
            } else if kind.is_dir() || kind.is_file() {
                add_path(archive, &entry.path(), &guest)?;
            }
        }
        return Ok(());
    }
    let content = fs::read(host)?;
    if content.starts_with(b"\x7fELF") {
        add_libraries(archive, host)?;
    }
    archive.file(guest, metadata.permissions().mode(), content);
    Ok(())
}

/// Asks the program's own loader, by ldd(1): it knows the search paths.
fn add_libraries(archive: &mut Archive, program: &Path) -> Result<(), Error> {
    // ldd takes a name without a slash for a file of this folder, but says so only with one.
    let output = Command::new("ldd")
        .arg(Path::new(".").join(program))
        .output()?;
    // It fails for a static program, which needs nothing.
    let listing = OsString::from_vec(output.stdout);
    for line in listing.as_bytes().split(|&byte| byte == b'\n') {
        let line = String::from_utf8_lossy(line);
        // "libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x...)" or "/lib64/ld-linux... (0x...)"
        let words: Vec<&str> = line.split_whitespace().collect();
        let library = match words[..] {
            [name, "=>", "not", "found"] => {
                return Err(format!("it needs {name}, which this host does not have").into());
            }
            [_, "=>", path, _] | [path, _] if path.starts_with('/') => path,
            _ => continue,
        };
        let mode = fs::metadata(library)?.permissions().mode();
        archive.file(Path::new(library), mode, fs::read(library)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(argument: &str) -> (String, String) {
        let (host, guest) = split(OsStr::new(argument));
        (host.display().to_string(), guest.display().to_string())
    }

    #[test]
    fn a_relative_path_lands_where_the_command_starts() {
        assert_eq!(places("./a/../b"), ("./a/../b".into(), "/root/b".into()));
    }

    #[test]
    fn an_absolute_path_stays_the_same() {
        assert_eq!(places("/etc/x"), ("/etc/x".into(), "/etc/x".into()));
    }

    #[test]
    fn the_last_colon_separates_the_guests_path() {
        assert_eq!(places("a:b:/c"), ("a:b".into(), "/c".into()));
    }
}

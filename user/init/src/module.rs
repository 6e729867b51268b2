// SPDX-License-Identifier: MIT

//! Loads the module, and those of the kernel that a network card needs.

use std::ffi::{CString, OsString};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;

use kpipe_init::MODULE_FILE;
use nix::fcntl::OFlag;
use nix::kmod::{finit_module, ModuleInitFlags};

use crate::Error;

/// Loads the module with these parameters; the error carries what the kernel logged about it.
pub fn load(parameters: &[OsString]) -> Result<(), Error> {
    let mut log = OpenOptions::new()
        .read(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open("/dev/kmsg")?;
    log.seek(SeekFrom::End(0))?;
    let module = File::open(MODULE_FILE)?;
    let loaded = finit_module(
        &module,
        &parameter_line(parameters)?,
        ModuleInitFlags::empty(),
    );
    let said = messages(log);
    match loaded {
        // The kernel ignores a misspelt parameter; whoever gave it wants to know.
        Ok(()) if said.contains("unknown parameter") => Err(said.into()),
        Ok(()) => Ok(()),
        Err(errno) => {
            let cause = if said.is_empty() { errno.desc() } else { &said };
            Err(format!("the kernel refuses the module ({errno:?}): {cause}").into())
        }
    }
}

/// Loads a module of the kernel's own.
pub fn load_own(path: &str) -> Result<(), Error> {
    let loaded = finit_module(&File::open(path)?, c"", ModuleInitFlags::empty());
    loaded.map_err(|errno| format!("{path}: {errno}").into())
}

/// The parameters as the kernel parses them: separated by spaces, quoted if they contain some.
fn parameter_line(parameters: &[OsString]) -> Result<CString, Error> {
    let mut line = Vec::new();
    for parameter in parameters {
        let bytes = parameter.as_bytes();
        let quote: &[u8] = if bytes.iter().any(u8::is_ascii_whitespace) {
            b"\""
        } else {
            b""
        };
        line.extend([quote, bytes, quote, b" "].concat());
    }
    Ok(CString::new(line)?)
}

/// The texts of the records that were logged since `log` was opened, on one line.
fn messages(mut log: File) -> String {
    let mut texts = Vec::new();
    let mut record = [0; 8192];
    // One read gives one record: "priority,number,time,flags;text\n key=value\n".
    while let Ok(length) = log.read(&mut record) {
        let record = String::from_utf8_lossy(&record[..length]).into_owned();
        let text = record.lines().next().and_then(|line| line.split_once(';'));
        texts.extend(text.map(|(_, text)| text.to_owned()));
    }
    // The taint of a module that Debian has not signed is no cause.
    texts.retain(|text| !text.contains("taint"));
    texts.join("; ")
}

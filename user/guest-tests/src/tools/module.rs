// SPDX-License-Identifier: MIT

//! The module: load, unload, and what of it can be seen.

use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use kpipe_abi::uapi;
use nix::errno::Errno;
use nix::kmod::{delete_module, finit_module, DeleteModuleFlags, ModuleInitFlags};

use super::{edu, subject, transport};

/// Environment variable with the path of the module.
const VARIABLE: &str = "KPIPE_MODULE";
/// Where the VM has it.
const DEFAULT_PATH: &str = "/lib/modules/kpipe.ko";
/// Its name for the kernel.
const NAME: &CStr = c"kpipe";

/// A loaded module, described by what its parameters brought about: the kernel does not tell them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Module {
    queues: usize,
    /// Capacity of each queue.
    pub capacity_bytes: u64,
    mode: u32,
    /// How the bytes of each queue travel.
    pub transport: uapi::Transport,
}

impl Module {
    /// The module as it is loaded now, if it is.
    pub fn loaded() -> Option<Self> {
        let nodes = subject::device_paths();
        let first = nodes.first()?;
        let observer = subject::observe(first).ok()?;
        Some(Self {
            queues: nodes.len(),
            capacity_bytes: observer.info().capacity_bytes,
            transport: kpipe_abi::transport(&observer).ok()?,
            mode: fs::metadata(first).ok()?.permissions().mode() & 0o777,
        })
    }

    /// Who uses it now: open files, above all.
    pub fn references() -> Option<u64> {
        let text = fs::read_to_string("/sys/module/kpipe/refcnt").ok()?;
        text.trim().parse().ok()
    }

    /// Removes whatever module there is, and loads it with these parameters.
    pub fn restore(self) -> Result<(), String> {
        let Self {
            queues,
            capacity_bytes,
            mode,
            transport: _,
        } = self;
        match unload() {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(e) => return Err(format!("rmmod: {e}")),
        }
        let parameters = format!("queues={queues} capacity={capacity_bytes} mode=0{mode:o}");
        load(&parameters).map_err(|e| format!("insmod {}: {e}", path().display()))
    }
}

/// The file.
pub fn path() -> PathBuf {
    std::env::var_os(VARIABLE).map_or_else(|| DEFAULT_PATH.into(), PathBuf::from)
}

/// Loads the module anew, with the transport of the command line, if there is one.
pub fn use_transport() -> Result<(), String> {
    match Module::loaded() {
        _ if !transport::is_chosen() => Ok(()),
        Some(module) => module.restore(),
        None => Err("the module is not loaded: insmod /lib/modules/kpipe.ko".to_owned()),
    }
}

/// finit_module(2) with these parameters, `name=value name=value`, and those of the transport that the
/// tests run on.
pub fn load(parameters: &str) -> nix::Result<()> {
    let file = File::open(path()).map_err(|e| {
        eprintln!("{}: {e}; {VARIABLE} names the module", path().display());
        Errno::from_raw(e.raw_os_error().unwrap_or(0))
    })?;
    let parameters = format!("{parameters}{}", transport::parameters());
    let parameters = CString::new(parameters).expect("no NUL in parameters");
    finit_module(file, &parameters, ModuleInitFlags::empty())
}

/// delete_module(2), as rmmod(8) calls it.
pub fn unload() -> nix::Result<()> {
    delete_module(NAME, DeleteModuleFlags::O_NONBLOCK)?;
    edu::keep_all_enabled();
    Ok(())
}

/// Everything that the module puts into the system, as it is there now. Empty: it left nothing.
pub fn traces() -> Vec<String> {
    let mut found: Vec<String> = subject::device_paths()
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    for directory in ["/sys/module", "/sys/class", "/sys/devices/virtual"] {
        let path = PathBuf::from(directory).join(uapi::NAME);
        if path.exists() {
            found.push(path.display().to_string());
        }
    }
    let devices = fs::read_to_string("/proc/devices").unwrap_or_default();
    let lines = devices.lines().filter(|line| line.ends_with(uapi::NAME));
    found.extend(lines.map(|line| format!("/proc/devices: {line}")));
    found
}

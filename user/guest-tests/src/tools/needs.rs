// SPDX-License-Identifier: MIT

//! What some tests need of the kernel or the machine. `Err` is the reason to ignore them.

use super::{compat, edu, monitor, page_fault, raw, schedule};

/// `CONFIG_IO_URING`, and not switched off.
pub fn io_uring() -> Result<(), String> {
    io_uring::IoUring::new(2)
        .map(drop)
        .map_err(|e| format!("no io_uring: {e}"))
}

/// `CONFIG_USERFAULTFD`, and handling of faults inside the kernel.
pub fn userfaultfd() -> Result<(), String> {
    page_fault::probe().map_err(|e| format!("no userfaultfd: {e}"))
}

/// `CONFIG_IA32_EMULATION`: system calls of 32-bit programs.
pub fn compat() -> Result<(), String> {
    compat::probe()
}

/// `RWF_NOSIGNAL`, since 6.18.
pub fn rwf_nosignal() -> Result<(), String> {
    let (_reader, writer) = nix::unistd::pipe().map_err(|e| e.to_string())?;
    raw::write_with(std::os::fd::AsFd::as_fd(&writer), b"x", raw::RWF_NOSIGNAL)
        .map(drop)
        .map_err(|e| format!("no RWF_NOSIGNAL (Linux 6.18): {e}"))
}

/// QEMU's edu device, which every VM of qemu/vm has.
pub fn edu() -> Result<(), String> {
    let is_there = !edu::slots().is_empty();
    is_there
        .then_some(())
        .ok_or("no edu device: not a VM of qemu/vm".into())
}

/// The device, and a second processor.
pub fn edu_and_two_processors() -> Result<(), String> {
    edu()?;
    let has_two = schedule::processors().len() > 1;
    has_two.then_some(()).ok_or("one processor".into())
}

/// The device, and userfaultfd.
pub fn edu_and_userfaultfd() -> Result<(), String> {
    edu()?;
    userfaultfd()
}

/// The device, and QEMU's monitor to unplug it.
pub fn edu_and_monitor() -> Result<(), String> {
    edu()?;
    monitor::node().map(drop).ok_or("no monitor of QEMU".into())
}

/// `CAP_SYS_RESOURCE`, which root has unless somebody took it.
pub fn cap_sys_resource() -> Result<(), String> {
    const CAP_SYS_RESOURCE: u32 = 24;
    let status = std::fs::read_to_string("/proc/self/status").map_err(|e| e.to_string())?;
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let set = line.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
    match set {
        Some(set) if set & (1 << CAP_SYS_RESOURCE) != 0 => Ok(()),
        _ => Err("no CAP_SYS_RESOURCE".to_owned()),
    }
}

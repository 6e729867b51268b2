// SPDX-License-Identifier: MIT

//! The registers of an edu device that no driver has, by the file that sysfs has for them
//! (`docs/specs/edu.rst` of QEMU).

use std::fs::OpenOptions;
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::ptr::NonNull;

use nix::fcntl::OFlag;
use nix::sys::mman::{mmap, munmap, MapFlags, ProtFlags};

use super::memory::PAGE_BYTES;

/// Register: raises an interrupt with the causes written.
const RAISE: usize = 0x60;
/// Register: acknowledges the causes written.
const ACKNOWLEDGE: usize = 0x64;

/// Offset of the command register in the configuration space, and two of its bits
/// (`include/uapi/linux/pci_regs.h`).
const COMMAND: u64 = 4;
const COMMAND_MEMORY: u16 = 2;
const COMMAND_INTX_DISABLE: u16 = 0x400;

/// The first page of the registers, mapped.
pub struct Registers {
    address: NonNull<std::ffi::c_void>,
}

impl Registers {
    /// Maps those of the device in this slot, and lets it interrupt by its line.
    pub fn map(slot: &str) -> io::Result<Self> {
        let folder = PathBuf::from("/sys/bus/pci/devices").join(slot);
        std::fs::write(folder.join("enable"), "1")?;
        let mut writable = OpenOptions::new();
        writable.read(true).write(true);
        let configuration = writable.open(folder.join("config"))?;
        let mut command = [0; 2];
        configuration.read_exact_at(&mut command, COMMAND)?;
        let command = u16::from_le_bytes(command) & !COMMAND_INTX_DISABLE | COMMAND_MEMORY;
        configuration.write_all_at(&command.to_le_bytes(), COMMAND)?;

        let memory = writable
            .custom_flags(OFlag::O_SYNC.bits())
            .open(folder.join("resource0"))?;
        let len = NonZeroUsize::new(PAGE_BYTES).expect("a page is not empty");
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address that the kernel chooses, of a device that nobody uses.
        let address = unsafe { mmap(None, len, access, MapFlags::MAP_SHARED, &memory, 0) }?;
        Ok(Self { address })
    }

    /// Interrupts, and takes it back at once.
    pub fn pulse(&self) {
        for register in [RAISE, ACKNOWLEDGE] {
            // SAFETY: both are inside the page, aligned, and take a number of 32 bits.
            unsafe {
                self.address
                    .byte_add(register)
                    .cast::<u32>()
                    .write_volatile(1)
            };
        }
    }
}

impl Drop for Registers {
    fn drop(&mut self) {
        // SAFETY: mapped with this length, and nobody has a reference into it.
        unsafe { munmap(self.address, PAGE_BYTES) }.expect("munmap");
    }
}

// SPDX-License-Identifier: GPL-2.0

//! The registers of a PCI device, in memory (`ioread32()` and its relatives, `include/asm-generic/io.h`).
//!
//! [`Bar`] is a mapped base address register; a [`Register`] is an offset in it that was checked when
//! it was made: for a constant when the driver is compiled. Reading and writing: any context.
//! Over `kernel::bindings`, because the Rust interface changed from 7.2 to 7.3.

use super::pci::Device;
use core::ptr::NonNull;
use kernel::bindings;
use kernel::error::to_result;
use kernel::prelude::*;

/// A register of 32 bits in a BAR of at least `BAR_BYTES`.
///
/// # Invariants
///
/// The offset is a multiple of 4, and 4 bytes from there on lie in the BAR.
#[derive(Clone, Copy)]
pub struct Register<const BAR_BYTES: usize>(usize);

impl<const BAR_BYTES: usize> Register<BAR_BYTES> {
    /// The register at this offset. Panics if it is none; at compile time, in a constant.
    pub const fn at(offset: usize) -> Self {
        assert!(offset % 4 == 0 && offset < BAR_BYTES && BAR_BYTES - offset >= 4);
        // INVARIANT: Just asserted.
        Self(offset)
    }
}

/// A BAR that is ours, and mapped. Dropping it gives it back.
///
/// # Invariants
///
/// `start` is a mapping of at least `BAR_BYTES` of BAR `number`, which is requested for us.
pub struct Bar<const BAR_BYTES: usize> {
    start: NonNull<c_void>,
    number: c_int,
    device: Device,
}

// SAFETY: A mapping is the same for all threads.
unsafe impl<const BAR_BYTES: usize> Send for Bar<BAR_BYTES> {}
// SAFETY: As above; single accesses of 32 bits may happen at any time.
unsafe impl<const BAR_BYTES: usize> Sync for Bar<BAR_BYTES> {}

impl<const BAR_BYTES: usize> Bar<BAR_BYTES> {
    /// Requests and maps a BAR of an enabled device. Process context. `EBUSY`: it is somebody else's.
    /// `ENXIO`: there is none, or it is too small.
    pub fn new(device: &Device, number: u8, name: &'static CStr) -> Result<Self> {
        let number = c_int::from(number);
        let len_bytes = match number {
            // SAFETY: The device is valid, and has six BARs.
            0..=5 => unsafe { bindings::pci_resource_len(device.as_ptr(), number) },
            _ => 0,
        };
        if len_bytes < BAR_BYTES as u64 {
            return Err(ENXIO);
        }
        // SAFETY: The device is valid and the name static.
        to_result(unsafe {
            bindings::pci_request_region(device.as_ptr(), number, name.as_char_ptr())
        })?;
        // SAFETY: The device is valid. 0: all of the BAR.
        let Some(start) = NonNull::new(unsafe { bindings::pci_iomap(device.as_ptr(), number, 0) })
        else {
            // SAFETY: Requested above.
            unsafe { bindings::pci_release_region(device.as_ptr(), number) };
            return Err(ENOMEM);
        };
        // INVARIANT: All of the BAR, which is as long, is mapped and requested.
        Ok(Self {
            start,
            number,
            device: device.clone(),
        })
    }

    /// Reads a register. All ones if the device is gone.
    #[inline]
    pub fn read(&self, register: Register<BAR_BYTES>) -> u32 {
        // SAFETY: By the invariants of both, aligned and within the mapping.
        unsafe { bindings::readl(self.start.byte_add(register.0).as_ptr()) }
    }

    /// Writes a register. What was written to memory before is seen by the device before.
    #[inline]
    pub fn write(&self, register: Register<BAR_BYTES>, value: u32) {
        // SAFETY: By the invariants of both, aligned and within the mapping.
        unsafe { bindings::writel(value, self.start.byte_add(register.0).as_ptr()) }
    }
}

impl<const BAR_BYTES: usize> Drop for Bar<BAR_BYTES> {
    fn drop(&mut self) {
        // SAFETY: Mapped and requested by `new`, given back once.
        unsafe {
            bindings::pci_iounmap(self.device.as_ptr(), self.start.as_ptr());
            bindings::pci_release_region(self.device.as_ptr(), self.number);
        }
    }
}

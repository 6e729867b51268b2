// SPDX-License-Identifier: GPL-2.0

//! Memory that a device reads and writes by itself (`Documentation/core-api/dma-api.rst`).
//!
//! A [`Coherent`] buffer is either in the driver's hands or lent to the device. Made and dropped in
//! process context, used in any. Over `kernel::bindings`, because the Rust interface changed from 7.2 to 7.3.

use super::pci::Device;
use core::ptr::NonNull;
use core::slice;
use kernel::bindings;
use kernel::prelude::*;

/// A buffer that driver and device see alike, without flushing caches.
///
/// One that is dropped while it is lent is not freed: the device may still write to it.
///
/// # Invariants
///
/// `start` points to `len_bytes` bytes of memory from `dma_alloc_attrs()`, which the device has at
/// `address`. While `is_lent` is not set, the driver has not told the device to use them.
pub struct Coherent {
    start: NonNull<u8>,
    len_bytes: usize,
    address: bindings::dma_addr_t,
    is_lent: bool,
    device: Device,
}

// SAFETY: The memory is this value's own, and there is no thread that it belongs to.
unsafe impl Send for Coherent {}

impl Coherent {
    /// Allocates zeroes within the mask that was set with [`Device::set_dma_mask`].
    pub fn new(device: &Device, len_bytes: usize) -> Result<Self> {
        let mut address = 0;
        // SAFETY: The device is valid; `address` is valid for writes.
        let start = unsafe {
            bindings::dma_alloc_attrs(
                device.as_device(),
                len_bytes,
                &mut address,
                bindings::GFP_KERNEL,
                0,
            )
        };
        // INVARIANT: Just allocated; nobody has told the device of it.
        Ok(Self {
            start: NonNull::new(start.cast()).ok_or(ENOMEM)?,
            len_bytes,
            address,
            is_lent: false,
            device: device.clone(),
        })
    }

    /// The bytes. `EBUSY`: the device has them.
    pub fn bytes(&mut self) -> Result<&mut [u8]> {
        if self.is_lent {
            return Err(EBUSY);
        }
        // SAFETY: By the invariant the memory is valid, initialised (with zeroes), and nobody else's while
        // this value is borrowed. A device that writes unasked could write anywhere.
        Ok(unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len_bytes) })
    }

    /// Lends the bytes to the device, which is told where they are.
    pub fn lend(&mut self) -> bindings::dma_addr_t {
        // INVARIANT: From now on it may be told.
        self.is_lent = true;
        self.address
    }

    /// The device says that it is done with the bytes, or cannot get at them any more: bus mastering is off.
    ///
    /// Whoever calls this too early lets the device write to memory that is somebody else's: only the driver of the
    /// device can know.
    pub fn take_back(&mut self) {
        // INVARIANT: What the caller says.
        self.is_lent = false;
    }
}

impl Drop for Coherent {
    fn drop(&mut self) {
        if self.is_lent {
            return;
        }
        // SAFETY: Allocated by `new` with the same values, freed once. The device does not use it.
        unsafe {
            bindings::dma_free_attrs(
                self.device.as_device(),
                self.len_bytes,
                self.start.as_ptr().cast(),
                self.address,
                0,
            )
        };
    }
}

// SPDX-License-Identifier: GPL-2.0

//! A PCI driver, and what its devices are made ready with (`Documentation/PCI/pci.rst`).
//!
//! [`Registration`] calls a [`Driver`] when a device is bound and unbound. Each step of making a device
//! ready gives a value that undoes it when it is dropped. Over `kernel::bindings`, because the Rust
//! interface changed from 7.2 to 7.3, and one source builds for both. All in process context.

use core::ptr::NonNull;
use kernel::bindings;
use kernel::error::{from_result, to_result};
use kernel::prelude::*;

/// A driver for one kind of device.
pub trait Driver: Send + Sync + 'static {
    /// Its name in sysfs.
    const NAME: &'static CStr;
    /// Vendor and device number.
    const ID: (u16, u16);
    /// What a bound device is to the driver.
    type Bound: Send + 'static;

    /// There is a device: makes it ready. An error leaves it without a driver.
    fn probe(&self, device: &Device) -> Result<Self::Bound>;

    /// The device goes: unbound through sysfs, pulled out, or the module is unloaded.
    fn remove(&self, bound: Self::Bound);
}

/// A registered driver. Dropping it unbinds all its devices.
///
/// # Invariants
///
/// Owns a `KBox<Shared<T>>` whose table the PCI core knows. The core writes to the table, so nobody has a reference to it.
pub struct Registration<T: Driver>(NonNull<Shared<T>>);

/// What C refers to. `driver` of a `struct pci_dev` points to the first field, and so to this.
#[repr(C)]
struct Shared<T> {
    table: bindings::pci_driver,
    /// Ends with an empty one.
    ids: [bindings::pci_device_id; 2],
    driver: T,
}

// SAFETY: It owns the box. The core locks the table; a driver is `Sync`, as the core calls it from any thread, and `Send`.
unsafe impl<T: Driver> Send for Registration<T> {}
// SAFETY: As above.
unsafe impl<T: Driver> Sync for Registration<T> {}

impl<T: Driver> Registration<T> {
    /// Registers a driver of this module, and binds the devices that are there.
    pub fn new(module: &'static ThisModule, driver: T) -> Result<Self> {
        let (vendor, device) = T::ID;
        let id = bindings::pci_device_id {
            vendor: vendor.into(),
            device: device.into(),
            // PCI_ANY_ID
            subvendor: !0,
            subdevice: !0,
            ..pin_init::zeroed()
        };
        let mut shared = KBox::new(
            Shared {
                table: bindings::pci_driver {
                    name: T::NAME.as_char_ptr(),
                    probe: Some(probe::<T>),
                    remove: Some(remove::<T>),
                    ..pin_init::zeroed()
                },
                ids: [id, pin_init::zeroed()],
                driver,
            },
            GFP_KERNEL,
        )?;
        shared.table.id_table = shared.ids.as_ptr();
        let shared = KBox::into_raw(shared);
        // SAFETY: The table is complete, may be written to, and stays where it is until `drop` has unregistered it.
        let registered = to_result(unsafe {
            bindings::__pci_register_driver(shared.cast(), module.as_ptr(), T::NAME.as_char_ptr())
        });
        if let Err(error) = registered {
            // SAFETY: From `into_raw` above, and C does not know it.
            drop(unsafe { KBox::from_raw(shared) });
            return Err(error);
        }
        // INVARIANT: It was just registered.
        // SAFETY: A box is not at address 0.
        Ok(Self(unsafe { NonNull::new_unchecked(shared) }))
    }
}

impl<T: Driver> Drop for Registration<T> {
    fn drop(&mut self) {
        // SAFETY: Registered by `new`, unregistered once: its table is the first field.
        unsafe { bindings::pci_unregister_driver(self.0.as_ptr().cast()) };
        // SAFETY: From `into_raw` in `new`. `remove` was called for all devices, and C knows it no more.
        drop(unsafe { KBox::from_raw(self.0.as_ptr()) });
    }
}

/// # Safety
///
/// Called by the PCI core with a device that is being bound to a driver of a [`Registration<T>`].
unsafe extern "C" fn probe<T: Driver>(
    device: *mut bindings::pci_dev,
    _id: *const bindings::pci_device_id,
) -> c_int {
    from_result(|| {
        // SAFETY: The device is valid, and its driver the first field of a `Shared<T>`.
        let driver = unsafe { &(*(*device).driver.cast::<Shared<T>>()).driver };
        // SAFETY: The device is valid.
        let handle = unsafe { Device::from_raw(device) };
        // First, so that nothing fails after the driver's own.
        let place = KBox::new_uninit(GFP_KERNEL)?;
        let bound = KBox::write(place, driver.probe(&handle)?);
        // SAFETY: The device is valid, and the pointer its driver's to set.
        unsafe { bindings::dev_set_drvdata(handle.as_device(), KBox::into_raw(bound).cast()) };
        Ok(0)
    })
}

/// # Safety
///
/// Called by the PCI core with a device that [`probe::<T>`](probe) has bound.
unsafe extern "C" fn remove<T: Driver>(device: *mut bindings::pci_dev) {
    // SAFETY: As in `probe`.
    let driver = unsafe { &(*(*device).driver.cast::<Shared<T>>()).driver };
    // SAFETY: The device is valid; `probe` has put a box there, which nobody else takes.
    let bound = unsafe {
        KBox::from_raw(bindings::dev_get_drvdata(&raw const (*device).dev).cast::<T::Bound>())
    };
    driver.remove(KBox::into_inner(bound));
}

/// A reference to a PCI device.
///
/// # Invariants
///
/// Holds a reference to a valid `struct pci_dev`.
pub struct Device(NonNull<bindings::pci_dev>);

// SAFETY: The reference count is atomic, and what the functions below change the PCI core locks.
unsafe impl Send for Device {}
// SAFETY: As above.
unsafe impl Sync for Device {}

impl Device {
    /// # Safety
    ///
    /// `device` must be valid.
    unsafe fn from_raw(device: *mut bindings::pci_dev) -> Self {
        // SAFETY: The caller's contract.
        unsafe { bindings::pci_dev_get(device) };
        // SAFETY: What is valid is not null. INVARIANT: With the reference just taken.
        Self(unsafe { NonNull::new_unchecked(device) })
    }

    pub(super) fn as_ptr(&self) -> *mut bindings::pci_dev {
        self.0.as_ptr()
    }

    pub(super) fn as_device(&self) -> *mut bindings::device {
        // SAFETY: The device is valid.
        unsafe { &raw mut (*self.0.as_ptr()).dev }
    }

    /// Powers the device up and lets it answer.
    pub fn enable(&self) -> Result<Enabled> {
        // SAFETY: The device is valid.
        to_result(unsafe { bindings::pci_enable_device(self.as_ptr()) })?;
        Ok(Enabled(self.clone()))
    }

    /// How many address bits the device has for DMA. `EIO`: memory cannot be found for so few.
    pub fn set_dma_mask(&self, bits: u32) -> Result {
        let mask = u64::MAX >> 64u32.saturating_sub(bits).min(63);
        // SAFETY: The device is valid; it has a `dma_mask` as every PCI device.
        to_result(unsafe { bindings::dma_set_mask_and_coherent(self.as_device(), mask) })
    }

    /// Lets the device read and write memory.
    pub fn set_master(&self) -> BusMaster {
        // SAFETY: The device is valid.
        unsafe { bindings::pci_set_master(self.as_ptr()) };
        BusMaster(self.clone())
    }

    /// Makes one interrupt of the device ready.
    pub fn alloc_vector(&self, line: Line) -> Result<Vector> {
        let flags = match line {
            Line::Intx => bindings::PCI_IRQ_INTX,
            Line::MsiIfPossible => bindings::PCI_IRQ_MSI | bindings::PCI_IRQ_INTX,
        };
        // SAFETY: The device is valid.
        let count = unsafe { bindings::pci_alloc_irq_vectors(self.as_ptr(), 1, 1, flags) };
        to_result(count)?;
        let mut vector = Vector {
            number: 0,
            device: self.clone(),
        };
        // SAFETY: The device is valid and has a vector 0.
        let number = unsafe { bindings::pci_irq_vector(self.as_ptr(), 0) };
        to_result(number)?;
        vector.number = number as c_uint;
        Ok(vector)
    }
}

impl Clone for Device {
    fn clone(&self) -> Self {
        // SAFETY: Valid by the invariant.
        unsafe { Self::from_raw(self.as_ptr()) }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: Our reference, given back once.
        unsafe { bindings::pci_dev_put(self.as_ptr()) };
    }
}

/// How a device interrupts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// By a wire, which other devices may share.
    Intx,
    /// By a message of its own; by the wire if the machine or the device has none.
    MsiIfPossible,
}

/// An enabled device. Dropping it disables it.
pub struct Enabled(Device);

impl Drop for Enabled {
    fn drop(&mut self) {
        // SAFETY: Enabled by `enable`, disabled once.
        unsafe { bindings::pci_disable_device(self.0.as_ptr()) };
    }
}

/// A device that may read and write memory. Dropping it stops that.
pub struct BusMaster(Device);

impl Drop for BusMaster {
    fn drop(&mut self) {
        // SAFETY: The device is valid.
        unsafe { bindings::pci_clear_master(self.0.as_ptr()) };
    }
}

/// An interrupt that is ready to be requested. Drop it after that was given back.
pub struct Vector {
    number: c_uint,
    device: Device,
}

impl Vector {
    pub(super) fn number(&self) -> c_uint {
        self.number
    }
}

impl Drop for Vector {
    fn drop(&mut self) {
        // SAFETY: Allocated by `alloc_vector`, freed once.
        unsafe { bindings::pci_free_irq_vectors(self.device.as_ptr()) };
    }
}

// SPDX-License-Identifier: GPL-2.0

//! The bound edu devices: [`EduDriver`] adds and takes away, a queue that wants one asks [`Devices`].
//! Process context.

use super::{Dma, Doorbell, Edu};
use crate::sys::pci::{Device, Driver, Line};
use crate::transport::Transport;
use kernel::alloc::flags::GFP_KERNEL_ACCOUNT;
use kernel::prelude::*;
use kernel::sync::{new_mutex, Arc, Mutex};

/// The devices, in the order in which they were bound. The first one is used.
#[pin_data]
pub struct Devices {
    #[pin]
    bound: Mutex<KVec<Arc<Edu>>>,
}

impl Devices {
    /// None.
    pub fn new() -> Result<Arc<Self>> {
        let devices = pin_init!(Self {
            bound <- new_mutex!(KVec::new(), "kpipe::edu_devices"),
        });
        Arc::pin_init(devices, GFP_KERNEL)
    }

    /// A transport that interrupts by the raise register, once for each `most_bytes`. `ENODEV`: there is no
    /// device.
    pub fn doorbell(&self, most_bytes: usize) -> Result<Arc<dyn Transport>> {
        let edu = self.first()?;
        let doorbell = Doorbell { edu, most_bytes };
        Ok(Arc::new(doorbell, GFP_KERNEL_ACCOUNT)?)
    }

    /// A transport that copies to the device and back. `ENODEV`: there is no device.
    pub fn dma(&self) -> Result<Arc<dyn Transport>> {
        Ok(Arc::new(Dma(self.first()?), GFP_KERNEL_ACCOUNT)?)
    }

    fn first(&self) -> Result<Arc<Edu>> {
        self.bound.lock().first().cloned().ok_or(ENODEV)
    }
}

/// The PCI driver.
pub struct EduDriver {
    devices: Arc<Devices>,
    line: Line,
}

impl EduDriver {
    /// A driver that puts devices, interrupting by `line`, into `devices`.
    pub fn new(devices: Arc<Devices>, line: Line) -> Self {
        Self { devices, line }
    }
}

impl Driver for EduDriver {
    const NAME: &'static CStr = super::NAME;
    const ID: (u16, u16) = (0x1234, 0x11e8);
    type Bound = Arc<Edu>;

    fn probe(&self, device: &Device) -> Result<Arc<Edu>> {
        let edu = Edu::probe(device, self.line)?;
        let added = self.devices.bound.lock().push(edu.clone(), GFP_KERNEL);
        if added.is_err() {
            edu.remove();
        }
        added?;
        Ok(edu)
    }

    fn remove(&self, edu: Arc<Edu>) {
        self.devices
            .bound
            .lock()
            .retain(|other| !Arc::ptr_eq(other, &edu));
        edu.remove();
    }
}

// SPDX-License-Identifier: GPL-2.0

//! kpipe: character devices that are pipe queues.
//!
//! `/dev/kpipe0` and its siblings behave as named FIFOs do (fifo(7), pipe(7)). The way of a byte:
//!
//! ```text
//! write(2) -> sys/fops -> file -> pipe -> sys/ring -> pipe -> file -> sys/fops -> read(2)
//!             (the VFS)   (top    (waits  (memory;
//!                          half)   and     arithmetic and rules
//!                                  wakes)  in model/)
//! ```
//!
//! That is a direct queue. In any other, a transport stands in the middle:
//!
//! ```text
//! pipe -> sys/ring -> transport ~~> device ~~> interrupt -> transport -> sys/ring -> pipe
//!         (written)   (start)                               (bottom      (arrived)   (wakes)
//!                                                            half)
//! ```
//!
//! `uapi` is the contract with user space. Start reading at `file.rs`, then `pipe.rs`, then `transport.rs`.

// In a module nothing is reachable from outside, and `model` is mounted by another crate too.
#![allow(unreachable_pub)]

use crate::model::ring;
use crate::pipe::Defaults;
use crate::sys::account::SoftLimit;
use crate::sys::chardev;
use crate::sys::deferred::Workers;
use crate::sys::pci::{self, Line};
use crate::transport::{Devices, EduDriver, Settings};
use core::borrow::Borrow;
use kernel::prelude::*;

mod counters;
mod file;
mod ioctl;
mod model;
mod partners;
mod pipe;
mod stages;
mod sys;
mod transport;
// Some of the contract is for user space only.
#[allow(dead_code)]
mod uapi;

module! {
    type: Kpipe,
    name: "kpipe",
    authors: ["The kpipe authors"],
    description: "Pipe queues as character devices",
    license: "GPL",
    params: {
        queues: u32 {
            default: 8,
            description: "Number of queues, /dev/kpipe0 and on (1 to 1024)",
        },
        capacity: u64 {
            default: 65536,
            description: "Capacity of a queue in bytes, a power of two (4096 to 1073741824)",
        },
        user_soft_limit: u64 {
            default: 67108864,
            description: "Queue and pipe memory in bytes above which an unprivileged user gets small queues (0: no limit)",
        },
        mode: u16 {
            default: 0o600,
            description: "Permission bits of the nodes (octal with a leading 0, 01 to 0777)",
        },
        transport: u32 {
            default: 0,
            description: "Who carries the bytes: 0 nobody (direct), 1 timer, 2 doorbell, 3 DMA of the PCI device",
        },
        bottom_half: u32 {
            default: 1,
            description: "Where the bottom half runs: 0 hard interrupt, 1 BH workqueue, 2 workqueue, 3 thread of the interrupt",
        },
        posted: u32 {
            default: 0,
            description: "1: a write returns before its bytes have arrived",
        },
        tick_ns: u64 {
            default: 1000000,
            description: "Time between two interrupts of the timer in nanoseconds (1 to 60000000000)",
        },
        bytes_per_tick: u32 {
            default: 4096,
            description: "Most bytes that one interrupt of the timer carries (1 or more)",
        },
        msi: u8 {
            default: 1,
            description: "1: the PCI device interrupts by messages (MSI) if it can, 0: by a shared line (INTx)",
        },
    },
}

const _: () = {
    assert!(uapi::DEFAULT_CAPACITY_BYTES == 65536, "the default above");
    assert!(
        uapi::DEFAULT_USER_SOFT_LIMIT_BYTES == 67108864,
        "the default above"
    );
    assert!(uapi::TRANSPORT_DIRECT == 0 && uapi::BOTTOM_HALF_BH == 1);
    assert!(uapi::DEFAULT_TICK_NS == 1000000 && uapi::DEFAULT_BYTES_PER_TICK == 4096);
};

struct Kpipe {
    /// Dropped on rmmod, which the kernel refuses while a file is open.
    _registration: chardev::Registration<file::Queues>,
    /// After the queues: no carrier is attached to a device any more.
    _driver: pci::Registration<EduDriver>,
    /// Last: what was deferred may still run while the queues go.
    _workers: Workers,
}

impl kernel::Module for Kpipe {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let parameters = Parameters::checked()?;
        let workers = Workers::start()?;
        // Before the nodes: whoever opens one finds the devices that are there.
        let driver = EduDriver::new(parameters.defaults.devices.clone(), parameters.line);
        let driver = pci::Registration::new(module, driver)?;
        let capacity_bytes = parameters.defaults.capacity_bytes;
        let queues = file::Queues::new(module, parameters.queues, parameters.defaults)?;
        let options = chardev::Options {
            name: c"kpipe",
            count: parameters.queues,
            bare_minor: uapi::CLONE_MINOR,
            mode: parameters.mode,
        };
        let registration = chardev::Registration::new(module, options, queues)?;
        pr_info!("{} queues of {} bytes\n", parameters.queues, capacity_bytes);
        Ok(Self {
            _registration: registration,
            _driver: driver,
            _workers: workers,
        })
    }
}

impl Drop for Kpipe {
    fn drop(&mut self) {
        pr_info!("unloaded\n");
    }
}

/// The parameters of insmod, within their bounds.
struct Parameters {
    queues: u32,
    defaults: Defaults,
    mode: u16,
    line: Line,
}

impl Parameters {
    /// `EINVAL` and a line in the log for the first value out of bounds.
    fn checked() -> Result<Self> {
        let queues = copied::<u32>(module_parameters::queues.value());
        let capacity = copied::<u64>(module_parameters::capacity.value());
        let user_soft_limit = copied::<u64>(module_parameters::user_soft_limit.value());
        let mode = copied::<u16>(module_parameters::mode.value());
        if !(1..=uapi::MAX_QUEUES).contains(&queues) {
            pr_err!(
                "parameter queues={queues}: must be 1 to {}\n",
                uapi::MAX_QUEUES
            );
            return Err(EINVAL);
        }
        // Exactly what resizing would give: nothing is rounded here, so that a typo is noticed.
        let capacity_bytes = match ring::capacity_for(capacity) {
            Some(bytes) if bytes as u64 == capacity => bytes,
            _ => {
                pr_err!(
                    "parameter capacity={capacity}: must be a power of two, {} to {}\n",
                    uapi::MIN_CAPACITY_BYTES,
                    uapi::MAX_CAPACITY_BYTES
                );
                return Err(EINVAL);
            }
        };
        // devtmpfs takes a mode of 0 for none given, and would make it 0600.
        if !(1..=0o777).contains(&mode) {
            pr_err!("parameter mode=0{mode:o}: must be 01 to 0777, in octal\n");
            return Err(EINVAL);
        }
        Ok(Self {
            queues,
            defaults: Defaults {
                capacity_bytes,
                soft_limit: SoftLimit::of_bytes(user_soft_limit),
                settings: Self::settings()?,
                devices: Devices::new()?,
            },
            mode,
            line: Self::line()?,
        })
    }

    /// How devices interrupt.
    fn line() -> Result<Line> {
        match copied::<u8>(module_parameters::msi.value()) {
            0 => Ok(Line::Intx),
            1 => Ok(Line::MsiIfPossible),
            msi => {
                pr_err!("parameter msi={msi}: must be 0 or 1\n");
                Err(EINVAL)
            }
        }
    }

    /// How queues are carried. They are checked as those of the ioctl are, except that 0 has no meaning
    /// for ticks.
    fn settings() -> Result<Settings> {
        let posted = copied::<u32>(module_parameters::posted.value());
        let asked = uapi::Transport {
            size: size_of::<uapi::Transport>() as u32,
            transport: copied(module_parameters::transport.value()),
            bottom_half: copied(module_parameters::bottom_half.value()),
            flags: posted,
            tick_ns: copied(module_parameters::tick_ns.value()),
            bytes_per_tick: copied(module_parameters::bytes_per_tick.value()),
            reserved: 0,
        };
        if posted > 1 {
            pr_err!("parameter posted={posted}: must be 0 or 1\n");
            return Err(EINVAL);
        }
        if asked.tick_ns == 0 || asked.bytes_per_tick == 0 {
            pr_err!("parameters tick_ns and bytes_per_tick: must be 1 or more\n");
            return Err(EINVAL);
        }
        Settings::from_uapi(&asked, &Settings::DIRECT).inspect_err(|_| {
            pr_err!("parameters transport, bottom_half, posted or tick_ns: not valid, or not together\n");
        })
    }
}

/// A parameter's value: 7.2 hands out references, 7.3 copies.
fn copied<T: Copy>(value: impl Borrow<T>) -> T {
    *value.borrow()
}

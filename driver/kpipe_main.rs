// SPDX-License-Identifier: GPL-2.0

//! kpipe: character devices that are pipe queues.
//!
//! `/dev/kpipe0` and its siblings behave as named FIFOs do (fifo(7), pipe(7)). The way of a byte:
//!
//! ```text
//! write(2) -> sys/chardev -> file -> pipe -> sys/ring -> pipe -> file -> sys/chardev -> read(2)
//!             (the VFS)      (top    (waits  (memory;
//!                             half)   and     arithmetic and rules
//!                                     wakes)  in model/)
//! ```
//!
//! `uapi` is the contract with user space. Start reading at `file.rs`, then `pipe.rs`.

// In a module nothing is reachable from outside, and `model` is mounted by another crate too.
#![allow(unreachable_pub)]

use crate::model::ring;
use crate::sys::account::SoftLimit;
use crate::sys::chardev;
use core::borrow::Borrow;
use kernel::prelude::*;

mod counters;
mod file;
mod ioctl;
mod model;
mod partners;
mod pipe;
mod sys;
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
    },
}

const _: () = {
    assert!(uapi::DEFAULT_CAPACITY_BYTES == 65536, "the default above");
    assert!(
        uapi::DEFAULT_USER_SOFT_LIMIT_BYTES == 67108864,
        "the default above"
    );
};

struct Kpipe {
    /// Dropped on rmmod, which the kernel refuses while a file is open.
    _registration: chardev::Registration<file::Queues>,
}

impl kernel::Module for Kpipe {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let parameters = Parameters::checked()?;
        let queues = file::Queues::new(
            module,
            parameters.queues,
            parameters.capacity_bytes,
            parameters.soft_limit,
        )?;
        let options = chardev::Options {
            name: c"kpipe",
            count: parameters.queues,
            bare_minor: uapi::CLONE_MINOR,
            mode: parameters.mode,
        };
        let registration = chardev::Registration::new(module, options, queues)?;
        pr_info!(
            "{} queues of {} bytes\n",
            parameters.queues,
            parameters.capacity_bytes
        );
        Ok(Self {
            _registration: registration,
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
    capacity_bytes: usize,
    soft_limit: SoftLimit,
    mode: u16,
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
            capacity_bytes,
            soft_limit: SoftLimit::of_bytes(user_soft_limit),
            mode,
        })
    }
}

/// A parameter's value: 7.2 hands out references, 7.3 copies.
fn copied<T: Copy>(value: impl Borrow<T>) -> T {
    *value.borrow()
}

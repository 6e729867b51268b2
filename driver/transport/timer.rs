// SPDX-License-Identifier: GPL-2.0

//! A soft line, like a UART's: a high-resolution timer is its interrupt, and each one carries a few bytes.
//! It works on any machine.
//!
//! One [`Timer`] per carrier. It interrupts only while there is something to carry.

use super::{Carrier, Finished, Transport};
use crate::model::link::Block;
use crate::sys::timer;
use kernel::alloc::flags::GFP_KERNEL_ACCOUNT;
use kernel::prelude::*;
use kernel::sync::Arc;

/// The line of one queue.
#[pin_data]
pub struct Timer {
    #[pin]
    timer: timer::Timer<Carrier>,
    tick_ns: u64,
    bytes_per_tick: u32,
}

impl Timer {
    /// A line that carries `bytes_per_tick` bytes each `tick_ns` nanoseconds.
    pub fn make(tick_ns: u64, bytes_per_tick: u32) -> Result<Arc<dyn Transport>> {
        let timer = pin_init!(Self {
            timer <- timer::Timer::new(),
            tick_ns,
            bytes_per_tick,
        });
        Ok(Arc::pin_init(timer, GFP_KERNEL_ACCOUNT)?)
    }
}

impl timer::Expire for Carrier {
    fn expired(this: &Arc<Self>) {
        // No thread of an interrupt here: see `Settings::from_uapi`.
        Self::interrupted(this);
    }
}

impl Transport for Timer {
    fn most_bytes(&self) -> usize {
        self.bytes_per_tick as usize
    }

    fn attach(&self, _carrier: &Arc<Carrier>) -> Result {
        Ok(())
    }

    fn detach(&self, _carrier: &Arc<Carrier>) {
        self.timer.stop();
    }

    fn start(&self, carrier: &Arc<Carrier>, block: Block) {
        let begins = |carrier: &Arc<Carrier>| carrier.begins(&block);
        self.timer.arm(carrier.clone(), self.tick_ns, begins);
    }

    fn finish(&self, _carrier: &Arc<Carrier>) -> Finished {
        Finished::Yes
    }
}

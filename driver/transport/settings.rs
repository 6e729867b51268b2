// SPDX-License-Identifier: GPL-2.0

//! How the bytes of a queue are to be carried: [`uapi::Transport`], checked.

use super::timer::Timer;
use super::{Devices, Transport};
use crate::sys::errno;
use crate::uapi;
use kernel::prelude::*;
use kernel::sync::Arc;

/// Which transport.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// None: a write puts its bytes before the reader.
    Direct,
    /// A timer as a soft line.
    Timer,
    /// The raise register of a PCI device.
    Doorbell,
    /// The memory of a PCI device, and back.
    Dma,
}

/// Where the bottom half runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum BottomHalf {
    /// In the hard interrupt handler: the bad example. Everything else on that processor waits.
    Hard,
    /// In the soft interrupt after it, by a BH workqueue.
    Bh,
    /// In a thread of a workqueue.
    Work,
    /// In the thread of the interrupt.
    Thread,
}

/// What [`uapi::IOC_SET_TRANSPORT`] sets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Who carries.
    pub kind: Kind,
    /// Where the bottom half runs.
    pub bottom_half: BottomHalf,
    /// Does a write return before its bytes have arrived?
    pub is_posted: bool,
    /// Does an interrupt of the doorbell carry no more than `bytes_per_tick`?
    pub is_limited: bool,
    /// Time between two interrupts of a timer in nanoseconds.
    pub tick_ns: u64,
    /// Most bytes that one of them carries.
    pub bytes_per_tick: u32,
}

impl Settings {
    /// A direct queue.
    pub const DIRECT: Self = Self {
        kind: Kind::Direct,
        bottom_half: BottomHalf::Bh,
        is_posted: false,
        is_limited: false,
        tick_ns: uapi::DEFAULT_TICK_NS,
        bytes_per_tick: uapi::DEFAULT_BYTES_PER_TICK,
    };

    /// What user space asked for; 0 means `defaults` where [`uapi::Transport`] says so. `EINVAL`,
    /// `EOPNOTSUPP`: see [`uapi::IOC_SET_TRANSPORT`].
    pub fn from_uapi(asked: &uapi::Transport, defaults: &Self) -> Result<Self> {
        let is_valid = asked.size as usize == size_of::<uapi::Transport>()
            && asked.flags & !(uapi::TRANSPORT_POSTED | uapi::TRANSPORT_LIMITED) == 0
            && asked.tick_ns <= uapi::MAX_TICK_NS
            && asked.reserved == 0;
        if !is_valid {
            return Err(EINVAL);
        }
        let kind = match asked.transport {
            uapi::TRANSPORT_DIRECT => Kind::Direct,
            uapi::TRANSPORT_TIMER => Kind::Timer,
            uapi::TRANSPORT_DOORBELL => Kind::Doorbell,
            uapi::TRANSPORT_DMA => Kind::Dma,
            _ => return Err(EINVAL),
        };
        let bottom_half = match asked.bottom_half {
            uapi::BOTTOM_HALF_HARD => BottomHalf::Hard,
            uapi::BOTTOM_HALF_BH => BottomHalf::Bh,
            uapi::BOTTOM_HALF_WORK => BottomHalf::Work,
            uapi::BOTTOM_HALF_THREAD => BottomHalf::Thread,
            _ => return Err(EINVAL),
        };
        if kind == Kind::Timer && bottom_half == BottomHalf::Thread {
            return Err(errno::not_supported());
        }
        Ok(Self {
            kind,
            bottom_half,
            is_posted: asked.flags & uapi::TRANSPORT_POSTED != 0,
            is_limited: asked.flags & uapi::TRANSPORT_LIMITED != 0,
            tick_ns: match asked.tick_ns {
                0 => defaults.tick_ns,
                tick_ns => tick_ns,
            },
            bytes_per_tick: match asked.bytes_per_tick {
                0 => defaults.bytes_per_tick,
                bytes_per_tick => bytes_per_tick,
            },
        })
    }

    /// May anybody who may write ask for this? What interrupts for every few bytes, or works in or right
    /// behind the interrupt, can take a processor from everybody else.
    pub fn is_harmless(&self) -> bool {
        let is_harmless_half = matches!(self.bottom_half, BottomHalf::Bh | BottomHalf::Work);
        let is_harmless_piece = self.bytes_per_tick >= uapi::UNPRIVILEGED_BYTES_PER_TICK;
        match self.kind {
            Kind::Direct => true,
            Kind::Timer => {
                let is_harmless_tick = self.tick_ns >= uapi::UNPRIVILEGED_TICK_NS;
                is_harmless_half && is_harmless_piece && is_harmless_tick
            }
            Kind::Doorbell => is_harmless_half && (is_harmless_piece || !self.is_limited),
            Kind::Dma => is_harmless_half,
        }
    }

    /// The same for user space.
    pub fn to_uapi(self) -> uapi::Transport {
        uapi::Transport {
            size: size_of::<uapi::Transport>() as u32,
            transport: match self.kind {
                Kind::Direct => uapi::TRANSPORT_DIRECT,
                Kind::Timer => uapi::TRANSPORT_TIMER,
                Kind::Doorbell => uapi::TRANSPORT_DOORBELL,
                Kind::Dma => uapi::TRANSPORT_DMA,
            },
            bottom_half: match self.bottom_half {
                BottomHalf::Hard => uapi::BOTTOM_HALF_HARD,
                BottomHalf::Bh => uapi::BOTTOM_HALF_BH,
                BottomHalf::Work => uapi::BOTTOM_HALF_WORK,
                BottomHalf::Thread => uapi::BOTTOM_HALF_THREAD,
            },
            flags: (if self.is_posted {
                uapi::TRANSPORT_POSTED
            } else {
                0
            }) | (if self.is_limited {
                uapi::TRANSPORT_LIMITED
            } else {
                0
            }),
            tick_ns: self.tick_ns,
            bytes_per_tick: self.bytes_per_tick,
            reserved: 0,
        }
    }

    /// A line of this kind; `None` if it takes none. `ENODEV`: there is no device.
    pub fn transport(&self, devices: &Devices) -> Result<Option<Arc<dyn Transport>>> {
        match self.kind {
            Kind::Direct => Ok(None),
            Kind::Timer => Ok(Some(Timer::make(self.tick_ns, self.bytes_per_tick)?)),
            Kind::Doorbell => {
                let most_bytes = match self.is_limited {
                    true => self.bytes_per_tick as usize,
                    false => usize::MAX,
                };
                devices.doorbell(most_bytes).map(Some)
            }
            Kind::Dma => devices.dma().map(Some),
        }
    }
}

// SPDX-License-Identifier: MIT

//! [`Transport`]: who brings written bytes to the reader, and where the interrupt's work is done.

use kpipe_abi::uapi;
use std::fmt;
use std::time::Duration;

/// How the bytes of a queue travel. The default is what a queue has that nobody changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transport {
    /// Who carries them.
    pub carrier: Carrier,
    /// Where the interrupt's work is done.
    pub bottom_half: BottomHalf,
    /// A write returns when its bytes are on their way, not when they have arrived.
    pub is_posted: bool,
    /// [`Carrier::Doorbell`]: an interrupt carries at most `bytes_per_tick`, not all that there is.
    pub is_limited: bool,
    /// [`Carrier::Timer`]: from one interrupt to the next; `None` for what the module gives.
    pub tick: Option<Duration>,
    /// [`Carrier::Timer`]: most bytes that one interrupt carries; `None` for what the module gives.
    pub bytes_per_tick: Option<u32>,
}

/// Who carries the bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Carrier {
    /// Nobody: a reader finds them at once.
    #[default]
    Direct,
    /// A soft line, with a timer as its interrupt.
    Timer,
    /// Memory, and a PCI device that interrupts (QEMU's edu).
    Doorbell,
    /// The DMA of that device.
    Dma,
}

/// Where the work of an interrupt is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BottomHalf {
    /// In the hard interrupt handler itself.
    Hard,
    /// In the soft interrupt.
    #[default]
    Bh,
    /// In a workqueue.
    Work,
    /// In the interrupt's thread; a timer has none.
    Thread,
}

impl Carrier {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Direct, Self::Timer, Self::Doorbell, Self::Dma];

    /// Its number for the driver, as in the module's parameters.
    pub fn number(self) -> u32 {
        match self {
            Self::Direct => uapi::TRANSPORT_DIRECT,
            Self::Timer => uapi::TRANSPORT_TIMER,
            Self::Doorbell => uapi::TRANSPORT_DOORBELL,
            Self::Dma => uapi::TRANSPORT_DMA,
        }
    }
}

impl BottomHalf {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Hard, Self::Bh, Self::Work, Self::Thread];

    /// Its number for the driver, as in the module's parameters.
    pub fn number(self) -> u32 {
        match self {
            Self::Hard => uapi::BOTTOM_HALF_HARD,
            Self::Bh => uapi::BOTTOM_HALF_BH,
            Self::Work => uapi::BOTTOM_HALF_WORK,
            Self::Thread => uapi::BOTTOM_HALF_THREAD,
        }
    }
}

impl fmt::Display for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Direct => "direct",
            Self::Timer => "timer",
            Self::Doorbell => "doorbell",
            Self::Dma => "dma",
        })
    }
}

impl fmt::Display for BottomHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Hard => "hard",
            Self::Bh => "bh",
            Self::Work => "work",
            Self::Thread => "thread",
        })
    }
}

impl Transport {
    /// As the driver has it.
    pub(crate) fn to_uapi(self) -> uapi::Transport {
        let ns = |tick: Duration| u64::try_from(tick.as_nanos()).unwrap_or(u64::MAX);
        let flag = |is_set, bit| if is_set { bit } else { 0 };
        uapi::Transport {
            transport: self.carrier.number(),
            bottom_half: self.bottom_half.number(),
            flags: flag(self.is_posted, uapi::TRANSPORT_POSTED)
                | flag(self.is_limited, uapi::TRANSPORT_LIMITED),
            // 0 would ask for the usual one; the smallest there is, is what it means here.
            tick_ns: self.tick.map_or(0, |tick| ns(tick).max(1)),
            bytes_per_tick: self.bytes_per_tick.map_or(0, |bytes| bytes.max(1)),
            ..Default::default()
        }
    }

    /// What the driver says; `None` for a number that this library does not know.
    pub(crate) fn from_uapi(told: &uapi::Transport) -> Option<Self> {
        let carriers = Carrier::ALL.into_iter();
        let bottom_halves = BottomHalf::ALL.into_iter();
        Some(Self {
            carrier: { carriers }.find(|carrier| carrier.number() == told.transport)?,
            bottom_half: { bottom_halves }.find(|half| half.number() == told.bottom_half)?,
            is_posted: told.flags & uapi::TRANSPORT_POSTED != 0,
            is_limited: told.flags & uapi::TRANSPORT_LIMITED != 0,
            tick: Some(Duration::from_nanos(told.tick_ns)),
            bytes_per_tick: Some(told.bytes_per_tick),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_driver_tells_is_what_it_was_given() {
        for carrier in Carrier::ALL {
            for bottom_half in BottomHalf::ALL {
                let transport = Transport {
                    carrier,
                    bottom_half,
                    is_posted: carrier == Carrier::Dma,
                    is_limited: bottom_half == BottomHalf::Work,
                    tick: Some(Duration::from_micros(7)),
                    bytes_per_tick: Some(16),
                };
                assert_eq!(Transport::from_uapi(&transport.to_uapi()), Some(transport));
            }
        }
    }

    #[test]
    fn a_number_of_a_newer_driver_is_no_transport() {
        let told = uapi::Transport {
            transport: 99,
            ..Default::default()
        };
        assert_eq!(Transport::from_uapi(&told), None);
    }
}

// SPDX-License-Identifier: GPL-2.0

//! The DMA engine of an edu device: one transfer at a time, there and back.
//!
//! ```text
//! Idle -> Running(There) -interrupt-> Over(There) -finish-> Running(Back) -interrupt-> Over(Back) -finish-> Idle
//!   load                                     clear                                            store
//! ```
//!
//! [`Engine`] belongs to what the spinlock of `edu.rs` protects; its functions are called under that,
//! in any context. A carrier may be forgotten at any time; the device then ends its transfer for nobody.

use super::registers::*;
use crate::model::link::Block;
use crate::sys::dma::Coherent;
use crate::transport::{Carrier, Finished};
use kernel::prelude::*;
use kernel::sync::Arc;

/// The engine, the memory that it copies from and to, and who waits for it.
pub struct Engine {
    /// `None`: the device is gone.
    buffer: Option<Coherent>,
    /// Has room for every attached carrier.
    pub waiting: KVVec<Transfer>,
    state: State,
}

/// A block to carry.
pub struct Transfer {
    carrier: Arc<Carrier>,
    block: Block,
}

impl Transfer {
    fn is_of(&self, carrier: &Arc<Carrier>) -> bool {
        Arc::ptr_eq(&self.carrier, carrier)
    }
}

/// Which way.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leg {
    /// From memory to the device.
    There,
    /// From the device to memory.
    Back,
}

enum State {
    Idle,
    /// The device copies; for nobody if the carrier was forgotten meanwhile.
    Running(Leg, Option<Transfer>),
    /// It has interrupted, and the bottom half of the carrier is to come.
    Over(Leg, Transfer),
}

impl Engine {
    /// An idle engine. `buffer` has [`BUFFER_BYTES`].
    pub fn new(buffer: Coherent) -> Self {
        Self {
            buffer: Some(buffer),
            waiting: KVVec::new(),
            state: State::Idle,
        }
    }

    /// Carries `block` when its turn comes.
    pub fn submit(&mut self, bar: &Bar, carrier: &Arc<Carrier>, block: Block) {
        let transfer = Transfer {
            carrier: carrier.clone(),
            block,
        };
        // There is room: the carrier is attached and not waiting already.
        let _ = self.waiting.push_within_capacity(transfer);
        self.begin_next(bar);
    }

    /// The device has interrupted. Returns whose transfer (or half of it) that was. While it is being removed
    /// (`is_present` is false) nothing new begins.
    pub fn interrupted(&mut self, bar: &Bar, is_present: bool) -> Option<Arc<Carrier>> {
        // The register, too: a cause may be left over from before, and nobody is told twice.
        if bar.read(DMA_COMMAND) & DMA_RUN != 0 {
            return None;
        }
        match core::mem::replace(&mut self.state, State::Idle) {
            State::Running(leg, transfer) => {
                self.buffer.as_mut()?.take_back();
                let Some(transfer) = transfer else {
                    if is_present {
                        self.begin_next(bar);
                    }
                    return None;
                };
                let carrier = transfer.carrier.clone();
                self.state = State::Over(leg, transfer);
                Some(carrier)
            }
            other => {
                self.state = other;
                None
            }
        }
    }

    /// The bottom half of `carrier`: starts the way back, or ends the transfer.
    pub fn finish(&mut self, bar: &Bar, carrier: &Arc<Carrier>) -> Finished {
        match core::mem::replace(&mut self.state, State::Idle) {
            State::Over(Leg::There, transfer) if transfer.is_of(carrier) => {
                // What comes back has been there.
                if let Some(Ok(bytes)) = self.buffer.as_mut().map(Coherent::bytes) {
                    bytes.fill(0);
                }
                self.run(bar, Leg::Back, transfer);
                Finished::NotYet
            }
            State::Over(Leg::Back, transfer) if transfer.is_of(carrier) => {
                let is_stored = self.store(&transfer).is_ok();
                self.begin_next(bar);
                if is_stored {
                    Finished::Yes
                } else {
                    Finished::NotYet
                }
            }
            other => {
                self.state = other;
                Finished::NotYet
            }
        }
    }

    /// Does nothing more for `carrier`.
    pub fn forget(&mut self, bar: Option<&Bar>, carrier: &Arc<Carrier>) {
        // None of these is the last reference, the caller has one.
        self.waiting.retain(|transfer| !transfer.is_of(carrier));
        match &mut self.state {
            State::Running(_, transfer) => {
                transfer.take_if(|transfer| transfer.is_of(carrier));
            }
            State::Over(_, transfer) if transfer.is_of(carrier) => {
                self.state = State::Idle;
                if let Some(bar) = bar {
                    self.begin_next(bar);
                }
            }
            _ => {}
        }
    }

    /// The device is gone, and gets at no memory any more: what remains of the engine, to be dropped without a
    /// lock.
    pub fn end(&mut self) -> (Option<Coherent>, KVVec<Transfer>, impl Sized) {
        let mut buffer = self.buffer.take();
        if let Some(buffer) = &mut buffer {
            buffer.take_back();
        }
        (
            buffer,
            core::mem::replace(&mut self.waiting, KVVec::new()),
            core::mem::replace(&mut self.state, State::Idle),
        )
    }

    /// If the engine is idle: starts the first transfer that waits and still has something to carry.
    fn begin_next(&mut self, bar: &Bar) {
        while matches!(self.state, State::Idle) {
            // Fails if nobody waits.
            let Ok(transfer) = self.waiting.remove(0) else {
                return;
            };
            if self.load(&transfer).is_ok() {
                self.run(bar, Leg::There, transfer);
            }
        }
    }

    /// Tells the device to copy.
    fn run(&mut self, bar: &Bar, leg: Leg, transfer: Transfer) {
        let Some(buffer) = &mut self.buffer else {
            return;
        };
        // It fits by the mask; and the length was checked when the bytes were loaded.
        let memory = buffer.lend() as u32;
        let (source, destination, direction) = match leg {
            Leg::There => (memory, BUFFER, 0),
            Leg::Back => (BUFFER, memory, DMA_TO_MEMORY),
        };
        bar.write(DMA_SOURCE, source);
        bar.write(DMA_DESTINATION, destination);
        bar.write(DMA_COUNT, transfer.block.len_bytes as u32);
        self.state = State::Running(leg, Some(transfer));
        bar.write(DMA_COMMAND, DMA_RUN | DMA_INTERRUPT | direction);
    }

    /// Ring to memory.
    fn load(&mut self, transfer: &Transfer) -> Result {
        let bytes = self.bytes(transfer.block.len_bytes)?;
        transfer.carrier.load(transfer.block, bytes)
    }

    /// Memory to ring.
    fn store(&mut self, transfer: &Transfer) -> Result {
        let bytes = self.bytes(transfer.block.len_bytes)?;
        transfer.carrier.store(transfer.block, bytes)
    }

    /// `EINVAL`: none or too many, which the device would not refuse.
    fn bytes(&mut self, len_bytes: usize) -> Result<&mut [u8]> {
        if !(1..=MOST_BYTES).contains(&len_bytes) {
            return Err(EINVAL);
        }
        let bytes = self.buffer.as_mut().ok_or(ENODEV)?.bytes()?;
        bytes.get_mut(..len_bytes).ok_or(EINVAL)
    }
}

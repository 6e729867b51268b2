// SPDX-License-Identifier: GPL-2.0

//! QEMU's edu device as a line: a PCI device with a register that interrupts, and a DMA engine.
//!
//! [`Edu`] is one bound device. Any number of carriers share it, in two ways: [`Doorbell`], where the bytes stay
//! in the queue and only the interrupt is real, and [`Dma`], where they travel to the device and back.
//!
//! ```text
//! start -> list, RAISE ~~> Handler::interrupted: read CAUSES, ACKNOWLEDGE, list -> Carrier::interrupted
//! ```
//!
//! Causes are ORed in the device, so two interrupts may become one, and one may come for nothing. What happened
//! is therefore never counted by interrupts: it is what the lists say.
//!
//! # Locks
//!
//! That of [`Devices`] (nothing is taken under it). `hardware` (a mutex), then `state` (a spinlock
//! that the hard handler takes, so interrupts are off), then the flight lock of a queue, for copying its bytes.
//! A carrier is told of an interrupt, or of the end, without any of them.
//!
//! # The end
//!
//! [`Edu::remove`] takes the BAR out of `state`, and nothing is started any more; it waits for a DMA that runs,
//! frees the interrupt (the handler has a reference to the BAR of its own until then), stops the device's access to
//! memory, frees that, and tells the carriers at last. Their queues hear of it a little later, and until then
//! what is written to them just stays in flight.

use crate::model::link::Block;
use crate::sys::dma::Coherent;
use crate::sys::irq::{Answer, Handler, Interrupt};
use crate::sys::pci::{BusMaster, Device, Enabled, Line, Vector};
use crate::sys::spin::{new_spin_lock_irq, SpinLockIrq};
use crate::transport::{Carrier, Finished, Transport};
use core::mem;
use kernel::prelude::*;
use kernel::sync::{new_mutex, Arc, Mutex};
use kernel::time::delay::fsleep;
use kernel::time::Delta;

mod devices;
mod engine;
mod registers;
pub use devices::{Devices, EduDriver};
use engine::Engine;
use registers::*;

/// A bound device, and what is left of it until its last carrier is closed.
#[pin_data]
pub struct Edu {
    /// `None`: not ready yet, or gone.
    #[pin]
    hardware: Mutex<Option<Hardware>>,
    #[pin]
    state: SpinLockIrq<State>,
}

/// What is undone when the device goes, in this order.
struct Hardware {
    interrupt: Interrupt<Listener>,
    _vector: Vector,
    _master: BusMaster,
    bar: Arc<Bar>,
    _enabled: Enabled,
}

/// What the hard handler shares with everybody else. Nothing is allocated or freed under its lock.
struct State {
    /// `None`: gone.
    bar: Option<Arc<Bar>>,
    /// Everybody.
    attached: KVVec<Arc<Carrier>>,
    /// Those for whom the doorbell was rung. Has room for all attached, as the next one.
    ringing: KVVec<Arc<Carrier>>,
    /// Those whose bottom half is for the thread of the interrupt.
    threaded: KVVec<Arc<Carrier>>,
    engine: Engine,
}

impl Edu {
    /// Makes a device ready. `ENODEV`: it is another. `ETIMEDOUT`: it is busy and stays so.
    fn probe(device: &Device, line: Line) -> Result<Arc<Self>> {
        let enabled = device.enable()?;
        let bar = Arc::new(Bar::new(device, 0, NAME)?, GFP_KERNEL)?;
        if bar.read(IDENTIFICATION) & 0xffff != IDENTITY {
            return Err(ENODEV);
        }
        // It may still work for who had it before; not into memory of ours.
        await_idle(&bar)?;
        bar.write(STATUS, 0);
        bar.write(ACKNOWLEDGE, !0);
        device.set_dma_mask(DMA_ADDRESS_BITS)?;
        let buffer = Coherent::new(device, BUFFER_BYTES)?;
        let master = device.set_master();
        let vector = device.alloc_vector(line)?;
        let state = State {
            bar: Some(bar.clone()),
            attached: KVVec::new(),
            ringing: KVVec::new(),
            threaded: KVVec::new(),
            engine: Engine::new(buffer),
        };
        let edu = pin_init!(Self {
            hardware <- new_mutex!(None, "kpipe::edu_hardware"),
            state <- new_spin_lock_irq!(state, "kpipe::edu_state"),
        });
        let edu = Arc::pin_init(edu, GFP_KERNEL)?;
        let listener = Listener {
            bar: bar.clone(),
            edu: edu.clone(),
        };
        let interrupt = Interrupt::new(&vector, NAME, listener)?;
        *edu.hardware.lock() = Some(Hardware {
            interrupt,
            _vector: vector,
            _master: master,
            bar,
            _enabled: enabled,
        });
        Ok(edu)
    }

    /// The device goes; see above. May sleep.
    fn remove(&self) {
        let mut slot = self.hardware.lock();
        let Some(hardware) = slot.take() else { return };
        let bar = self.state.lock().bar.take();
        // Should it never end, then `probe` will refuse the device.
        let _ = await_idle(&hardware.bar);
        // Nobody raises one any more. One that is not handled yet would hold a shared line up when there
        // is no handler for it.
        hardware.bar.write(ACKNOWLEDGE, !0);
        let Hardware {
            interrupt,
            _vector: vector,
            _master: master,
            bar: last_bar,
            _enabled: enabled,
        } = hardware;
        drop(interrupt);
        drop(vector);
        drop(master);
        let (attached, others) = {
            let mut state = self.state.lock();
            let others = (
                mem::replace(&mut state.ringing, KVVec::new()),
                mem::replace(&mut state.threaded, KVVec::new()),
                state.engine.end(),
            );
            (mem::replace(&mut state.attached, KVVec::new()), others)
        };
        drop(others);
        drop((bar, last_bar));
        drop(enabled);
        drop(slot);
        for carrier in attached {
            Carrier::gone(carrier);
        }
    }

    fn attach(&self, carrier: &Arc<Carrier>) -> Result {
        // Nobody else attaches meanwhile, and the device stays.
        let hardware = self.hardware.lock();
        if hardware.is_none() {
            return Err(ENODEV);
        }
        let (needed, capacity) = {
            let state = self.state.lock();
            (state.attached.len() + 1, state.attached.capacity())
        };
        if capacity < needed {
            self.enlarge(needed.next_power_of_two())?;
        }
        let attached = self
            .state
            .lock()
            .attached
            .push_within_capacity(carrier.clone());
        attached.map_err(|_| ENOMEM)
    }

    /// Gives all lists room for so many. Called with `hardware` locked.
    fn enlarge(&self, room: usize) -> Result {
        // Made before the spinlock is taken, and what they replace is freed after it.
        let mut attached = KVVec::with_capacity(room, GFP_KERNEL)?;
        let mut ringing = KVVec::with_capacity(room, GFP_KERNEL)?;
        let mut threaded = KVVec::with_capacity(room, GFP_KERNEL)?;
        let mut waiting = KVVec::with_capacity(room, GFP_KERNEL)?;
        let mut state = self.state.lock();
        replace(&mut state.attached, &mut attached);
        replace(&mut state.ringing, &mut ringing);
        replace(&mut state.threaded, &mut threaded);
        replace(&mut state.engine.waiting, &mut waiting);
        drop(state);
        Ok(())
    }

    fn detach(&self, carrier: &Arc<Carrier>) {
        {
            let mut state = self.state.lock();
            let state: &mut State = &mut state;
            // None of these is the last reference, the caller has one.
            let others = |other: &mut Arc<Carrier>| !Arc::ptr_eq(other, carrier);
            carrier.set_detached();
            state.attached.retain(others);
            state.ringing.retain(others);
            state.threaded.retain(others);
            state.engine.forget(state.bar.as_deref(), carrier);
        }
        // The handler or its thread may be about to call it. (Without hardware both are over.)
        if let Some(hardware) = &*self.hardware.lock() {
            hardware.interrupt.synchronize();
        }
    }
}

/// Moves everything to a vector with more room. What had it before is freed by the caller.
fn replace<T>(vec: &mut KVVec<T>, larger: &mut KVVec<T>) {
    for item in vec.drain_all() {
        // It is larger.
        let _ = larger.push_within_capacity(item);
    }
    mem::swap(vec, larger);
}

/// Waits until the device copies nothing any more. Process context. `ENODEV`: it is gone. `ETIMEDOUT`.
fn await_idle(bar: &Bar) -> Result {
    for _ in 0..MOST_POLLS {
        match bar.read(DMA_COMMAND) {
            GONE => return Err(ENODEV),
            command if command & DMA_RUN == 0 => return Ok(()),
            _ => fsleep(Delta::from_millis(POLL_MS)),
        }
    }
    Err(ETIMEDOUT)
}

/// A transfer takes 100 ms.
const POLL_MS: i64 = 10;
const MOST_POLLS: usize = 100;

/// In `/proc/interrupts` and `/proc/iomem`.
const NAME: &CStr = c"kpipe";

/// Who is interrupted.
struct Listener {
    /// Until the interrupt is freed, the registers are there.
    bar: Arc<Bar>,
    edu: Arc<Edu>,
}

impl Handler for Listener {
    fn interrupted(&self) -> Answer {
        let causes = self.bar.read(CAUSES);
        if causes == 0 || causes == GONE {
            return Answer::NotOurs;
        }
        // Before the lists are looked at: who comes onto one later raises a cause again.
        self.bar.write(ACKNOWLEDGE, causes);
        let mut answer = Answer::Handled;
        let mut tell = |carrier: Arc<Carrier>| {
            if Carrier::interrupted(&carrier) {
                let mut state = self.edu.state.lock();
                // One that was detached meanwhile must not take the place of another. There is room for the
                // others: they are attached, and interrupted once.
                if !carrier.is_detached() {
                    let _ = state.threaded.push_within_capacity(carrier.clone());
                    answer = Answer::WakeThread;
                }
            }
        };
        if causes & CAUSE_DMA != 0 {
            let ended = {
                let mut state = self.edu.state.lock();
                let is_present = state.bar.is_some();
                state.engine.interrupted(&self.bar, is_present)
            };
            if let Some(carrier) = ended {
                tell(carrier);
            }
        }
        take_present(&self.edu.state, |state| &mut state.ringing, tell);
        answer
    }

    fn thread(&self) {
        // What a bottom half in here brings about wakes the thread again; and the kernel takes an interrupt
        // whose thread does not return for one that nobody cared about.
        let run = |carrier: Arc<Carrier>| Carrier::bottom_half(&carrier);
        take_present(&self.edu.state, |state| &mut state.threaded, run);
    }
}

/// Takes from a list, in order, what is on it when it begins, and gives each to `work`, without the lock.
///
/// Not what comes onto it meanwhile: that has an interrupt of its own.
fn take_present(
    state: &SpinLockIrq<State>,
    list: impl Fn(&mut State) -> &mut KVVec<Arc<Carrier>>,
    mut work: impl FnMut(Arc<Carrier>),
) {
    let mut left = None;
    while left != Some(0) {
        let next = {
            let mut state = state.lock();
            let list = list(&mut state);
            left = Some(left.unwrap_or(list.len()).saturating_sub(1));
            // Fails if there is none, which a detach may have taken away.
            list.remove(0)
        };
        let Ok(carrier) = next else { return };
        work(carrier);
    }
}

/// The device as a bell: it says at once that it was told.
pub struct Doorbell {
    edu: Arc<Edu>,
    most_bytes: usize,
}

impl Transport for Doorbell {
    fn most_bytes(&self) -> usize {
        self.most_bytes
    }

    fn attach(&self, carrier: &Arc<Carrier>) -> Result {
        self.edu.attach(carrier)
    }

    fn detach(&self, carrier: &Arc<Carrier>) {
        self.edu.detach(carrier);
    }

    fn start(&self, carrier: &Arc<Carrier>, block: Block) {
        let mut state = self.edu.state.lock();
        let state: &mut State = &mut state;
        // Under the lock, so that the device is there as long.
        let Some(bar) = &state.bar else { return };
        if carrier.is_detached() {
            return;
        }
        carrier.begins(&block);
        // There is room: the carrier is attached, and carries one block at a time.
        let _ = state.ringing.push_within_capacity(carrier.clone());
        bar.write(RAISE, CAUSE_DOORBELL);
    }

    fn finish(&self, _carrier: &Arc<Carrier>) -> Finished {
        Finished::Yes
    }
}

/// The device as a place that the bytes travel to, and back from.
pub struct Dma(Arc<Edu>);

impl Transport for Dma {
    fn most_bytes(&self) -> usize {
        MOST_BYTES
    }

    fn attach(&self, carrier: &Arc<Carrier>) -> Result {
        self.0.attach(carrier)
    }

    fn detach(&self, carrier: &Arc<Carrier>) {
        self.0.detach(carrier);
    }

    fn start(&self, carrier: &Arc<Carrier>, block: Block) {
        let mut state = self.0.state.lock();
        let state: &mut State = &mut state;
        let Some(bar) = &state.bar else { return };
        if carrier.is_detached() {
            return;
        }
        carrier.begins(&block);
        state.engine.submit(bar, carrier, block);
    }

    fn finish(&self, carrier: &Arc<Carrier>) -> Finished {
        let mut state = self.0.state.lock();
        let state: &mut State = &mut state;
        match &state.bar {
            Some(bar) => state.engine.finish(bar, carrier),
            // It will be told.
            None => Finished::NotYet,
        }
    }
}

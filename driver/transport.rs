// SPDX-License-Identifier: GPL-2.0

//! Who carries the bytes of a queue from its writers to its readers.
//!
//! A direct queue has no carrier: a write puts its bytes before the reader at once. Any other has a
//! [`Carrier`] while it is open. A write starts a transfer (the rest of the top half), an interrupt says
//! that it is over, and the bottom half shows the bytes to the reader and starts the next one:
//!
//! ```text
//! write(2) -> Ring::publish -> Carrier::depart -> Transport::start ~~> device
//!                                                                        |
//! read(2) <- wake <- Pipe::arrived <- Carrier::bottom_half <- Carrier::interrupted
//!                                     (hard | softirq | workqueue | thread)  (hard)
//! ```
//!
//! A [`Transport`] is a kind of line: `transport/timer.rs`, `transport/edu.rs`. It knows nothing of queues.
//!
//! # Contexts and locks
//!
//! [`Carrier::interrupted`] runs in the hard interrupt. [`Carrier::bottom_half`] and [`Transport::start`] run in
//! any context and never sleep. The only lock that they take is that of the flight, and never across a
//! call of the transport.

use crate::model::link::Block;
use crate::pipe::Pipe;
use crate::stages::{Stage, Stages};
use crate::sys::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Relaxed};
use crate::sys::clock;
use crate::sys::deferred::{self, Context};
use crate::sys::ring::FlightGuard;
use crate::sys::trace;
use kernel::prelude::*;
use kernel::static_lock_class;
use kernel::sync::{Arc, LockClassKey};
use kernel::workqueue::{impl_has_work, Work, WorkItem};

mod edu;
mod settings;
mod timer;
pub use edu::{Devices, EduDriver};
pub use settings::{BottomHalf, Kind, Settings};

/// A kind of line that carries blocks, one at a time for each carrier, and interrupts when one is over.
pub trait Transport: Send + Sync {
    /// Most bytes of one transfer.
    fn most_bytes(&self) -> usize;

    /// Gets ready to carry for `carrier`. Process context, may sleep. `ENODEV`: the device is gone.
    fn attach(&self, carrier: &Arc<Carrier>) -> Result;

    /// Forgets `carrier`, also in the middle of a transfer: at most a bottom half that was deferred before still
    /// runs for it. Process context, may sleep.
    fn detach(&self, carrier: &Arc<Carrier>);

    /// Starts to carry `block`, and calls [`Carrier::begins`] right before; an interrupt tells when it is over.
    /// Nothing happens if the device is gone or `carrier` was detached. Any context.
    fn start(&self, carrier: &Arc<Carrier>, block: Block);

    /// First part of the bottom half after an interrupt. Any context.
    fn finish(&self, carrier: &Arc<Carrier>) -> Finished;
}

/// What an interrupt meant.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Finished {
    /// The block has been carried.
    Yes,
    /// A part of the way is done, and another interrupt will come.
    NotYet,
}

/// Carries the bytes of one open queue.
#[pin_data]
pub struct Carrier {
    pipe: Arc<Pipe>,
    transport: Arc<dyn Transport>,
    bottom_half: BottomHalf,
    /// What it may touch of the ring: see [`Ring::set_carried`](crate::sys::ring::Ring::set_carried).
    /// 0 until it is in its place.
    generation: AtomicU32,
    /// Set by the transport's `detach`, under the lock that its `start` takes.
    is_detached: AtomicBool,
    stages: Arc<Stages>,
    /// The transfer in progress, for the tracepoints: its request and its length.
    number: AtomicU64,
    len_bytes: AtomicUsize,
    /// When it was started, and when its last interrupt came.
    started_ns: AtomicI64,
    interrupted_ns: AtomicI64,
    #[pin]
    work: Work<Carrier>,
    /// See [`gone`](Self::gone).
    #[pin]
    end: Work<Carrier, END>,
}

/// Which work of a carrier.
const BOTTOM_HALF: u64 = 0;
const END: u64 = 1;

impl_has_work! {
    impl HasWork<Self, BOTTOM_HALF> for Carrier { self.work }
    impl HasWork<Self, END> for Carrier { self.end }
}

impl WorkItem<BOTTOM_HALF> for Carrier {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        Carrier::bottom_half(&this);
    }
}

impl WorkItem<END> for Carrier {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        this.pipe.sever(&this);
    }
}

/// The lock class of a carrier's work: one for each context, or lockdep would mix them up.
fn work_class(bottom_half: BottomHalf) -> Pin<&'static LockClassKey> {
    match bottom_half {
        BottomHalf::Bh => static_lock_class!(),
        _ => static_lock_class!(),
    }
}

impl Carrier {
    /// A carrier that is not attached to its transport yet.
    pub fn new(
        pipe: Arc<Pipe>,
        transport: Arc<dyn Transport>,
        bottom_half: BottomHalf,
        stages: Arc<Stages>,
    ) -> Result<Arc<Self>> {
        let class = work_class(bottom_half);
        let carrier = pin_init!(Self {
            pipe,
            transport,
            bottom_half,
            generation: AtomicU32::new(0),
            is_detached: AtomicBool::new(false),
            stages,
            number: AtomicU64::new(0),
            len_bytes: AtomicUsize::new(0),
            started_ns: AtomicI64::new(0),
            interrupted_ns: AtomicI64::new(0),
            work <- Work::new(c"kpipe::Carrier::work", class),
            end <- Work::new(c"kpipe::Carrier::end", static_lock_class!()),
        });
        Arc::pin_init(carrier, GFP_KERNEL_ACCOUNT)
    }

    /// Begins to be of use; see [`Transport::attach`].
    pub fn attach(this: &Arc<Self>) -> Result {
        this.transport.attach(this)
    }

    /// Ends; see [`Transport::detach`].
    pub fn detach(this: &Arc<Self>) {
        this.transport.detach(this);
    }

    /// A write has been submitted while nothing was in flight: starts its transfer. Any context.
    pub fn depart(this: &Arc<Self>) {
        if let Some(block) = this.current() {
            this.transport.start(this, block);
        }
    }

    /// The transport begins to carry a block. Any context; by the transport, under its lock.
    pub fn begins(&self, block: &Block) {
        let now_ns = clock::now_ns();
        self.started_ns.store(now_ns, Relaxed);
        self.stages.transfers.fetch_add(1, Relaxed);
        self.stages
            .record(Stage::Queued, block.request.submitted_ns, now_ns);
        self.number.store(block.request.number, Relaxed);
        self.len_bytes.store(block.len_bytes, Relaxed);
        trace::transfer(self.pipe.index(), block.request.number, block.len_bytes);
    }

    /// The device says that it did what it was told. Hard interrupt.
    ///
    /// Returns whether the bottom half is for the thread of the interrupt, which the caller wakes then.
    pub fn interrupted(this: &Arc<Self>) -> bool {
        let now_ns = clock::now_ns();
        this.interrupted_ns.store(now_ns, Relaxed);
        this.stages.interrupts.fetch_add(1, Relaxed);
        this.stages
            .record(Stage::Device, this.started_ns.load(Relaxed), now_ns);
        let (number, len_bytes) = this.in_progress();
        trace::interrupt(this.pipe.index(), number, len_bytes);
        let context = match this.bottom_half {
            BottomHalf::Hard => {
                Self::bottom_half(this);
                return false;
            }
            BottomHalf::Thread => return true,
            BottomHalf::Bh => Context::SoftInterrupt,
            BottomHalf::Work => Context::Thread,
        };
        // It cannot be enqueued already: the last bottom half has begun before the next transfer.
        let _ = deferred::enqueue::<_, BOTTOM_HALF>(context, this.clone());
        false
    }

    /// What an interrupt is followed by: completes the transfer, wakes, starts the next one. Any context.
    pub fn bottom_half(this: &Arc<Self>) {
        let begun_ns = clock::now_ns();
        let interrupted_ns = this.interrupted_ns.load(Relaxed);
        this.stages
            .record(Stage::Deferred, interrupted_ns, begun_ns);
        let (index, (number, len_bytes)) = (this.pipe.index(), this.in_progress());
        trace::bottom_half_begin(index, number, len_bytes);
        let mut arrived_bytes = 0;
        if this.transport.finish(this) == Finished::Yes {
            // A guard lives to the end of its statement: not across what follows.
            let arrived = this.flight().and_then(|mut flight| flight.complete());
            if let Some(arrived) = arrived {
                arrived_bytes = arrived.len_bytes;
                if arrived_bytes > 0 {
                    this.pipe.arrived(&arrived, number, interrupted_ns);
                }
                if let Some(next) = arrived.next {
                    this.transport.start(this, next);
                }
            }
        }
        trace::bottom_half_end(index, number, arrived_bytes);
        this.stages
            .record(Stage::BottomHalf, begun_ns, clock::now_ns());
    }

    /// Copies the bytes of a transfer out of the queue. Any context. `ENODEV`: the queue was closed
    /// meanwhile.
    pub fn load(&self, block: Block, to: &mut [u8]) -> Result {
        self.flight().ok_or(ENODEV)?.load(block, to)
    }

    /// Copies the bytes of a transfer back into the queue. Any context. `ENODEV`: as for
    /// [`load`](Self::load).
    pub fn store(&self, block: Block, from: &[u8]) -> Result {
        self.flight().ok_or(ENODEV)?.store(block, from)
    }

    /// The device is gone: nothing that is in flight will arrive, and soon the queue says so. Once for each
    /// carrier. Any context.
    ///
    /// In a work of its own, because that waits for locks of the queue. Whoever holds one may wait for a page
    /// that its owner never gives it; neither the removal nor another queue shall wait for that.
    pub fn gone(this: Arc<Self>) {
        let _ = deferred::enqueue::<_, END>(Context::Thread, this);
    }

    /// A part of [`gone`](Self::gone): what is in flight is lost.
    pub fn fail(&self) {
        if let Some(mut flight) = self.flight() {
            flight.fail();
        }
    }

    /// It takes its place: see [`Ring::set_carried`](crate::sys::ring::Ring::set_carried).
    pub fn set_generation(&self, generation: u32) {
        self.generation.store(generation, Relaxed);
    }

    /// Nothing is started for it any more.
    pub fn set_detached(&self) {
        self.is_detached.store(true, Relaxed);
    }

    /// Has it been detached? A bottom half that was deferred before may still try to start a transfer.
    pub fn is_detached(&self) -> bool {
        self.is_detached.load(Relaxed)
    }

    /// What is in flight, unless the queue was closed meanwhile.
    fn flight(&self) -> Option<FlightGuard<'_>> {
        let generation = self.generation.load(Relaxed);
        self.pipe.ring().lock_flight(generation)
    }

    /// Request and length of the transfer in progress.
    fn in_progress(&self) -> (u64, usize) {
        (self.number.load(Relaxed), self.len_bytes.load(Relaxed))
    }

    fn current(&self) -> Option<Block> {
        self.flight().and_then(|flight| flight.current())
    }
}

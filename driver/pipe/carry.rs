// SPDX-License-Identifier: GPL-2.0

//! Between writing and reading a [`Pipe`] that is not direct: its [`Carrier`], arrivals, waiting for them, and
//! the end of a device.

use super::{Pipe, DATA};
use crate::model::ends::poll;
use crate::stages::{Stage, Stages};
use crate::sys::atomic::Relaxed;
use crate::sys::clock;
use crate::sys::fasync::Event;
use crate::sys::ring::{Arrived, Mark};
use crate::sys::task;
use crate::sys::trace::{self, Side, UNNUMBERED};
use crate::sys::wait::{Deadline, Sleep};
use crate::transport::{Carrier, Kind, Settings};
use crate::uapi;
use kernel::prelude::*;
use kernel::sync::Arc;

/// How a queue is carried.
pub(super) struct Carriage {
    pub(super) settings: Settings,
    /// While the queue is open and not direct.
    carrier: Option<Arc<Carrier>>,
    /// From its first carrier on.
    stages: Option<Arc<Stages>>,
}

impl Carriage {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            carrier: None,
            stages: None,
        }
    }
}

/// Poll on a queue whose device is gone.
pub(super) const GONE: u32 = poll::HUP | poll::ERR;

impl Pipe {
    /// Begins to carry as the settings say. Called under the lock of `partners`, when the queue is opened
    /// first.
    pub(super) fn engage(this: &Arc<Self>) -> Result {
        let settings = this.carriage.lock().settings;
        if settings.kind == Kind::Direct {
            return Ok(());
        }
        Self::change_carrier(this, settings)
    }

    /// Ends to carry. Called under the lock of `partners`, at the last close.
    pub(super) fn disengage(&self) {
        let carrier = self.carriage.lock().carrier.take();
        if let Some(carrier) = carrier {
            Carrier::detach(&carrier);
        }
        self.partners.revive();
    }

    /// Sets who carries; see [`uapi::IOC_SET_TRANSPORT`].
    pub fn set_transport(this: &Arc<Self>, asked: &uapi::Transport) -> Result {
        let settings = Settings::from_uapi(asked, &this.default_settings)?;
        this.partners.while_fixed(|is_open| {
            if this.partners.is_gone() {
                return Err(ENODEV);
            }
            let is_new = this.carriage.lock().settings != settings;
            if is_new && !settings.is_harmless() && !task::may_exceed_limits() {
                return Err(EPERM);
            }
            if is_open {
                Self::change_carrier(this, settings)?;
            } else {
                // Only to know whether there is a device.
                settings.transport(&this.devices)?;
            }
            this.carriage.lock().settings = settings;
            Ok(())
        })
    }

    /// Puts another carrier into the place of the present one. If it fails, all is as it was. Called
    /// under the lock of `partners`.
    fn change_carrier(this: &Arc<Self>, settings: Settings) -> Result {
        let Some(transport) = settings.transport(&this.devices)? else {
            let mut carriage = this.carriage.lock();
            this.ring.set_carried(None)?;
            let old = carriage.carrier.take();
            drop(carriage);
            if let Some(old) = old {
                Carrier::detach(&old);
            }
            return Ok(());
        };
        let stages = this.stages()?;
        let most_bytes = transport.most_bytes();
        let carrier = Carrier::new(this.clone(), transport, settings.bottom_half, stages)?;
        Carrier::attach(&carrier)?;
        // Held until the new one is in its place: a writer that finds the ring carried looks here.
        let mut carriage = this.carriage.lock();
        let old = match this.ring.set_carried(Some(most_bytes)) {
            Ok(generation) => {
                carrier.set_generation(generation);
                carriage.carrier.replace(carrier)
            }
            Err(error) => {
                drop(carriage);
                Carrier::detach(&carrier);
                return Err(error);
            }
        };
        this.is_posted.store(settings.is_posted, Relaxed);
        drop(carriage);
        if let Some(old) = old {
            Carrier::detach(&old);
        }
        Ok(())
    }

    /// See [`uapi::IOC_GET_TRANSPORT`].
    pub fn transport(&self) -> uapi::Transport {
        self.carriage.lock().settings.to_uapi()
    }

    /// The histograms, made if there are none yet.
    fn stages(&self) -> Result<Arc<Stages>> {
        if let Some(stages) = &self.carriage.lock().stages {
            return Ok(stages.clone());
        }
        // Under the lock of `partners`, so nobody makes others meanwhile.
        let stages = Arc::init(Stages::new(), GFP_KERNEL_ACCOUNT)?;
        self.carriage.lock().stages = Some(stages.clone());
        Ok(stages)
    }

    /// See [`uapi::IOC_STAGES`]: all zero if the queue has never been carried.
    pub fn fill_stages(&self, to: &mut uapi::Stages) {
        let stages = self.carriage.lock().stages.clone();
        if let Some(stages) = stages {
            stages.fill(to);
        }
    }

    pub(super) fn reset_stages(&self) {
        let stages = self.carriage.lock().stages.clone();
        if let Some(stages) = stages {
            stages.reset();
        }
    }

    /// Starts the transfer that a write has brought about: the last step of the top half.
    #[cold]
    pub(super) fn depart(&self) {
        let carrier = self.carriage.lock().carrier.clone();
        // There is one as long as bytes are in flight and the writer has the queue open.
        if let Some(carrier) = carrier {
            Carrier::depart(&carrier);
        }
    }

    /// Bytes have arrived: wakes who waits for them. Called by the bottom half, any
    /// context.
    pub fn arrived(&self, arrived: &Arrived, number: u64, interrupted_ns: i64) {
        // As `tell_readers` does for a writer.
        if self.is_news(arrived.start) {
            // Before the reader runs. It takes the time away, or nobody sleeps who would.
            let now_ns = clock::now_ns();
            self.interrupted_ns.store(interrupted_ns, Relaxed);
            self.woken_ns.store(now_ns, Relaxed);
            trace::wake(Side::Read, self.index, number, arrived.len_bytes);
            if !self.readable.wake_one_elsewhere(DATA) {
                let _ = (self.woken_ns).compare_exchange(now_ns, 0, Relaxed, Relaxed);
            }
        }
        // The last writer left while these were in flight, so its close told nobody of the end of file: it
        // comes now, for every reader and for those who poll for nothing but a hangup. (The barrier
        // between `head` and the writers is in `is_news`.)
        if self.partners.writers() == 0 && !self.ring.is_in_flight() {
            self.readable.wake_all();
        }
        self.data_listeners.notify(Event::Data);
        // Last: who has waited for the arrival finds that everybody else has heard of it.
        self.ring.settle(arrived.end);
        if self.arrival.has_sleepers() {
            trace::wake(Side::Write, self.index, number, arrived.len_bytes);
            self.arrival.wake_all();
        }
    }

    /// A reader of a carried queue runs again: records how long that took.
    #[cold]
    pub(super) fn note_awake(&self) {
        let woken_ns = self.woken_ns.swap(0, Relaxed);
        // 0: somebody else noted it, or it was not an arrival that woke.
        if woken_ns == 0 {
            return;
        }
        let now_ns = clock::now_ns();
        let stages = self.carriage.lock().stages.clone();
        if let Some(stages) = stages {
            stages.record(Stage::Wakeup, woken_ns, now_ns);
            stages.record(Stage::Awake, self.interrupted_ns.load(Relaxed), now_ns);
        }
    }

    /// The end of a write to a carried queue, also of one that failed: waits until its bytes, which end at
    /// `own_end`, have arrived. `None`: there are none, or it is not for this call to wait.
    #[cold]
    pub(super) fn await_own(
        &self,
        own_end: Option<Mark>,
        written: Result<usize>,
        deadline: &mut Deadline,
        number: u64,
    ) -> Result<usize> {
        let result = match (written, own_end) {
            (Ok(_), Some(end)) => self.await_written(end, deadline, number).and(written),
            _ => written,
        };
        if written.is_err() {
            // The bottom half tells those who listen of what arrives. A pipe tells of a failed write too.
            self.data_listeners.notify(Event::Data);
        }
        trace::leave(Side::Write, self.index, number, result);
        result
    }

    /// The end of a splice(2) into the queue, whose writes have not waited.
    pub fn await_spliced(&self, timeout_ns: u64) -> Result {
        let mut deadline = Deadline::after(timeout_ns);
        self.await_written(self.ring.written(), &mut deadline, UNNUMBERED)
    }

    /// Unless the queue is posted, waits until what the caller has written, up to `end`, has arrived.
    ///
    /// It is on its way whatever happens to the caller, so a signal or the end of its time only
    /// ends the wait. `ENODEV`: the device is gone, and with it some of the bytes.
    fn await_written(&self, end: Mark, deadline: &mut Deadline, number: u64) -> Result {
        let is_posted = self.is_posted.load(Relaxed);
        if !is_posted && self.await_arrival(end, deadline, number) == Err(ENODEV) {
            return Err(ENODEV);
        }
        Ok(())
    }

    /// See [`uapi::IOC_DRAIN`].
    pub fn drain(&self) -> Result {
        self.await_arrival(self.ring.written(), &mut { Deadline::NEVER }, UNNUMBERED)
    }

    /// Waits until everything before `end` has arrived.
    ///
    /// Not inlined: the tests know its sleepers by this name.
    #[inline(never)]
    fn await_arrival(&self, end: Mark, deadline: &mut Deadline, number: u64) -> Result {
        while !self.ring.is_settled(end) {
            if self.partners.is_gone() {
                return Err(ENODEV);
            }
            let is_over = || self.ring.is_settled(end) || self.partners.is_gone();
            let sleep = match number {
                UNNUMBERED => self.arrival.sleep(deadline, is_over),
                _ => {
                    let tell = trace::sleep(Side::Write, self.index, number, 0);
                    self.arrival.sleep_and_tell(deadline, is_over, tell)
                }
            };
            match sleep {
                Sleep::Interrupted => return Err(deadline.interrupted()),
                Sleep::TimedOut => return Err(EAGAIN),
                Sleep::Woken | Sleep::NotNeeded => {}
            }
        }
        Ok(())
    }

    /// The device that `carrier` used is gone: until its last close the queue gives what has arrived, and
    /// then `ENODEV`. In a kernel thread; may sleep, for long if a page does not come.
    pub fn sever(&self, carrier: &Arc<Carrier>) {
        let is_severed = self.partners.while_fixed(|_| {
            let is_ours = {
                let carriage = self.carriage.lock();
                let present = carriage.carrier.as_ref();
                present.is_some_and(|present| Arc::ptr_eq(present, carrier))
            };
            if is_ours {
                carrier.fail();
                self.partners.sever();
            }
            is_ours
        });
        if is_severed {
            self.partners.wake_all();
            self.arrival.wake_all();
            self.tell_everybody();
        }
    }
}

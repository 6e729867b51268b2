// SPDX-License-Identifier: GPL-2.0

//! One queue: the rules of `model/` wrapped in locks and wait queues.
//!
//! [`Pipe`] is what a FIFO's inode is to `fs/pipe.c`. `file.rs` calls it in process context. Reading and
//! writing are in `pipe/read.rs` and `pipe/write.rs`. What lies between them, if a transport carries the
//! bytes, is in `pipe/carry.rs`.
//!
//! # Locks
//!
//! The one of [`Partners`], then that of the charge, then that of the carriage, then the read side of the
//! ring, then its write side; each may sleep. The flight of the ring comes last: a spinlock for
//! interrupts too.
//! Readers and writers of a direct queue never share a lock: a reader holds the read side while it copies, a
//! writer the write side. On a carried one both take the carriage's for a moment. Nobody holds any of them while it
//! waits for the queue or for a partner. No task is woken under a lock that it will take first.
//!
//! # Why no wakeup is lost
//!
//! Who sleeps queues itself first and looks at the indices and counts then. Who changes an index or
//! a count stores it first and looks for sleepers then ([`WaitQueue::has_sleepers`] has the full
//! barrier). So one of the two sees the other. Wakeups are exclusive: one write wakes one reader. Who
//! was woken and leaves something behind wakes the next one (the baton; compare `wake_next_reader` in
//! `fs/pipe.c`).

use crate::counters::Moved;
use crate::model::ends::{self, poll, Access, Closed, Opening, PollView};
use crate::model::ring::capacity_for;
use crate::partners::Partners;
use crate::sys::account::{Charge, SoftLimit};
use crate::sys::atomic::{AtomicBool, AtomicI64, AtomicUsize, Relaxed};
use crate::sys::fasync::{AsyncRequest, Event, Listeners};
use crate::sys::ring::Ring;
use crate::sys::task;
use crate::sys::wait::{new_wait_queue, PollTable, WaitQueue};
use crate::transport::{Devices, Settings};
use crate::uapi;
use kernel::prelude::*;
use kernel::sync::{new_mutex, Arc, Mutex};

mod carry;
mod read;
mod write;
use carry::Carriage;

/// What a new queue is like.
#[derive(Clone)]
pub struct Defaults {
    /// Capacity in bytes, a power of two.
    pub capacity_bytes: usize,
    /// On the memory of its owner's queues.
    pub soft_limit: SoftLimit,
    /// Who carries the bytes.
    pub settings: Settings,
    /// By which devices that may be.
    pub devices: Arc<Devices>,
}

/// A queue of bytes with any number of readers and writers.
#[pin_data]
pub struct Pipe {
    /// The N of `/dev/kpipeN`, or `PRIVATE_INDEX`.
    index: u32,
    /// Who has the queue open.
    #[pin]
    partners: Partners,
    /// The bytes. It has memory while anybody has the queue open.
    #[pin]
    ring: Ring,
    /// Capacity in bytes of the ring's memory when it is next allocated. Changed under the lock of
    /// `partners`.
    capacity: AtomicUsize,
    /// Who pays for the ring's memory; `None` while there is none.
    #[pin]
    charge: Mutex<Option<Charge>>,
    soft_limit: SoftLimit,
    /// Is every write a packet, with `O_DIRECT` or without?
    is_packet_mode: AtomicBool,
    /// Who carries the bytes. Changed under the lock of `partners`.
    #[pin]
    carriage: Mutex<Carriage>,
    /// What 0 means in [`uapi::Transport`].
    default_settings: Settings,
    devices: Arc<Devices>,
    /// Does a write to a carried queue return before its bytes have arrived?
    is_posted: AtomicBool,
    /// Those who wait until bytes have arrived.
    #[pin]
    arrival: WaitQueue,
    /// When a bottom half last woke a reader (0: noted already), and when its interrupt was.
    woken_ns: AtomicI64,
    interrupted_ns: AtomicI64,
    /// Readers of an empty queue, and pollers of read ends.
    #[pin]
    readable: WaitQueue,
    /// Has anybody polled a read end since the queue was unused?
    is_polled: AtomicBool,
    /// Writers to a full queue, and pollers of write ends.
    #[pin]
    writable: WaitQueue,
    /// Read ends with `O_ASYNC`.
    data_listeners: Listeners,
    /// Write ends with `O_ASYNC`.
    room_listeners: Listeners,
    read: Moved,
    write: Moved,
}

impl Pipe {
    /// An unused queue.
    pub fn new(index: u32, defaults: Defaults) -> impl PinInit<Self> {
        pin_init!(Self {
            index,
            partners <- Partners::new(),
            ring <- Ring::new(),
            capacity: AtomicUsize::new(defaults.capacity_bytes),
            charge <- new_mutex!(None, "kpipe::charge"),
            soft_limit: defaults.soft_limit,
            is_packet_mode: AtomicBool::new(false),
            carriage <- new_mutex!(Carriage::new(defaults.settings), "kpipe::carriage"),
            default_settings: defaults.settings,
            devices: defaults.devices,
            is_posted: AtomicBool::new(defaults.settings.is_posted),
            arrival <- new_wait_queue!(c"kpipe::arrival"),
            woken_ns: AtomicI64::new(0),
            interrupted_ns: AtomicI64::new(0),
            readable <- new_wait_queue!(c"kpipe::readable"),
            is_polled: AtomicBool::new(false),
            writable <- new_wait_queue!(c"kpipe::writable"),
            data_listeners: Listeners::new(),
            room_listeners: Listeners::new(),
            read: Moved::new(),
            write: Moved::new(),
        })
    }

    /// The N of `/dev/kpipeN`, or `PRIVATE_INDEX`.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// The bytes, for those who carry them.
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Opens an end, as fifo(7) has it; see [`Partners::open`]. `ENOMEM`: no memory for the ring. `ENODEV`:
    /// the device of its transport is not there, or has gone since the first open.
    pub fn open(this: &Arc<Self>, access: Access, opening: Opening) -> Result<Option<u32>> {
        // Pollers of read ends look again, as `wake_up_partner()` in `fs/pipe.c` makes them: a hangup is
        // over.
        let announce = || {
            if this.readable.has_sleepers() {
                this.readable.wake_all();
            }
        };
        this.partners.open(
            access,
            opening,
            || Self::allocate(this),
            announce,
            || this.free(),
        )
    }

    /// Closes an end that [`open`](Self::open) opened. The last one takes data and memory along.
    pub fn close(&self, access: Access) {
        if self.partners.close(access, || self.free()) == Closed::LastOfItsSide {
            // End of file for every reader, a broken pipe for every writer.
            self.tell_everybody();
        }
    }

    /// Wakes all who read, write, poll or listen.
    fn tell_everybody(&self) {
        self.readable.wake_all();
        self.writable.wake_all();
        self.data_listeners.notify(Event::Data);
        self.room_listeners.notify(Event::Room);
    }

    /// Gives the ring its memory, on the account of the caller, and a carrier. Called under the lock of
    /// `partners`.
    fn allocate(this: &Arc<Self>) -> Result {
        let wanted_bytes = this.capacity.load(Relaxed);
        let small_bytes = uapi::SMALL_CAPACITY_BYTES as usize;
        let (charge, capacity_bytes) = Charge::new(wanted_bytes, small_bytes, this.soft_limit);
        this.ring.resize(capacity_bytes)?;
        *this.charge.lock() = Some(charge);
        Self::engage(this).inspect_err(|_| this.free())
    }

    fn free(&self) {
        self.disengage();
        self.ring.free();
        // Nothing is in flight any more: an observer may be draining.
        self.arrival.wake_all();
        *self.charge.lock() = None;
        self.is_polled.store(false, Relaxed);
    }

    /// Gives the ring another capacity. Called under the lock of `partners`, with the queue open.
    fn change_capacity(&self, capacity_bytes: usize, soft_limit: SoftLimit) -> Result {
        let mut slot = self.charge.lock();
        let slot: &mut Option<Charge> = &mut slot;
        let charge = slot.as_mut().ok_or(ENXIO)?;
        charge.change(capacity_bytes, soft_limit)?;
        let resized = self.ring.resize(capacity_bytes);
        if resized.is_err() {
            charge.set(self.ring.capacity_bytes());
        }
        resized
    }

    /// poll(2): what is ready now. `unseen_opens` is what [`open`](Self::open) returned.
    pub fn poll<'open>(
        &'open self,
        access: Access,
        unseen_opens: Option<u32>,
        table: &PollTable<'open>,
    ) -> u32 {
        if access.reads() {
            if !self.is_polled.load(Relaxed) {
                self.is_polled.store(true, Relaxed);
            }
            self.readable.register(table);
        }
        if access == Access::Observe {
            // Only to hear that the device is gone.
            self.readable.register(table);
        }
        if access.writes() {
            self.writable.register(table);
        }
        // Writers before data, as in `read_state`: no `POLLHUP` that hides a last `POLLIN`.
        // And the opens before the writers, so that the first writer is not taken for one that left.
        let writer_opens = self.partners.writer_opens();
        let (readers, writers) = (self.partners.readers(), self.partners.writers());
        let fill = self.ring.fill();
        if self.partners.is_gone() {
            let data = if fill.queued_bytes > 0 { DATA } else { 0 };
            return carry::GONE | if access.reads() { data } else { 0 };
        }
        // What is in flight is still to come, as if its writer were there.
        let writers = writers.max(fill.is_in_flight.into());
        ends::poll_mask(
            access,
            PollView {
                queued_bytes: fill.queued_bytes,
                room_bytes: fill.room_bytes,
                readers,
                writers,
                has_seen_writer: unseen_opens != Some(writer_opens),
            },
        )
    }

    /// `O_ASYNC` was set or cleared on an end.
    pub fn set_async<'open>(&'open self, access: Access, request: &AsyncRequest<'open>) -> Result {
        if access.reads() {
            request.apply(&self.data_listeners)?;
        }
        if access.writes() {
            request.apply(&self.room_listeners).inspect_err(|_| {
                if access.reads() {
                    request.revoke(&self.data_listeners);
                }
            })?;
        }
        Ok(())
    }

    /// Bytes in the queue.
    pub fn queued_bytes(&self) -> usize {
        self.ring.data_bytes()
    }

    /// Bytes that fit into the queue, now or when it is next opened.
    pub fn capacity_bytes(&self) -> usize {
        match self.ring.capacity_bytes() {
            0 => self.capacity.load(Relaxed),
            capacity_bytes => capacity_bytes,
        }
    }

    /// Sets the mode for later writes; see [`uapi::IOC_SET_MODE`].
    pub fn set_packet_mode(&self, is_on: bool) {
        self.is_packet_mode.store(is_on, Relaxed);
    }

    /// Sets the capacity, for now and for later opens, and returns what it became; see
    /// [`uapi::IOC_RESIZE`].
    pub fn resize(&self, wanted_bytes: u64) -> Result<usize> {
        let capacity_bytes = capacity_for(wanted_bytes).ok_or(EINVAL)?;
        let capacity_bytes = self.partners.while_fixed(|is_open| {
            let is_growing = capacity_bytes > self.capacity_bytes();
            if is_growing && !may_have(capacity_bytes) {
                return Err(EPERM);
            }
            let mut capacity_bytes = capacity_bytes;
            if is_open {
                if self.ring.is_framed() {
                    capacity_bytes = capacity_bytes.max(uapi::SMALL_CAPACITY_BYTES as usize);
                }
                self.change_capacity(capacity_bytes, self.soft_limit)?;
            }
            self.capacity.store(capacity_bytes, Relaxed);
            Ok(capacity_bytes)
        })?;
        // The writer who is woken passes it on if there is room for more. Pollers look again whatever they
        // wait for, as on a FIFO.
        self.writable.wake_one(0);
        Ok(capacity_bytes)
    }

    /// What the queue is and what it has done.
    pub fn info(&self) -> uapi::Info {
        uapi::Info {
            size: size_of::<uapi::Info>() as u32,
            version: uapi::VERSION,
            index: self.index,
            readers: self.partners.readers(),
            writers: self.partners.writers(),
            mode: if self.is_packet_mode.load(Relaxed) {
                uapi::MODE_PACKET
            } else {
                uapi::MODE_STREAM
            },
            capacity_bytes: self.capacity_bytes() as u64,
            // Whoever asks must not wait for a reader that waits for a page.
            queued_bytes: self.ring.data_bytes_at_once() as u64,
            read: self.read.counters(&self.readable),
            write: self.write.counters(&self.writable),
        }
    }

    /// Sets all counters to zero.
    pub fn reset_counters(&self) {
        // Before the locks of the ring, which come after that of the carriage.
        self.reset_stages();
        let _read = self.ring.lock_read();
        let _write = self.ring.lock_write();
        self.read.reset(&self.readable);
        self.write.reset(&self.writable);
    }
}

/// May the calling task ask for this capacity?
pub fn may_have(capacity_bytes: usize) -> bool {
    capacity_bytes as u64 <= uapi::UNPRIVILEGED_CAPACITY_BYTES || task::may_exceed_limits()
}

/// Most bytes that are copied before the other side hears of them. Less means more overlap but
/// more looking; measured with 4 KiB to 64 KiB.
const PIECE_BYTES: usize = 16384;

/// What readers are woken for.
const DATA: u32 = poll::IN | poll::RDNORM;

/// What writers are woken for.
const ROOM: u32 = poll::OUT | poll::WRNORM;

// SPDX-License-Identifier: GPL-2.0

//! A wait queue with exclusive sleepers, shared with poll.
//!
//! [`WaitQueue`] wraps `struct wait_queue_head` (`include/linux/wait.h`). `kernel::sync::CondVar`
//! wraps it too, but its wakeups carry no key, so poll could not tell a wakeup for readers from one
//! for writers, and it has no way to look at a condition between queueing and sleeping.
//!
//! Sleeping needs process context without spinlocks; waking may happen anywhere.

use super::atomic::{full_barrier, load_barrier, AtomicBool, AtomicU64, Relaxed};
use core::cell::Cell;
use core::marker::PhantomData;
use core::ptr;
use kernel::bindings;
use kernel::prelude::*;

use kernel::sync::LockClassKey;
use kernel::task::TASK_INTERRUPTIBLE;
use kernel::types::Opaque;

/// How [`WaitQueue::sleep`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sleep {
    /// The condition held already: did not sleep.
    NotNeeded,
    /// Somebody chose this sleeper. If it cannot use the wakeup, it must wake the next one.
    Woken,
    /// A signal is pending, and nobody chose this sleeper.
    Interrupted,
    /// The deadline is over, and nobody chose this sleeper.
    TimedOut,
}

/// What [`WaitQueue::sleep_and_tell`] tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Processor {
    /// The task is about to sleep.
    GivenUp,
    /// It runs again.
    Back,
}

/// Until when a call may sleep, with all its sleeps.
///
/// The clock starts with the first of them: a call that need not sleep does not look at it.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    /// 0 means for ever.
    timeout_ns: u64,
    /// In nanoseconds of `CLOCK_MONOTONIC`; 0 before the first sleep.
    at_ns: i64,
}

impl Deadline {
    /// No limit.
    pub const NEVER: Self = Self::after(0);

    /// `timeout_ns` nanoseconds after the first sleep begins; 0 means never.
    pub const fn after(timeout_ns: u64) -> Self {
        Self {
            timeout_ns,
            at_ns: 0,
        }
    }

    /// What a call that sleeps until then fails with when a signal comes: with a limit it is not
    /// restarted, because its time would start anew (signal(7)).
    pub fn interrupted(&self) -> Error {
        match self.timeout_ns {
            0 => ERESTARTSYS,
            _ => EINTR,
        }
    }

    /// Gives up the processor until the task is woken, or the time is over. Called in a sleeping state,
    /// in process context without spinlocks.
    fn schedule(&mut self) -> Option<Sleep> {
        if self.timeout_ns == 0 {
            // SAFETY: The context is as it must be.
            unsafe { bindings::schedule() };
            return None;
        }
        if self.at_ns == 0 {
            // SAFETY: Readable in any context.
            let now_ns = unsafe { bindings::ktime_get() };
            self.at_ns = now_ns.saturating_add(self.timeout_ns.try_into().unwrap_or(i64::MAX));
        }
        // SAFETY: The context is as it must be; the time is valid during the call.
        let woken = unsafe {
            bindings::schedule_hrtimeout_range(
                &mut self.at_ns,
                TIMER_SLACK_NS,
                bindings::hrtimer_mode_HRTIMER_MODE_ABS,
            )
        };
        (woken == 0).then_some(Sleep::TimedOut)
    }
}

/// How late a deadline may be noticed, so that timers can be joined: the default of
/// `PR_SET_TIMERSLACK`.
const TIMER_SLACK_NS: u64 = 50_000;

/// Tasks that wait for one condition, and pollers of it.
#[pin_data]
pub struct WaitQueue {
    #[pin]
    head: Opaque<bindings::wait_queue_head>,
    /// Times a task slept here. Counted before it sleeps.
    pub sleeps: AtomicU64,
    /// Times a sleeper was woken through this queue, not by a signal.
    pub wakeups: AtomicU64,
}

// SAFETY: `struct wait_queue_head` has a lock of its own and may be used on any thread.
unsafe impl Send for WaitQueue {}
// SAFETY: As above: all its functions may be called concurrently.
unsafe impl Sync for WaitQueue {}

/// A sleeper. C hands back a pointer to the first field.
#[repr(C)]
struct Waiter {
    entry: bindings::wait_queue_entry,
    /// Has a wakeup chosen this sleeper? Final once the entry is off the queue.
    is_chosen: AtomicBool,
}

impl WaitQueue {
    /// A new queue; `name` and `key` are its class for lockdep.
    pub fn new(name: &'static CStr, key: Pin<&'static LockClassKey>) -> impl PinInit<Self> {
        pin_init!(Self {
            head <- Opaque::ffi_init(|slot| {
                // SAFETY: `slot` is memory for a wait queue head that stays in place (it is pinned),
                // and `name` and `key` are static.
                unsafe { bindings::__init_waitqueue_head(slot, name.as_char_ptr(), key.as_ptr()) }
            }),
            sleeps: AtomicU64::new(0),
            wakeups: AtomicU64::new(0),
        })
    }

    /// Sleeps interruptibly and exclusively until a wakeup chooses this task, `deadline` at the latest,
    /// unless `condition` holds.
    ///
    /// The condition is looked at after this task has been queued, so a wakeup that follows a change
    /// of the condition cannot be lost. A task that is chosen while a signal arrives reports the
    /// wakeup: the signal stays pending for the next call.
    pub fn sleep(&self, deadline: &mut Deadline, condition: impl Fn() -> bool) -> Sleep {
        self.sleep_and_tell(deadline, condition, |_| {})
    }

    /// [`sleep`](Self::sleep) that calls `tell` before it first gives up the processor, if it does, and
    /// once it is back for good. `tell` must not sleep.
    pub fn sleep_and_tell(
        &self,
        deadline: &mut Deadline,
        condition: impl Fn() -> bool,
        tell: impl Fn(Processor),
    ) -> Sleep {
        let has_slept = Cell::new(false);
        let on_sleep = || {
            if !has_slept.replace(true) {
                self.sleeps.fetch_add(1, Relaxed);
                tell(Processor::GivenUp);
            }
        };
        // SAFETY: The head is initialised and lives as long as `self`.
        let end = unsafe {
            sleep_on(
                self.head.get(),
                Exclusive::Yes,
                deadline,
                condition,
                on_sleep,
            )
        };
        if has_slept.get() {
            tell(Processor::Back);
            if end == Sleep::Woken {
                self.wakeups.fetch_add(1, Relaxed);
            }
        }
        end
    }

    /// Is there anybody to wake? A full barrier comes first: what was stored before this call is
    /// seen by every task that is queued after it answered `false`. What is loaded after it answered
    /// `true` is at least as new as what the sleeper saw.
    pub fn has_sleepers(&self) -> bool {
        full_barrier();
        let list = self.head.get();
        // SAFETY: The head is initialised. A racing writer of `next` is what READ_ONCE is for, as in
        // `waitqueue_active()`.
        let is_empty =
            unsafe { ptr::read_volatile(&raw const (*list).head.next) == (&raw mut (*list).head) };
        load_barrier();
        !is_empty
    }

    /// Wakes one exclusive sleeper, and all pollers who asked for one of `events` (bits of poll(2)), or
    /// for anything if that is 0.
    ///
    /// The caller is about to sleep or to return to user space: the woken task may as well run on
    /// this CPU.
    pub fn wake_one(&self, events: u32) {
        // SAFETY: The head is initialised. The key is a number, see `poll_to_key()`.
        unsafe {
            bindings::__wake_up_sync_key(
                self.head.get(),
                TASK_INTERRUPTIBLE as c_uint,
                events as usize as *mut c_void,
            )
        };
    }

    /// [`wake_one`](Self::wake_one) by what was brought about by an interrupt: whoever runs here is going on. Returns
    /// whether a sleeper was woken, and not pollers only.
    pub fn wake_one_elsewhere(&self, events: u32) -> bool {
        // SAFETY: The head is initialised. The key is a number, see `poll_to_key()`.
        let woken = unsafe {
            bindings::__wake_up(
                self.head.get(),
                TASK_INTERRUPTIBLE as c_uint,
                1,
                events as usize as *mut c_void,
            )
        };
        woken != 0
    }

    /// Wakes every sleeper and every poller, whatever they wait for.
    pub fn wake_all(&self) {
        // SAFETY: The head is initialised. 0 means no limit; a null key matches everybody.
        unsafe {
            bindings::__wake_up(
                self.head.get(),
                TASK_INTERRUPTIBLE as c_uint,
                0,
                ptr::null_mut(),
            )
        };
    }

    /// Registers the poller behind `table`: it is told of later wakeups. Call it before looking at
    /// the condition, or a change in between is lost.
    pub fn register<'open>(&'open self, table: &PollTable<'open>) {
        // SAFETY: File and table are valid by the invariant of `PollTable`. The registration ends at
        // the latest when the file is released, and the head lives longer: a reference with the
        // lifetime `'open` can only point into what the open file itself keeps alive (or what is
        // static), because the file's owner gets `'open` handed and cannot choose it.
        unsafe { bindings::poll_wait(table.file, self.head.get(), table.table) };
    }
}

/// A poll(2), select(2), epoll or io_uring call on one open file.
///
/// # Invariants
///
/// `file` is valid, and `table` is null or valid. `'open` is the time in which the private data of
/// `file` lives; it is invariant, so nobody can shorten it.
pub struct PollTable<'open> {
    file: *mut bindings::file,
    table: *mut bindings::poll_table,
    _open: PhantomData<fn(&'open ()) -> &'open ()>,
}

impl<'open> PollTable<'open> {
    /// # Safety
    ///
    /// `file` must be valid, `table` null or valid, both for the life of the result, and `'open` must
    /// not outlive the private data of `file`.
    pub unsafe fn from_raw(file: *mut bindings::file, table: *mut bindings::poll_table) -> Self {
        // INVARIANT: What the caller promises.
        Self {
            file,
            table,
            _open: PhantomData,
        }
    }
}

/// Does a wakeup of one stop at this sleeper (`WQ_FLAG_EXCLUSIVE`)?
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Exclusive {
    Yes,
    No,
}

/// [`WaitQueue::sleep`] on any wait queue of the kernel. `on_sleep` is called each time before the
/// task gives up the processor.
///
/// # Safety
///
/// `head` must be initialised and live until this returns.
pub(super) unsafe fn sleep_on(
    head: *mut bindings::wait_queue_head,
    exclusive: Exclusive,
    deadline: &mut Deadline,
    condition: impl Fn() -> bool,
    on_sleep: impl Fn(),
) -> Sleep {
    let flags = match exclusive {
        Exclusive::Yes => bindings::WQ_FLAG_EXCLUSIVE as c_int,
        Exclusive::No => 0,
    };
    let waiter = Opaque::<Waiter>::uninit();
    // SAFETY: `waiter` is memory for a `Waiter`, and nobody else knows of it yet. C initialises the
    // entry, the other field is written here.
    let entry = unsafe {
        // The entry is the first field; this pointer may reach the other too.
        let entry = waiter.get().cast::<bindings::wait_queue_entry>();
        bindings::init_wait_entry(entry, flags);
        (*entry).func = Some(choose);
        (&raw mut (*waiter.get()).is_chosen).write(AtomicBool::new(false));
        entry
    };
    loop {
        // SAFETY: The head is valid as the caller promises. The entry is initialised and lives on
        // this stack frame, and `finish_wait` takes it off the queue before the frame ends.
        let signal = unsafe { bindings::prepare_to_wait_event(head, entry, TASK_INTERRUPTIBLE) };
        let end = if condition() {
            Some(Sleep::NotNeeded)
        } else if signal != 0 {
            Some(Sleep::Interrupted)
        } else {
            on_sleep();
            deadline.schedule()
        };
        // SAFETY: The same head and entry as above.
        unsafe { bindings::finish_wait(head, entry) };
        // SAFETY: The waiter is initialised. Its waker is done with it: `finish_wait` found the entry
        // off the queue or took the lock under which wakers work.
        if unsafe { &(*waiter.get()).is_chosen }.load(Relaxed) {
            return Sleep::Woken;
        }
        if let Some(end) = end {
            return end;
        }
        // Woken by a signal, which the next round finds, or by nobody in particular.
    }
}

/// Wakes the sleeper behind `entry` and remembers that it was a wakeup that did so.
///
/// # Safety
///
/// Called by the wait queue core only, under the queue's lock, for an entry made by
/// [`sleep_on`].
unsafe extern "C" fn choose(
    entry: *mut bindings::wait_queue_entry,
    mode: c_uint,
    flags: c_int,
    key: *mut c_void,
) -> c_int {
    // SAFETY: This function is set on no entry but the first field of a `Waiter`, which was
    // initialised before it was queued and stays until it is off the queue.
    let is_chosen = unsafe { &(*entry.cast::<Waiter>()).is_chosen };
    // Set before the call below: after it the sleeper may be gone, and the waiter with it.
    is_chosen.store(true, Relaxed);
    // SAFETY: The entry is queued and the lock is held, as the caller promises.
    let woke = unsafe { bindings::autoremove_wake_function(entry, mode, flags, key) };
    if woke == 0 {
        // The task is awake already, for another reason: the wakeup goes on to the next sleeper. The
        // entry is still queued, and the lock keeps the sleeper from leaving.
        is_chosen.store(false, Relaxed);
    }
    woke
}

/// Makes an initialiser for a [`WaitQueue`] with a lock class of its own.
macro_rules! new_wait_queue {
    ($name:literal) => {
        $crate::sys::wait::WaitQueue::new($name, ::kernel::static_lock_class!())
    };
}
pub(crate) use new_wait_queue;

// SPDX-License-Identifier: GPL-2.0

//! The module's own workqueues, on which bottom halves run (`Documentation/core-api/workqueue.rst`).
//!
//! Not the system's: those cannot be flushed, and the code must stay until the last item has run.

use super::atomic::{Acquire, AtomicPtr, Release};
use core::ptr;
use kernel::bindings;
use kernel::prelude::*;
use kernel::workqueue::{Queue, RawWorkItem};

/// Where an item runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Context {
    /// In the soft interrupt of the processor that enqueued it (`WQ_BH`).
    SoftInterrupt,
    /// In a thread of that processor.
    Thread,
}

static SOFT_INTERRUPT: AtomicPtr<bindings::workqueue_struct> = AtomicPtr::new(ptr::null_mut());
static THREAD: AtomicPtr<bindings::workqueue_struct> = AtomicPtr::new(ptr::null_mut());

/// The two workqueues. The module has one of these; it drops it when nobody enqueues any more.
pub struct Workers(());

impl Workers {
    /// Makes them. Process context, at load. `EBUSY`: there are some already. `ENOMEM`.
    pub fn start() -> Result<Self> {
        if !SOFT_INTERRUPT.load(Acquire).is_null() {
            return Err(EBUSY);
        }
        // Dropped, and with it what was made so far, if one of them fails.
        let workers = Self(());
        let flags = bindings::wq_flags_WQ_PERCPU;
        SOFT_INTERRUPT.store(
            make(c"kpipe_bh", flags | bindings::wq_flags_WQ_BH)?,
            Release,
        );
        THREAD.store(make(c"kpipe", flags)?, Release);
        Ok(workers)
    }
}

fn make(name: &'static CStr, flags: bindings::wq_flags) -> Result<*mut bindings::workqueue_struct> {
    // SAFETY: The format takes one string. 0 asks for the default number of items at once.
    let queue = unsafe {
        bindings::alloc_workqueue_noprof(c"%s".as_char_ptr(), flags, 0, name.as_char_ptr())
    };
    if queue.is_null() {
        return Err(ENOMEM);
    }
    Ok(queue)
}

impl Drop for Workers {
    fn drop(&mut self) {
        for queue in [&SOFT_INTERRUPT, &THREAD] {
            let queue = queue.swap(ptr::null_mut(), Release);
            if !queue.is_null() {
                // SAFETY: Made by `make`, and taken by nobody else. It waits for the items. Who enqueues
                // concurrently would have to be an interrupt of a line that is still there, and the
                // module's lines are gone before its workers (`kpipe_main.rs`).
                unsafe { bindings::destroy_workqueue(queue) };
            }
        }
    }
}

/// Has `item` run soon. Any context. Returns what [`Queue::enqueue`] returns, and `None` without workers.
pub fn enqueue<W, const ID: u64>(context: Context, item: W) -> Option<W::EnqueueOutput>
where
    W: RawWorkItem<ID> + Send + 'static,
{
    let queue = match context {
        Context::SoftInterrupt => &SOFT_INTERRUPT,
        Context::Thread => &THREAD,
    }
    .load(Acquire);
    if queue.is_null() {
        return None;
    }
    // SAFETY: The queue lives until the workers are dropped, when nobody enqueues any more.
    Some(unsafe { Queue::from_raw(queue) }.enqueue(item))
}

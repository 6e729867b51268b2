// SPDX-License-Identifier: MIT

//! What is left out of the comparison, and why: each is a difference that docs/differences.md lists, or an
//! outcome that depends on who is quicker on either subject.

use super::model::Model;
use super::op::Action;
use super::store::Bytes;

/// Why an operation does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exclusion {
    /// Capacity in slots and in bytes lead to different results, or memory that goes bad in the
    /// middle of a page does (both rules run in [`super::model`]).
    Capacity,
    /// The device wakes the reader after each 16 KiB of a write, a FIFO when the block is in.
    EarlyWake,
    /// A read that asks for more than there is, while writers sleep: on the device it may get what they
    /// write meanwhile, because both copy at the same time.
    ReadAhead,
    /// Two sleepers go on at once, and who is quicker decides.
    Race,
    /// Somebody polls for what somebody else sleeps for: who is quicker decides.
    Crowd,
    /// A FIFO wakes its pollers also when nothing has changed for them: at a write that fails, at any
    /// splice. The device wakes them at each 16 KiB of a write, and before a writer sleeps. Only an
    /// edge-triggered watch sees that.
    Edge,
    /// A write to a FIFO wakes the first of the sleeping readers even if it fails, and this one then
    /// goes to the end of the line. On the device it keeps its place.
    FailedWrite,
    /// A splice from a FIFO sends SIGIO to its writers if it frees a slot, from the device always.
    SpliceNotice,
    /// A sleeping splice is not exclusive on a FIFO; what else sleeps races with it.
    SpliceSleep,
}

/// What the reasons look at: before the operation, and after it in the model.
pub struct View<'a> {
    /// The model before.
    pub before: &'a Model<Bytes>,
    /// The model after.
    pub after: &'a Model<Bytes>,
    /// Do both rules of capacity lead to the same?
    pub rules_agree: bool,
    /// Processes that sleep in poll or epoll_wait.
    pub pollers: usize,
    /// Was an edge-triggered watch made in this sequence?
    pub has_edge_watch: bool,
    /// Was O_ASYNC set in this sequence?
    pub has_listener: bool,
    /// The result, if it is known at once.
    pub value: Option<i64>,
}

/// Bytes after which the device tells the other side (`PIECE_BYTES` in driver/pipe.rs).
const PIECE_BYTES: usize = 16384;

/// Why this action cannot be compared now; `None` if it can.
pub fn reason(action: &Action, view: &View) -> Option<Exclusion> {
    let (readers, writers) = view.before.sleepers();
    let room = view.before.capacity() - view.before.queued();
    let falls_asleep = view.after.sleepers() != (readers, writers) && view.value.is_none();
    match action {
        _ if !view.rules_agree => Some(Exclusion::Capacity),
        _ if view.has_edge_watch && has_other_edges(action, view) => Some(Exclusion::Edge),
        Action::SpliceOut { .. } if view.has_listener => Some(Exclusion::SpliceNotice),
        Action::Write { buffer, .. } => match buffer.len() {
            _ if falls_asleep && view.pollers > 0 => Some(Exclusion::Crowd),
            _ if readers > 1 && view.value.is_some_and(|value| value < 0) => {
                Some(Exclusion::FailedWrite)
            }
            len if readers > 0 && len.min(room) > PIECE_BYTES => Some(Exclusion::EarlyWake),
            len if readers > 1 && len > room => Some(Exclusion::Race),
            _ => None,
        },
        Action::Read { buffer, .. } => match buffer.len().min(view.before.capacity()) {
            _ if falls_asleep && view.pollers > 0 => Some(Exclusion::Crowd),
            len if writers > 0 && len > view.before.queued() => Some(Exclusion::ReadAhead),
            len if writers > 1 && len > PIECE_BYTES => Some(Exclusion::Race),
            _ => None,
        },
        Action::Poll { wait: true, .. } | Action::Await { wait: true } if readers + writers > 0 => {
            Some(Exclusion::Crowd)
        }
        Action::SpliceOut { nonblock, .. } | Action::SpliceIn { nonblock, .. } => {
            let may_sleep = view.value.is_none() && !nonblock;
            (readers + writers > 0 || may_sleep).then_some(Exclusion::SpliceSleep)
        }
        _ => None,
    }
}

/// See [`Exclusion::Edge`].
fn has_other_edges(action: &Action, view: &View) -> bool {
    match action {
        Action::Write { buffer, .. } => match view.value {
            Some(1..) => view.pollers > 0 && buffer.len() > PIECE_BYTES,
            _ => buffer.len() > 0,
        },
        Action::Watch { .. } => view.before.sleepers().1 > 0,
        Action::SpliceOut { .. } | Action::SpliceIn { .. } => true,
        _ => false,
    }
}

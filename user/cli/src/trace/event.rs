// SPDX-License-Identifier: MIT

//! [`Event`]: one record of a tracepoint of the driver (`driver/sys/trace.h`).

/// What happened. In the order in which it happens to a request, for equal times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A call begins.
    Enter,
    /// The device is told to carry bytes.
    Transfer,
    /// The hard interrupt handler runs.
    Interrupt,
    /// The bottom half runs.
    BottomHalfBegin,
    /// A sleeper is woken.
    Wake,
    /// The bottom half is done.
    BottomHalfEnd,
    /// A task gives up the processor.
    Sleep,
    /// It runs again.
    Awake,
    /// A call ends.
    Leave,
}

impl Kind {
    /// All of them, with their names below `events/kpipe/`.
    pub const NAMES: [(Self, &'static str); 9] = [
        (Self::Enter, "kpipe_enter"),
        (Self::Transfer, "kpipe_transfer"),
        (Self::Interrupt, "kpipe_interrupt"),
        (Self::BottomHalfBegin, "kpipe_bottom_half_begin"),
        (Self::Wake, "kpipe_wake"),
        (Self::BottomHalfEnd, "kpipe_bottom_half_end"),
        (Self::Sleep, "kpipe_sleep"),
        (Self::Awake, "kpipe_awake"),
        (Self::Leave, "kpipe_leave"),
    ];
}

/// The kind of call that an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// read(2) and its relatives.
    Read,
    /// write(2) and its relatives.
    Write,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// `CLOCK_MONOTONIC`, in nanoseconds.
    pub time_ns: u64,
    /// The processor.
    pub cpu: u32,
    /// The task that ran there: for an interrupt, the one that it interrupted.
    pub pid: i32,
    /// Did it run in a hard or soft interrupt, and not in that task?
    pub is_in_interrupt: bool,
    /// What happened.
    pub kind: Kind,
    /// The number of the queue; -1 for a private one.
    pub queue: i32,
    /// The number of the request; 0: unknown.
    pub request: u64,
    /// Bytes that it is about.
    pub bytes: u64,
    /// For the kinds that are about a call (or whom it wakes).
    pub side: Option<Side>,
    /// For [`Kind::Leave`]: bytes, or an errno below 0.
    pub result: Option<i64>,
}

// SPDX-License-Identifier: GPL-2.0

//! What is on its way between a writer and a reader: the state machine of one link.
//!
//! A [`Link`] stands between the part of a ring that is written and the part that has arrived. Each
//! write adds a request; a [`Block`] of them is carried at a time: `Idle -> Busy -> Idle`, or `Gone`
//! when the device leaves. The bytes of a request become visible together, so that an atomic write
//! stays one. `transport.rs` says who carries.

use crate::model::ring;

/// Requests that are told apart. A link with more joins the newest ones, which then arrive together.
const MOST_REQUESTS: usize = 16;

/// Bytes that travel in one transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Ring index of the first byte.
    pub start: u32,
    /// Length in bytes, never 0.
    pub len_bytes: usize,
    /// The oldest request in it.
    pub request: Request,
}

/// What one write (or one piece of a long one) adds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Ring index behind the last byte.
    pub end: u32,
    /// Records in it, in a ring of records.
    pub records: u32,
    /// Of the tracepoints; 0 without tracing.
    pub number: u64,
    /// When it was submitted, in nanoseconds.
    pub submitted_ns: i64,
}

/// What a completed transfer leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Everything before this ring index has arrived.
    pub head: u32,
    /// Records that arrived.
    pub records: u32,
    /// The transfer to start next.
    pub next: Option<Block>,
}

/// The device is gone: nothing travels any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing is on its way.
    Idle,
    /// A transfer is in progress.
    Busy(Block),
    /// Until the link is [`reset`](Link::reset).
    Gone,
}

/// The requests on their way over one link, oldest first.
///
/// # Invariants
///
/// While `state` is `Busy`, `len > 0`; while it is `Idle`, `len == 0`. The block starts at `carried`.
#[derive(Debug)]
pub struct Link {
    requests: [Request; MOST_REQUESTS],
    /// Place of the oldest.
    first: usize,
    len: usize,
    state: State,
    /// Everything before this ring index has been carried: the last request of which may have more.
    carried: u32,
    /// Everything before this ring index has arrived.
    head: u32,
    /// Most bytes of one transfer.
    most_bytes: usize,
}

impl Link {
    /// An idle link.
    pub const fn new() -> Self {
        const NONE: Request = Request {
            end: 0,
            records: 0,
            number: 0,
            submitted_ns: 0,
        };
        Self {
            requests: [NONE; MOST_REQUESTS],
            first: 0,
            len: 0,
            state: State::Idle,
            carried: 0,
            head: 0,
            most_bytes: 0,
        }
    }

    /// Forgets everything. What comes next starts at ring index `head`, in transfers of at most
    /// `most_bytes`.
    pub fn reset(&mut self, head: u32, most_bytes: usize) {
        *self = Self {
            carried: head,
            head,
            most_bytes,
            ..Self::new()
        };
    }

    /// Adds a request behind the others. Returns the transfer to start, if none is in progress.
    pub fn submit(&mut self, request: Request) -> Result<Option<Block>, Gone> {
        if self.state == State::Gone {
            return Err(Gone);
        }
        if self.len == MOST_REQUESTS {
            let last = self.at(self.len - 1);
            let joined = &mut self.requests[last];
            joined.end = request.end;
            // Counts modulo 2^32, as the sides of the ring do.
            joined.records = joined.records.wrapping_add(request.records);
        } else {
            let free = self.at(self.len);
            self.requests[free] = request;
            self.len += 1;
        }
        match self.state {
            State::Idle => Ok(self.next_block()),
            State::Busy(_) | State::Gone => Ok(None),
        }
    }

    /// The transfer in progress.
    pub fn current(&self) -> Option<Block> {
        match self.state {
            State::Busy(block) => Some(block),
            State::Idle | State::Gone => None,
        }
    }

    /// The transfer in progress is over. `None`: there is none.
    pub fn complete(&mut self) -> Option<Arrival> {
        let block = self.current()?;
        self.carried = ring::advance(block.start, block.len_bytes);
        let mut records: u32 = 0;
        while self.len > 0 && ring::is_drained(self.requests[self.first].end, self.carried) {
            let request = self.requests[self.first];
            records = records.wrapping_add(request.records);
            self.head = request.end;
            self.first = self.at(1);
            self.len -= 1;
        }
        Some(Arrival {
            head: self.head,
            records,
            next: self.next_block(),
        })
    }

    /// The device is gone, and with it what was on its way.
    pub fn fail(&mut self) {
        self.len = 0;
        self.state = State::Gone;
    }

    fn next_block(&mut self) -> Option<Block> {
        if self.len == 0 {
            self.state = State::Idle;
            return None;
        }
        let end = self.requests[self.at(self.len - 1)].end;
        let block = Block {
            start: self.carried,
            len_bytes: ring::queued_bytes(end, self.carried).min(self.most_bytes),
            request: self.requests[self.first],
        };
        self.state = State::Busy(block);
        Some(block)
    }

    /// Place of the request that is `behind` the oldest.
    fn at(&self, behind: usize) -> usize {
        (self.first + behind) % MOST_REQUESTS
    }
}

impl Default for Link {
    fn default() -> Self {
        Self::new()
    }
}

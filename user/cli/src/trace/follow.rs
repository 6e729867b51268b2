// SPDX-License-Identifier: MIT

//! [`Trace`]: finds the events of one request among those of all.
//!
//! A request is one call of write(2), and with it the read(2) that got its bytes as far as the events tell:
//! the one that it woke, or else the next one of the queue.

use super::event::{Event, Kind, Side};
use super::timeline::Timeline;
use std::collections::HashMap;

/// A sleep of a reader: places of events.
struct Nap {
    sleep: usize,
    awake: usize,
}

/// All events, in the order of time, and where to find them.
pub struct Trace<'a> {
    events: &'a [Event],
    /// Places of the events of each request.
    of_request: HashMap<u64, Vec<usize>>,
    /// Places of read calls that begin, for each queue.
    reads: HashMap<i32, Vec<usize>>,
    /// Sleeps of readers, for each queue, in the order of their ends.
    naps: HashMap<i32, Vec<Nap>>,
}

impl<'a> Trace<'a> {
    /// `events` are in the order of time.
    pub fn new(events: &'a [Event]) -> Self {
        let mut trace = Self {
            events,
            of_request: HashMap::new(),
            reads: HashMap::new(),
            naps: HashMap::new(),
        };
        let mut asleep = HashMap::new();
        for (place, event) in events.iter().enumerate() {
            if event.request != 0 {
                trace
                    .of_request
                    .entry(event.request)
                    .or_default()
                    .push(place);
            }
            match (event.kind, event.side) {
                (Kind::Enter, Some(Side::Read)) => {
                    trace.reads.entry(event.queue).or_default().push(place);
                }
                (Kind::Sleep, Some(Side::Read)) => {
                    asleep.insert(event.pid, place);
                }
                (Kind::Awake, Some(Side::Read)) => {
                    if let Some(sleep) = asleep.remove(&event.pid) {
                        let nap = Nap {
                            sleep,
                            awake: place,
                        };
                        trace.naps.entry(event.queue).or_default().push(nap);
                    }
                }
                _ => {}
            }
        }
        trace
    }

    /// Every write that is there from its begin to its end.
    pub fn writes(&self) -> Vec<Timeline> {
        let enters = self.events.iter().filter(|event| event.kind == Kind::Enter);
        let writes = enters.filter(|event| event.side == Some(Side::Write));
        writes
            .filter_map(|event| self.timeline(event.request))
            .collect()
    }

    /// The life of the write `request`; for a read, that of the write that woke it, or else of the
    /// call alone. `None`: it is not there from its begin to its end.
    pub fn timeline(&self, request: u64) -> Option<Timeline> {
        let own = self.of_request.get(&request)?;
        let enter = *own
            .iter()
            .find(|&&place| self.events[place].kind == Kind::Enter)?;
        let leave = *own
            .iter()
            .find(|&&place| self.events[place].kind == Kind::Leave)?;
        let side = self.events[enter].side?;
        if side == Side::Read {
            let woken_by = self.waker(own).and_then(|write| self.timeline(write));
            if woken_by.is_some() {
                return woken_by;
            }
        }
        let mut places = own.clone();
        if side == Side::Write {
            places.extend(self.reader(own, self.events[enter].queue));
        }
        places.sort_unstable();
        places.dedup();
        let events: Vec<&Event> = places.iter().map(|&place| &self.events[place]).collect();
        let (enter, leave) = (&self.events[enter], &self.events[leave]);
        Some(Timeline::draw(&events, enter, leave, side))
    }

    /// The write that woke the read with the events `own`.
    fn waker(&self, own: &[usize]) -> Option<u64> {
        let awake = *own
            .iter()
            .find(|&&place| self.events[place].kind == Kind::Awake)?;
        let before = self.events[..awake].iter().rev();
        let woken = |event: &&Event| {
            event.kind == Kind::Wake
                && event.side == Some(Side::Read)
                && event.queue == self.events[awake].queue
        };
        Some(before.clone().find(woken)?.request).filter(|&request| request != 0)
    }

    /// Places of the events of the read that got the bytes of the write with the events `own`.
    fn reader(&self, own: &[usize], queue: i32) -> Vec<usize> {
        let wake = own.iter().copied().find(|&place| {
            let event = &self.events[place];
            event.kind == Kind::Wake && event.side == Some(Side::Read)
        });
        let nap = wake.and_then(|wake| {
            let naps = self.naps.get(&queue)?;
            let later = naps.partition_point(|nap| nap.awake < wake);
            naps[later..].iter().find(|nap| nap.sleep < wake)
        });
        if let Some(nap) = nap {
            let request = match self.events[nap.awake].request {
                // splice(2) has waited, and reads now.
                0 => self.next_read(queue, nap.awake, Some(self.events[nap.awake].pid)),
                request => Some(request),
            };
            let rest = self.until_leave(request, nap.awake);
            return [nap.awake].into_iter().chain(rest).collect();
        }
        // Nobody slept: the next one that comes.
        let after = wake.or(own.last().copied()).unwrap_or(0);
        self.until_leave(self.next_read(queue, after, None), after)
    }

    /// The first read of a queue that begins after a place (by `pid`).
    fn next_read(&self, queue: i32, after: usize, pid: Option<i32>) -> Option<u64> {
        let reads = self.reads.get(&queue)?;
        let later = &reads[reads.partition_point(|&place| place < after)..];
        let by = |&&place: &&usize| pid.is_none_or(|pid| self.events[place].pid == pid);
        later
            .iter()
            .find(by)
            .map(|&place| self.events[place].request)
    }

    /// Places of what a read itself does after a place.
    fn until_leave(&self, request: Option<u64>, after: usize) -> Vec<usize> {
        let own = request.and_then(|request| self.of_request.get(&request));
        let later = own.into_iter().flatten().copied();
        later.filter(|&place| place >= after).collect()
    }
}

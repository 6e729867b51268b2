// SPDX-License-Identifier: MIT

//! [`Timeline`]: the life of one request, in lanes. `follow.rs` finds its events.

use super::event::{Event, Kind, Side};
use nix::errno::Errno;
use serde::Serialize;

/// The life of one request. Times are in nanoseconds since it began.
#[derive(Debug, Serialize)]
pub struct Timeline {
    /// Its number.
    pub request: u64,
    /// What it is.
    pub side: Side,
    /// The number of the queue; -1: a private one.
    pub queue: i32,
    /// The task that made the call.
    pub pid: i32,
    /// Bytes that it asks for.
    pub bytes: u64,
    /// Bytes that it moved, or an errno below 0.
    pub result: i64,
    /// When it began, in nanoseconds of `CLOCK_MONOTONIC`.
    pub start_ns: u64,
    /// To the last step.
    pub total_ns: u64,
    /// Who took part, in the order of their parts.
    pub lanes: Vec<String>,
    /// What happened.
    pub steps: Vec<Step>,
    /// What took time.
    pub spans: Vec<Span>,
}

/// One thing that happened.
#[derive(Debug, Serialize)]
pub struct Step {
    /// Where: the place in [`Timeline::lanes`].
    pub lane: usize,
    /// The name of the event, without its prefix.
    pub event: &'static str,
    /// In words.
    pub what: String,
    /// Since the request began.
    pub at_ns: u64,
    /// Since the step before.
    pub after_ns: u64,
    /// The place in [`Timeline::steps`] of what brought it about, where another lane did.
    pub cause: Option<usize>,
    #[serde(skip)]
    kind: Kind,
    #[serde(skip)]
    side: Option<Side>,
}

/// Something that took time.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Span {
    /// Where: the place in [`Timeline::lanes`].
    pub lane: usize,
    /// What.
    pub what: Activity,
    /// Since the request began.
    pub from_ns: u64,
    /// Since the request began.
    pub to_ns: u64,
}

/// What takes time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activity {
    /// A system call.
    Call,
    /// Within it: without the processor.
    Sleep,
    /// The bottom half.
    BottomHalf,
}

/// Who takes part, in the order of the lanes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    Writer(i32),
    Interrupt(u32),
    BottomHalf,
    Reader(i32),
}

impl Lane {
    fn name(self) -> String {
        match self {
            Self::Writer(pid) => format!("writer {pid}"),
            Self::Interrupt(cpu) => format!("interrupt cpu{cpu}"),
            Self::BottomHalf => "bottom half".into(),
            Self::Reader(pid) => format!("reader {pid}"),
        }
    }
}

impl Timeline {
    /// Puts the `events` of a request into lanes. `first` and `last` are its own begin and end.
    pub fn draw(events: &[&Event], first: &Event, last: &Event, side: Side) -> Self {
        let start_ns = first.time_ns;
        let mut drawn: Vec<(Lane, &Event)> = Vec::new();
        let mut in_bottom_half = None;
        for &event in events {
            let here = (event.cpu, event.pid);
            match event.kind {
                Kind::BottomHalfBegin => in_bottom_half = Some(here),
                Kind::BottomHalfEnd => in_bottom_half = None,
                _ => {}
            }
            let lane = match event.kind {
                Kind::Interrupt => Lane::Interrupt(event.cpu),
                Kind::BottomHalfBegin | Kind::BottomHalfEnd => Lane::BottomHalf,
                _ if event.is_in_interrupt || in_bottom_half == Some(here) => Lane::BottomHalf,
                _ if event.request != first.request => Lane::Reader(event.pid),
                // The thread of a bottom half that starts the next transfer.
                _ if event.pid != first.pid => Lane::BottomHalf,
                _ if side == Side::Read => Lane::Reader(event.pid),
                _ => Lane::Writer(event.pid),
            };
            drawn.push((lane, event));
        }
        let mut lanes: Vec<Lane> = drawn.iter().map(|(lane, _)| *lane).collect();
        lanes.sort_unstable();
        lanes.dedup();
        let mut steps: Vec<Step> = Vec::new();
        for (lane, event) in &drawn {
            let at_ns = event.time_ns.saturating_sub(start_ns);
            let name = Kind::NAMES.iter().find(|(kind, _)| *kind == event.kind);
            steps.push(Step {
                lane: lanes.iter().position(|other| other == lane).unwrap_or(0),
                event: name.map_or("", |(_, name)| name.trim_start_matches("kpipe_")),
                what: words(event),
                at_ns,
                after_ns: at_ns - steps.last().map_or(0, |step| step.at_ns),
                cause: cause(&steps, event),
                kind: event.kind,
                side: event.side,
            });
        }
        Self {
            request: first.request,
            side,
            queue: first.queue,
            pid: first.pid,
            bytes: first.bytes,
            result: last.result.unwrap_or(0),
            start_ns,
            total_ns: steps.last().map_or(0, |step| step.at_ns),
            spans: spans(&steps, lanes.len()),
            lanes: lanes.into_iter().map(Lane::name).collect(),
            steps,
        }
    }

    /// Time from the first event of one kind (about a call of `side`) to the next one of another.
    pub fn between(&self, from: (Kind, Option<Side>), to: Kind) -> Option<u64> {
        let is_from =
            |step: &&Step| step.kind == from.0 && (from.1.is_none() || step.side == from.1);
        let from = self.steps.iter().find(is_from)?.at_ns;
        let is_to = |step: &&Step| step.kind == to && step.at_ns >= from;
        Some(self.steps.iter().find(is_to)?.at_ns - from)
    }

    /// Did it wake a reader that runs later?
    pub fn wakes_reader(&self) -> bool {
        let woken = |step: &Step| step.kind == Kind::Awake && step.side == Some(Side::Read);
        self.steps.iter().any(woken)
    }
}

/// Of the requests that woke a reader (or of all, if none did) the one with the median time.
pub fn median(timelines: &[Timeline]) -> Option<&Timeline> {
    let mut chosen: Vec<&Timeline> = timelines.iter().filter(|one| one.wakes_reader()).collect();
    if chosen.is_empty() {
        chosen = timelines.iter().collect();
    }
    chosen.sort_by_key(|one| one.total_ns);
    chosen.get(chosen.len().saturating_sub(1) / 2).copied()
}

/// Which of the `steps` brought an event about.
fn cause(steps: &[Step], event: &Event) -> Option<usize> {
    let (kind, side) = match event.kind {
        Kind::Interrupt => (Kind::Transfer, None),
        Kind::BottomHalfBegin => (Kind::Interrupt, None),
        Kind::Awake => (Kind::Wake, event.side),
        _ => return None,
    };
    let brings = |step: &Step| step.kind == kind && step.side == side;
    steps.iter().rposition(brings)
}

/// What took time in each lane.
fn spans(steps: &[Step], lanes: usize) -> Vec<Span> {
    let mut spans = Vec::new();
    for lane in 0..lanes {
        let (mut called, mut asleep, mut begun) = (None, None, None);
        for step in steps.iter().filter(|step| step.lane == lane) {
            let mut add = |what, from_ns| {
                spans.push(Span {
                    lane,
                    what,
                    from_ns,
                    to_ns: step.at_ns,
                });
            };
            match step.kind {
                Kind::Enter => called = Some(step.at_ns),
                Kind::Sleep => asleep = Some(step.at_ns),
                // A reader slept before the request began.
                Kind::Awake => {
                    add(Activity::Sleep, asleep.take().unwrap_or(0));
                    called.get_or_insert(0);
                }
                Kind::BottomHalfBegin => begun = Some(step.at_ns),
                Kind::BottomHalfEnd => {
                    if let Some(from_ns) = begun.take() {
                        add(Activity::BottomHalf, from_ns);
                    }
                }
                Kind::Leave => {
                    if let Some(from_ns) = called.take() {
                        add(Activity::Call, from_ns);
                    }
                }
                Kind::Transfer | Kind::Interrupt | Kind::Wake => {}
            }
        }
    }
    // Calls first: what happens within them is drawn over them.
    spans.sort_by_key(|span| (span.lane, span.what != Activity::Call, span.from_ns));
    spans
}

/// An event in words; its lane says who.
fn words(event: &Event) -> String {
    let call = match event.side {
        Some(Side::Read) => "read",
        _ => "write",
    };
    let bytes = event.bytes;
    match event.kind {
        Kind::Enter => format!("enters {call}, {bytes} B"),
        Kind::Transfer => format!("starts a transfer, {bytes} B"),
        Kind::Interrupt => "hard interrupt".into(),
        Kind::BottomHalfBegin => "begins".into(),
        Kind::BottomHalfEnd => format!("ends, {bytes} B arrived"),
        Kind::Wake => match event.side {
            Some(Side::Read) => "wakes a reader".into(),
            _ => "wakes a writer".into(),
        },
        Kind::Sleep => "sleeps".into(),
        Kind::Awake => "runs again".into(),
        Kind::Leave => match event.result.unwrap_or(0) {
            moved @ 0.. => format!("leaves {call}, {moved} B"),
            errno => format!("leaves {call}, {:?}", Errno::from_raw(-errno as i32)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::follow::Trace;
    use super::super::sample;
    use super::*;

    fn names(timeline: &Timeline) -> Vec<(&str, &str)> {
        let steps = timeline.steps.iter();
        steps
            .map(|step| (timeline.lanes[step.lane].as_str(), step.event))
            .collect()
    }

    #[test]
    fn a_write_is_followed_to_the_read_that_it_wakes() {
        let events = sample::events();
        assert_eq!(events.len(), 32);
        let timeline = Trace::new(&events).timeline(2).unwrap();
        let expected = [
            ("writer 136", "enter"),
            ("writer 136", "transfer"),
            ("writer 136", "sleep"),
            ("interrupt cpu1", "interrupt"),
            ("bottom half", "bottom_half_begin"),
            ("bottom half", "wake"),
            ("bottom half", "wake"),
            ("bottom half", "bottom_half_end"),
            ("reader 137", "awake"),
            ("reader 137", "leave"),
            ("writer 136", "awake"),
            ("writer 136", "leave"),
        ];
        assert_eq!(names(&timeline), expected);
        assert_eq!((timeline.bytes, timeline.result, timeline.queue), (6, 6, 0));
        assert_eq!(timeline.total_ns, 15_300_593_097 - 15_269_822_090);
        assert_eq!(timeline.steps[1].after_ns, 726_672);
        let causes: Vec<_> = timeline
            .steps
            .iter()
            .filter_map(|step| step.cause)
            .collect();
        // Of the interrupt, the bottom half, the reader and the writer.
        assert_eq!(causes, [1, 3, 5, 6]);
    }

    #[test]
    fn stages_are_the_times_between_events() {
        let events = sample::events();
        let timeline = Trace::new(&events).timeline(4).unwrap();
        let wake = (Kind::Wake, Some(Side::Read));
        assert_eq!(timeline.between(wake, Kind::Awake), Some(233_107));
        let transfer = (Kind::Transfer, None);
        assert_eq!(timeline.between(transfer, Kind::Interrupt), Some(289_925));
        assert_eq!(timeline.between(transfer, Kind::Enter), None);
    }

    #[test]
    fn spans_are_calls_sleeps_and_the_bottom_half() {
        let events = sample::events();
        let timeline = Trace::new(&events).timeline(4).unwrap();
        let spans: Vec<_> = timeline
            .spans
            .iter()
            .map(|span| (span.lane, span.what))
            .collect();
        let expected = [
            (0, Activity::Call),
            (0, Activity::Sleep),
            (2, Activity::BottomHalf),
            (3, Activity::Call),
            (3, Activity::Sleep),
        ];
        assert_eq!(spans, expected);
        assert_eq!(timeline.spans[0].to_ns, timeline.total_ns);
        assert_eq!(timeline.spans[4].from_ns, 0, "the reader slept before");
    }

    #[test]
    fn a_read_is_shown_with_the_write_that_woke_it() {
        let events = sample::events();
        let trace = Trace::new(&events);
        assert_eq!(trace.timeline(3).unwrap().request, 4);
        assert!(trace.timeline(99).is_none());
    }

    #[test]
    fn the_median_is_one_of_those_that_woke_a_reader() {
        let events = sample::events();
        let writes = Trace::new(&events).writes();
        let requests: Vec<_> = writes.iter().map(|write| write.request).collect();
        assert_eq!(requests, [2, 4]);
        assert_eq!(median(&writes).unwrap().request, 4, "the lower one of two");
        assert!(median(&[]).is_none());
    }

    #[test]
    fn a_request_without_its_end_is_none() {
        let events = sample::events();
        let cut = &events[..10];
        assert!(Trace::new(cut).writes().is_empty());
    }
}

// SPDX-License-Identifier: MIT

//! Timelines as text: one with all its steps, or many with a line each.

use super::event::{Kind, Side};
use super::timeline::Timeline;
use crate::terminal::{Align, Table};
use crate::units::{micros, short_bytes};
use nix::errno::Errno;

/// All steps of one request.
pub fn timeline(timeline: &Timeline) -> String {
    let mut table = Table::new(&[
        ("SINCE START", Align::Right),
        ("SINCE LAST", Align::Right),
        ("WHERE", Align::Left),
        ("WHAT", Align::Left),
    ]);
    for step in &timeline.steps {
        table.row([
            micros(step.at_ns),
            micros(step.after_ns),
            timeline.lanes[step.lane].clone(),
            step.what.clone(),
        ]);
    }
    format!("{}\n{}", title(timeline), table.render())
}

/// What a picture and a table of one request have above them.
pub fn title(timeline: &Timeline) -> String {
    let call = match timeline.side {
        Side::Read => "read",
        Side::Write => "write",
    };
    let queue = queue(timeline.queue);
    let (request, bytes) = (timeline.request, timeline.bytes);
    let total = micros(timeline.total_ns);
    format!("Request {request}: {call} of {bytes} B, {queue}, {total}")
}

/// One line for each request. Stages are those of `kpipe stat --stages`.
pub fn list(timelines: &[&Timeline]) -> String {
    const TRANSFER: (Kind, Option<Side>) = (Kind::Transfer, None);
    let stages = [
        ("QUEUED", (Kind::Enter, None), Kind::Transfer),
        ("DEVICE", TRANSFER, Kind::Interrupt),
        ("DEFERRED", (Kind::Interrupt, None), Kind::BottomHalfBegin),
        (
            "BOTTOM HALF",
            (Kind::BottomHalfBegin, None),
            Kind::BottomHalfEnd,
        ),
        ("WAKEUP", (Kind::Wake, Some(Side::Read)), Kind::Awake),
    ];
    let left = [
        ("REQUEST", Align::Right),
        ("QUEUE", Align::Left),
        ("PID", Align::Right),
    ];
    let right = [("RESULT", Align::Right), ("TOTAL", Align::Right)];
    let columns = stages.map(|(name, ..)| (name, Align::Right));
    let mut table = Table::new(&[&left[..], &right, &columns].concat());
    for timeline in timelines {
        let result = match timeline.result {
            moved @ 0.. => short_bytes(moved as u64),
            errno => format!("{:?}", Errno::from_raw(-errno as i32)),
        };
        let known = [
            timeline.request.to_string(),
            queue(timeline.queue),
            timeline.pid.to_string(),
            result,
            micros(timeline.total_ns),
        ];
        let times =
            stages.map(|(_, from, to)| timeline.between(from, to).map_or("-".into(), micros));
        table.row(known.into_iter().chain(times));
    }
    table.render()
}

fn queue(index: i32) -> String {
    match index {
        0.. => format!("/dev/kpipe{index}"),
        _ => "a private queue".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::follow::Trace;
    use super::super::sample;
    use super::*;

    #[test]
    fn one_request_has_a_line_for_each_step() {
        let text = timeline(&Trace::new(&sample::events()).timeline(4).unwrap());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            "Request 4: write of 12 B, /dev/kpipe0, 10322.614 us"
        );
        assert_eq!(lines.len(), 2 + 12);
        let words: Vec<&str> = lines[5].split_whitespace().collect();
        let expected = "324.974 us 244.708 us interrupt cpu1 hard interrupt";
        assert_eq!(words.join(" "), expected);
        assert!(lines[13].ends_with("leaves write, 12 B"), "{text}");
    }

    #[test]
    fn a_list_has_a_line_for_each_request() {
        let events = sample::events();
        let writes = Trace::new(&events).writes();
        let text = list(&writes.iter().collect::<Vec<_>>());
        assert_eq!(text.lines().count(), 1 + 2, "{text}");
        let last = text.lines().last().unwrap();
        let start = "4 /dev/kpipe0 136 12 10322.614 us 35.049 us";
        let words: Vec<&str> = last.split_whitespace().collect();
        assert!(words.join(" ").starts_with(start), "{text}");
        assert!(last.ends_with("233.107 us"), "{text}");
    }
}

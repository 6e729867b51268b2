// SPDX-License-Identifier: MIT

//! A recorded trace for the tests: `cat` reads a doorbell queue, and a shell writes `hello` and
//! `hello-again` to it. The formats of the events and a page of each processor's buffer, as tracefs gave them.

use super::event::{Event, Kind};
use super::parse::Formats;

const FORMATS: &str = include_str!("sample/formats");
const PAGES: [&[u8]; 2] = [
    include_bytes!("sample/cpu0.page"),
    include_bytes!("sample/cpu1.page"),
];

/// Its events, in the order of time.
pub fn events() -> Vec<Event> {
    let mut formats = Formats::default();
    for text in FORMATS.split("name: ").skip(1) {
        let name = text.lines().next().unwrap();
        let kind = Kind::NAMES.iter().find(|(_, known)| *known == name);
        formats.add(kind.unwrap().0, text).unwrap();
    }
    let pages = PAGES.iter().zip(0..);
    let mut events: Vec<Event> = pages
        .flat_map(|(page, cpu)| formats.events_of_page(page, cpu).unwrap())
        .collect();
    events.sort_by_key(|event| (event.time_ns, event.kind));
    events
}

// SPDX-License-Identifier: MIT

//! `kpipe lesson` on the host: every lesson over everything that needs no device.

use crate::support::{assert_fails, stdout, Place};
use kpipe_lessons::proof::prove;
use kpipe_lessons::{Lesson, Over, LESSONS};
use std::path::Path;

/// Everything that the host has: the device is in the VM, and there `kpipe-net-tests` does the same.
fn prove_without_device(row: u8) {
    let lesson = Lesson::find(&row.to_string()).expect("a lesson of this row");
    let overs = lesson.over.iter().filter(|over| **over != Over::Device);
    let overs: Vec<_> = overs.filter(|over| over.check().is_ok()).collect();
    assert!(!overs.is_empty(), "nothing but the device");
    for over in overs {
        prove(Path::new(env!("CARGO_BIN_EXE_kpipe")), lesson, *over)
            .unwrap_or_else(|why| panic!("{} over {over}: {why}", lesson.name));
    }
}

/// A test for each lesson, by the name of the lesson.
macro_rules! lessons {
    ($($name:ident: $row:literal),* $(,)?) => {
        $(#[test]
        fn $name() {
            assert_eq!(Lesson::find(stringify!($name)).map(|lesson| lesson.row), Some($row));
            prove_without_device($row);
        })*
        const TESTED: &[u8] = &[$($row),*];
    };
}

lessons! {
    buffered: 1,
    checks: 2,
    inherit: 7,
    file: 8,
    bounded: 9,
    family: 10,
    ends: 11,
    framing: 12,
    duplex: 13,
    sockets: 14,
    names: 15,
    connections: 16,
    echo: 17,
    servers: 18,
    workers: 19,
    web: 20,
    signals: 21,
    daemon: 22,
}

#[test]
fn every_lesson_has_a_test() {
    let rows: Vec<_> = LESSONS.iter().map(|lesson| lesson.row).collect();
    assert_eq!(rows, TESTED);
}

#[test]
fn the_list_has_every_lesson_and_its_row() {
    let list = stdout(&Place::new().run(&["lesson"]));
    for lesson in LESSONS {
        let line = list
            .lines()
            .find(|line| line.contains(&format!(" {} ", lesson.name)));
        let line = line.unwrap_or_else(|| panic!("{} is not in: {list}", lesson.name));
        assert!(
            line.trim_start().starts_with(&format!("{} ", lesson.row)),
            "{line}"
        );
    }
}

#[test]
fn a_person_reads_what_happens_and_where_to_read_on() {
    let output = Place::new().run(&["lesson", "9", "--over", "pipe"]);
    let text = stdout(&output);
    for words in [
        "user/lessons/src/bounded.rs",
        "driver/pipe/read.rs",
        "asleep in: read(2)",
        "= 5 \"hello\"",
    ] {
        assert!(text.contains(words), "{words:?} is not in: {text}");
    }
}

#[test]
fn wrong_names_are_refused() {
    let place = Place::new();
    assert_fails(
        &place.run(&["lesson", "3"]),
        1,
        &["3: no lesson", "kpipe lesson"],
    );
    assert_fails(
        &place.run(&["lesson", "bounded", "--over", "udp"]),
        1,
        &["device, pipe"],
    );
    assert_fails(
        &place.run(&["lesson", "bounded", "--over", "paper"]),
        2,
        &["one of: device"],
    );
    assert_fails(&place.run(&["lesson", "--over", "pipe"]), 2, &["LESSON"]);
}

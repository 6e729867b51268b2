// SPDX-License-Identifier: MIT

//! docs/concepts.md keeps what it promises: each command, test and place that it names is there.

use crate::support::{stderr, Place};
use kpipe_lessons::{Lesson, LESSONS};
use std::path::{Path, PathBuf};

/// A row of the table.
struct Row {
    number: u8,
    command: String,
    test: String,
    place: String,
}

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

fn rows() -> Vec<Row> {
    let text = std::fs::read_to_string(docs().join("concepts.md")).unwrap();
    let rows = text.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ");
        let number = cells.next()?.parse().ok()?;
        let [_idea, command, test, place] = [(); 4].map(|()| cells.next().unwrap().to_owned());
        Some(Row {
            number,
            command,
            test,
            place,
        })
    });
    rows.collect()
}

/// The links of a cell: text and target.
fn links(cell: &str) -> Vec<(&str, &str)> {
    let parts = cell.split('[').skip(1);
    let links = parts.filter_map(|part| part.split_once(')')?.0.split_once("]("));
    links.collect()
}

/// What stands between backticks.
fn codes(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

#[test]
fn every_row_is_there() {
    let numbers: Vec<u8> = rows().iter().map(|row| row.number).collect();
    let expected: Vec<u8> = (1..=23).collect();
    assert_eq!(numbers, expected);
}

#[test]
fn every_lesson_stands_in_its_row() {
    let all = rows();
    for lesson in LESSONS {
        let row = all.iter().find(|row| row.number == lesson.row);
        let row = row.unwrap_or_else(|| panic!("no row {} for {}", lesson.row, lesson.name));
        let command = format!("kpipe lesson {}", lesson.name);
        assert!(codes(&row.command).contains(&command.as_str()), "{command}");
        assert!(
            row.place.contains(&format!("(../{})", lesson.source)),
            "{command}"
        );
    }
}

#[test]
fn every_command_is_there() {
    let place = Place::new();
    for row in rows() {
        let commands = codes(&row.command);
        assert!(!commands.is_empty(), "row {}", row.number);
        for command in commands {
            let mut words = command.split(' ');
            match (words.next(), words.next()) {
                (Some("kpipe"), Some("lesson")) => {
                    let name = words.next().unwrap_or_default();
                    assert!(Lesson::find(name).is_some(), "{command}");
                }
                (Some("kpipe"), Some(verb)) => {
                    let output = place.run(&[verb, "--help"]);
                    assert!(output.status.success(), "{command}: {}", stderr(&output));
                }
                (Some("make"), Some(target)) => {
                    let makefile = std::fs::read_to_string(docs().join("../Makefile")).unwrap();
                    assert!(makefile.contains(&format!("\n{target}:")), "{command}");
                }
                _ => panic!("row {}: {command:?} is no command of ours", row.number),
            }
        }
    }
}

#[test]
fn every_place_and_test_is_there() {
    for row in rows() {
        let (tests, places) = (links(&row.test), links(&row.place));
        assert!(
            !tests.is_empty() && !places.is_empty(),
            "row {}",
            row.number
        );
        for (text, target) in tests.iter().chain(&places) {
            assert!(
                docs().join(target).exists(),
                "row {}: {text} {target}",
                row.number
            );
        }
        for (name, target) in tests {
            let name = name.trim_matches('`');
            let text = std::fs::read_to_string(docs().join(target)).unwrap();
            let mut words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
            assert!(
                words.any(|word| word == name),
                "row {}: {name} in {target}",
                row.number
            );
        }
    }
}

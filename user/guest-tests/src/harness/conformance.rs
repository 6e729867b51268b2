// SPDX-License-Identifier: MIT

//! The facts as a table: one row for each, one column for each subject.
//!
//! Only facts that a queue of the kernel can be asked for too are in it. A cell is `same` as a pipe,
//! `differs` in a way that `docs/differences.md` describes, `-` where the fact says nothing about the
//! subject, or `FAILED`.

use std::collections::BTreeMap;
use std::process::ExitCode;

use serde_json::{json, Value};

use super::table::{Body, Case};
use super::{aftermath, run_watched, Test, Verdict};
use crate::differences;
use crate::tools::subject::Subject;

/// First argument of the program for this table; then `--json` if wanted, then filters.
pub const ARGUMENT: &str = "--conformance";

/// What came of a fact on a subject.
enum Cell {
    Same,
    Differs(Vec<&'static str>),
    DoesNotApply(String),
    /// This kernel or machine lacks something.
    Skipped(String),
    Failed(String),
}

impl Cell {
    fn of(test: &'static Test, subject: Subject, sockets: &'static str) -> Self {
        if let Some(reason) = test.reason_against(subject, sockets) {
            return Cell::DoesNotApply(reason.to_owned());
        }
        let subject = Some(subject);
        let case = Case { test, subject };
        let ids: Vec<_> = case.differences().map(|difference| difference.id).collect();
        match run_watched(case) {
            Verdict::Passed if ids.is_empty() => Cell::Same,
            Verdict::Passed => Cell::Differs(ids),
            Verdict::Skipped(reason) => Cell::Skipped(reason),
            Verdict::Failed(problems) => Cell::Failed(problems),
        }
    }

    fn outcome(&self) -> &'static str {
        match self {
            Cell::Same => "same",
            Cell::Differs(_) => "differs",
            Cell::DoesNotApply(_) => "does not apply",
            Cell::Skipped(_) => "skipped",
            Cell::Failed(_) => "FAILED",
        }
    }

    fn mark(&self) -> String {
        match self {
            Cell::Same => "same".to_owned(),
            Cell::Differs(ids) => format!("differs: {}", ids.join(", ")),
            Cell::DoesNotApply(_) => "-".to_owned(),
            Cell::Skipped(_) => "skipped".to_owned(),
            Cell::Failed(_) => "FAILED".to_owned(),
        }
    }

    fn to_json(&self) -> Value {
        let outcome = self.outcome();
        match self {
            Cell::Same => json!({ "outcome": outcome }),
            Cell::Differs(ids) => json!({ "outcome": outcome, "differences": ids }),
            Cell::DoesNotApply(reason) | Cell::Skipped(reason) => {
                json!({ "outcome": outcome, "reason": reason })
            }
            Cell::Failed(problems) => json!({ "outcome": outcome, "problems": problems }),
        }
    }
}

/// The widths of the columns: `differs: ` and the longest id of each subject.
const WIDTHS: [usize; 5] = [8, 19, 19, 19, 8];

/// What was seen, for the end of the table.
#[derive(Default)]
struct Totals {
    facts: usize,
    on_several: usize,
    cells: BTreeMap<(&'static str, String), usize>,
    problems: Vec<String>,
}

impl Totals {
    fn add(&mut self, test: &Test, cells: &[(Subject, Cell)]) {
        let applies = |cell: &Cell| !matches!(cell, Cell::DoesNotApply(_));
        let applied = cells.iter().filter(|(_, cell)| applies(cell)).count();
        self.facts += 1;
        self.on_several += usize::from(applied > 1);
        for (subject, cell) in cells {
            let key = (cell.outcome(), subject.to_string());
            *self.cells.entry(key).or_default() += 1;
            if let Cell::Failed(problems) = cell {
                let name = test.name();
                self.problems
                    .push(format!("{name}::{subject}:\n{problems}"));
            }
        }
    }

    fn count(&self, outcome: &'static str, subject: Subject) -> usize {
        let key = (outcome, subject.to_string());
        self.cells.get(&key).copied().unwrap_or_default()
    }
}

/// Runs the facts whose name contains one of `filters` (or all), and prints the table as it grows.
/// Fails if a cell is not explained.
pub fn run(
    sections: &'static [&'static [Test]],
    arguments: impl Iterator<Item = String>,
) -> ExitCode {
    let (flags, filters): (Vec<_>, Vec<_>) = arguments.partition(|word| word.starts_with('-'));
    if let Some(unknown) = flags.iter().find(|&flag| flag != "--json") {
        eprintln!("kpipe-tests: {ARGUMENT} knows --json and filters, not {unknown:?}");
        return ExitCode::from(2);
    }
    let is_json = !flags.is_empty();
    aftermath::adopt_orphans();
    let mut totals = Totals::default();
    let mut rows = Vec::new();
    for (heading, test) in facts(sections) {
        let name = test.name();
        if !filters.is_empty() && !filters.iter().any(|filter| name.contains(filter)) {
            continue;
        }
        let cell = |subject| (subject, Cell::of(test, subject, heading.sockets));
        let cells = Subject::ALL.map(cell);
        totals.add(test, &cells);
        if is_json {
            rows.push(row_of(heading, test, &cells));
        } else {
            heading.print_if_new();
            print_row(test, &cells);
        }
    }
    if totals.facts == 0 {
        eprintln!("kpipe-tests: no fact has one of {filters:?} in its name; kpipe-tests --list shows them");
        return ExitCode::FAILURE;
    }
    if is_json {
        print_json(rows, &totals);
    } else {
        print_end(&totals);
    }
    ExitCode::from(u8::from(!totals.problems.is_empty()))
}

/// Where a fact stands.
#[derive(Clone, Copy)]
struct Heading {
    title: &'static str,
    sockets: &'static str,
    sentence: &'static str,
}

/// The facts that a queue of the kernel can be asked for, and where they stand.
fn facts(sections: &'static [&'static [Test]]) -> impl Iterator<Item = (Heading, &'static Test)> {
    let mut heading = Heading {
        title: "",
        sockets: "",
        sentence: "",
    };
    let lines = sections.iter().flat_map(|section| section.iter());
    lines.filter_map(move |line| {
        match line.body {
            Body::Section { title, sockets } => {
                heading = Heading {
                    title,
                    sockets,
                    sentence: "",
                };
            }
            Body::Sentence(sentence) => heading.sentence = sentence,
            Body::Plain(_) => {}
            Body::Queue(_) => {
                let is_oracle = |s| matches!(s, Subject::Pipe | Subject::Fifo | Subject::Socket);
                return line.subjects().any(is_oracle).then_some((heading, line));
            }
        }
        None
    })
}

/// One text for each subject, padded.
fn in_columns(texts: impl Iterator<Item = String>) -> String {
    let padded = texts.zip(WIDTHS);
    padded.fold(String::new(), |line, (text, width)| {
        line + &format!("{text:width$}")
    })
}

fn print_row(test: &Test, cells: &[(Subject, Cell)]) {
    let marks = in_columns(cells.iter().map(|(_, cell)| cell.mark()));
    println!("{marks}{}", test.sentence());
}

impl Heading {
    fn print_if_new(self) {
        use std::sync::Mutex;
        static LAST: Mutex<(&str, &str)> = Mutex::new(("", ""));
        let mut last = LAST.lock().expect("nobody panics with this lock");
        if last.0 != self.title {
            let head = in_columns(Subject::ALL.iter().map(Subject::to_string));
            println!("\n== {} ==\n{head}", self.title);
        }
        if *last != (self.title, self.sentence) {
            println!("# {}", self.sentence);
        }
        *last = (self.title, self.sentence);
    }
}

fn print_end(totals: &Totals) {
    println!("\n== Counts ==");
    let head: String = Subject::ALL.map(|s| format!("{s:>8}")).concat();
    println!("{:16}{head}", "");
    for outcome in ["same", "differs", "does not apply", "skipped", "FAILED"] {
        let counts: String = Subject::ALL
            .map(|subject| format!("{:8}", totals.count(outcome, subject)))
            .concat();
        println!("{outcome:16}{counts}");
    }
    println!(
        "{} facts, {} of them on more than one subject",
        totals.facts, totals.on_several
    );
    println!("\n== Differences (docs/differences.md) ==");
    for difference in differences::ALL {
        println!("{:12}{}", difference.id, difference.sentence);
    }
    for problem in &totals.problems {
        println!("\n== FAILED == {problem}");
    }
}

fn row_of(heading: Heading, test: &Test, cells: &[(Subject, Cell)]) -> Value {
    let cells: serde_json::Map<_, _> = cells
        .iter()
        .map(|(subject, cell)| (subject.to_string(), cell.to_json()))
        .collect();
    json!({
        "section": heading.title,
        "rule": heading.sentence,
        "name": test.name(),
        "fact": test.sentence(),
        "cells": cells,
    })
}

fn print_json(rows: Vec<Value>, totals: &Totals) {
    let differences: Vec<_> = differences::ALL
        .iter()
        .map(|difference| {
            let on: Vec<_> = difference.on.iter().map(Subject::to_string).collect();
            json!({ "id": difference.id, "on": on, "sentence": difference.sentence })
        })
        .collect();
    let mut counts = serde_json::Map::new();
    for ((outcome, subject), count) in &totals.cells {
        let of_subject = counts.entry(subject.clone()).or_insert_with(|| json!({}));
        of_subject[*outcome] = json!(count);
    }
    let all = json!({
        "facts": rows,
        "fact_count": totals.facts,
        "facts_on_several_subjects": totals.on_several,
        "counts": counts,
        "differences": differences,
    });
    println!("{all}");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::tests::SECTIONS;

    /// The ids that are headings of docs/differences.md, `### id`, and the sentences below them.
    fn documented() -> Vec<(String, String)> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/differences.md");
        let text = std::fs::read_to_string(path).expect(path);
        let blocks = text.split("\n### ").skip(1);
        blocks
            .map(|block| {
                let mut lines = block.lines().filter(|line| !line.is_empty());
                let id = lines.next().unwrap_or_default().trim_matches('`');
                (id.to_owned(), lines.next().unwrap_or_default().to_owned())
            })
            .collect()
    }

    #[test]
    fn the_suite_and_the_page_know_the_same_differences() {
        let tests = SECTIONS.iter().flat_map(|tests| tests.iter());
        let used: BTreeSet<_> = tests
            .flat_map(|test| test.differences.iter().map(|d| d.id.to_owned()))
            .collect();
        let declared: BTreeSet<_> = differences::ALL.iter().map(|d| d.id.to_owned()).collect();
        let documented: BTreeSet<_> = documented().into_iter().map(|(id, _)| id).collect();
        assert_eq!(used, declared, "used by tests, declared in differences.rs");
        assert_eq!(documented, declared, "in docs/differences.md, declared");
    }

    #[test]
    fn the_page_says_the_same_of_each_difference() {
        for (id, sentence) in documented() {
            let declared = differences::ALL.iter().find(|d| d.id == id);
            assert_eq!(declared.map(|d| d.sentence), Some(&*sentence), "{id}");
        }
    }

    #[test]
    fn a_declared_difference_applies_to_a_subject_of_the_test() {
        for test in SECTIONS.iter().flat_map(|tests| tests.iter()) {
            for difference in test.differences {
                let mut subjects = test.subjects();
                assert!(
                    subjects.any(|subject| difference.on.contains(&subject)),
                    "{}: {} differs on none of its subjects",
                    test.name(),
                    difference.id
                );
            }
        }
    }

    #[test]
    fn every_fact_has_a_heading_and_every_dash_a_reason() {
        for (heading, test) in facts(SECTIONS) {
            let name = test.name();
            assert!(!heading.title.is_empty(), "{name} is in no section");
            assert!(!heading.sentence.is_empty(), "{name} is below no sentence");
            for subject in Subject::ALL {
                let reason = test.reason_against(subject, heading.sockets);
                assert_ne!(reason, Some(""), "{name} on {subject}");
            }
        }
    }

    #[test]
    fn at_least_150_facts_run_on_more_than_one_subject() {
        let several = facts(SECTIONS).filter(|(_, test)| test.subjects().count() > 1);
        let count = several.count();
        assert!(count >= 150, "{count}");
    }

    #[test]
    fn ids_fit_into_the_columns() {
        for test in SECTIONS.iter().flat_map(|tests| tests.iter()) {
            for (subject, width) in Subject::ALL.into_iter().zip(WIDTHS) {
                let subject = Some(subject);
                let case = Case { test, subject };
                let ids: Vec<_> = case.differences().map(|d| d.id).collect();
                let fits = ids.is_empty() || Cell::Differs(ids).mark().len() < width;
                assert!(fits, "{}", case.name());
            }
        }
    }
}

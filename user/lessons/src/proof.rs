// SPDX-License-Identifier: MIT

//! Proof of a lesson: runs `kpipe lesson` and compares what it prints with the transcript that stands beside
//! the lesson. The tests of the command do so on the host, those of `kpipe-net-tests` in the VM.
//!
//! A transcript has a line for each fact, without the times:
//!
//! ```text
//! # a comment
//! == the step that comes
//! reader: read(rx, 64) = 5 "hello"
//! @pipe parent: only over the pipe; several: @pipe,unix
//! parent: port <port>, <_>     whatever it is, but the same wherever <port> stands; <_> is anything
//! ```

use crate::{Fact, Lesson, Over};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// No lesson takes seconds; more than this means that it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// What `kpipe lesson NAME --json` prints.
#[derive(Serialize, Deserialize)]
pub struct Report {
    /// Its row in docs/concepts.md.
    pub row: u8,
    /// Its name.
    pub name: String,
    /// Its source file.
    pub source: String,
    /// Each run of it.
    pub runs: Vec<Run>,
}

/// A lesson on one of the things that it can be played on.
#[derive(Serialize, Deserialize)]
pub struct Run {
    /// Name of an [`Over`].
    pub over: String,
    /// What was seen.
    pub facts: Vec<Fact>,
}

/// Runs the lesson by `program`, the `kpipe` command.
///
/// # Errors
/// What differs, with the whole run.
pub fn prove(program: &Path, lesson: &Lesson, over: Over) -> Result<(), String> {
    let facts = run(program, lesson, over)?;
    let seen: Vec<String> = facts.iter().map(line_of).collect();
    let expected: Vec<&str> = lines_for(lesson.transcript, over).collect();
    let mut names = HashMap::new();
    for at in 0..expected.len().max(seen.len()) {
        let (wanted, got) = (expected.get(at), seen.get(at));
        let is_so = wanted
            .zip(got)
            .is_some_and(|(wanted, got)| fits(wanted, got, &mut names));
        if !is_so {
            return Err(format!(
                "line {}: expected {wanted:?}, got {got:?}; the whole:\n{}",
                at + 1,
                seen.join("\n")
            ));
        }
    }
    Ok(())
}

fn run(program: &Path, lesson: &Lesson, over: Over) -> Result<Vec<Fact>, String> {
    let arguments = ["lesson", lesson.name, "--json", "--over", over.name()];
    let failed = |why: String| format!("kpipe {}: {why}", arguments.join(" "));
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let deadline = Instant::now() + PATIENCE;
    // What it prints at its end is less than a pipe holds.
    while child
        .try_wait()
        .map_err(|error| failed(error.to_string()))?
        .is_none()
    {
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            return Err(failed("it hangs".to_owned()));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let output = child
        .wait_with_output()
        .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        let (out, err) = (&output.stdout, &output.stderr);
        return Err(failed(
            String::from_utf8_lossy(&[&out[..], err].concat()).into_owned(),
        ));
    }
    let report: Report =
        serde_json::from_slice(&output.stdout).map_err(|error| failed(error.to_string()))?;
    match <[Run; 1]>::try_from(report.runs) {
        Ok([run]) if run.over == over.name() => Ok(run.facts),
        _ => Err(failed("not one run".to_owned())),
    }
}

fn line_of(fact: &Fact) -> String {
    match fact.who.as_str() {
        "==" => format!("== {}", fact.what),
        who => format!("{who}: {}", fact.what),
    }
}

/// The lines that hold over this, without comments and their "@".
fn lines_for(transcript: &str, over: Over) -> impl Iterator<Item = &str> {
    let lines = transcript
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.filter_map(move |line| match line.strip_prefix('@') {
        None => Some(line),
        Some(line) => {
            let (overs, line) = line.split_once(' ')?;
            overs
                .split(',')
                .any(|name| name == over.name())
                .then_some(line)
        }
    })
}

/// Does `got` have the form of `wanted`? Each `<name>` stands for any text but always for the same.
fn fits(wanted: &str, got: &str, names: &mut HashMap<String, String>) -> bool {
    let Some((before, rest)) = wanted.split_once('<') else {
        return wanted == got;
    };
    let (Some((name, after)), Some(got)) = (rest.split_once('>'), got.strip_prefix(before)) else {
        return wanted == got;
    };
    if let Some(value) = names.get(name) {
        return got.strip_prefix(value.as_str()).is_some_and(|got| {
            let after = after.to_owned();
            fits(&after, got, names)
        });
    }
    // Up to the text that follows, or to the end.
    let end = match after.split('<').next() {
        Some("") | None => Some(got.len()),
        Some(text) => got.find(text),
    };
    let Some(end) = end.filter(|end| *end > 0) else {
        return false;
    };
    if name != "_" {
        names.insert(name.to_owned(), got[..end].to_owned());
    }
    fits(after, &got[end..], names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_fit(lines: &[(&str, &str)]) -> bool {
        let mut names = HashMap::new();
        lines
            .iter()
            .all(|(wanted, got)| fits(wanted, got, &mut names))
    }

    #[test]
    fn a_name_stands_for_one_text() {
        assert!(all_fit(&[
            ("port <a> <b>.", "port 1 2."),
            ("from <b> to <a>", "from 2 to 1")
        ]));
        assert!(!all_fit(&[("<a> <b>.", "1 2."), ("<b>", "1")]));
        assert!(!all_fit(&[("<a>", "")]));
        assert!(all_fit(&[("<_> to <_>", "1 to 2")]));
        assert!(!all_fit(&[("took <a> ms", "took 5 us")]));
        assert!(!all_fit(&[("x", "x "), ("", "")]));
        assert!(all_fit(&[("= 1 << 2", "= 1 << 2")]));
    }

    #[test]
    fn a_line_can_be_for_some() {
        let text = "# c\na: 1\n@pipe,unix b: 2\n\n@device c: 3\n";
        let pipe: Vec<_> = lines_for(text, Over::Pipe).collect();
        assert_eq!(pipe, ["a: 1", "b: 2"]);
        let device: Vec<_> = lines_for(text, Over::Device).collect();
        assert_eq!(device, ["a: 1", "c: 3"]);
    }
}

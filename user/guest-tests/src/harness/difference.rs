// SPDX-License-Identifier: MIT

//! Where a subject is known to differ from a pipe: declared in the table of tests, asked for by the
//! test, described in `docs/differences.md`.
//!
//! A test that expects something else on some subject has to say so in its table, and a test that
//! says so has to ask. So no difference hides in the code of a test, and none is claimed in vain.

use std::sync::Mutex;

use super::table::Case;
use crate::tools::subject::Subject;

/// Something that is otherwise on some subjects, and is meant to be.
pub struct Difference {
    /// A word or two for tables; the heading in `docs/differences.md`.
    pub id: &'static str,
    /// The subjects that differ from a pipe.
    pub on: &'static [Subject],
    /// What they do, in a sentence.
    pub sentence: &'static str,
}

/// The case of this process, and what its test has asked for so far.
static RUNNING: Mutex<Option<(Case, Vec<&'static str>)>> = Mutex::new(None);

/// Says which case runs in this process.
pub fn begin(case: Case) {
    *RUNNING.lock().expect("nobody panics with this lock") = Some((case, Vec::new()));
}

/// Does the subject of this process differ in this way?
#[track_caller]
pub fn ask(subject: Subject, difference: &'static Difference) -> bool {
    let mut running = RUNNING.lock().expect("nobody panics with this lock");
    let (case, asked) = running.as_mut().expect("a case runs");
    let mut declared = case.test.differences.iter();
    let is_declared = declared.any(|declared| declared.id == difference.id);
    asked.push(difference.id);
    drop(running);
    assert!(
        is_declared,
        "the table does not say that this test differs: {}",
        difference.id
    );
    difference.on.contains(&subject)
}

/// Fails if the table declares a difference that the test did not look for.
pub fn end() {
    let running = RUNNING.lock().expect("nobody panics with this lock");
    let (case, asked) = running.as_ref().expect("a case runs");
    for difference in case.differences() {
        assert!(
            asked.contains(&difference.id),
            "the table says that this test differs ({}), but it did not look for that",
            difference.id
        );
    }
}

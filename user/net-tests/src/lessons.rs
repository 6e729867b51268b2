// SPDX-License-Identifier: MIT

//! Every lesson over everything that it can be played on: `kpipe lesson` prints what its transcript says.

use kpipe_lessons::{proof, LESSONS};
use libtest_mimic::Trial;
use std::path::Path;

/// A test for each lesson and each thing that it is played on: `lessons::bounded::device`.
pub fn tests() -> Vec<Trial> {
    let mut tests = Vec::new();
    for lesson in LESSONS {
        for over in lesson.over {
            tests.push(Trial::test(
                format!("lessons::{}::{over}", lesson.name),
                || {
                    // In the VM everything must be there.
                    over.check().map_err(|error| error.to_string())?;
                    proof::prove(Path::new("kpipe"), lesson, *over).map_err(Into::into)
                },
            ));
        }
    }
    tests
}

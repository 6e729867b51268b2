// SPDX-License-Identifier: MIT

//! `kpipe demo` on a FIFO: what it sees, and that it notices what differs.

use crate::support::{assert_fails, much, stderr, stdout, Place};
use std::path::Path;

#[test]
fn demo_sees_a_fifo_behave_as_a_pipe() {
    let place = Place::new();
    place.file("input", &much());
    let output = place.run(&["demo", "--queue", "a", "input"]);
    assert!(
        output.status.success(),
        "{}{}",
        stdout(&output),
        stderr(&output)
    );
    let text = stdout(&output);
    assert_eq!(text.matches("  equal\n").count(), 4, "{text}");
    for behaviour in ["full queue", "empty queue", "end of file", "broken pipe"] {
        assert!(text.contains(&format!("  ok      {behaviour}")), "{text}");
    }
    assert!(text.contains("65,536 queued bytes"), "{text}");
}

#[test]
fn demo_fails_if_a_behaviour_differs() {
    let place = Place::new();
    place.file("input", b"x");
    // Somebody else keeps a read end open: there will be no broken pipe.
    let _reader = place.reader();
    let output = place.run(&["demo", "--queue", "a", "input"]);
    assert_fails(&output, 1, &["not as it should be", "broken pipe: "]);
    assert!(
        stdout(&output).contains("  FAILED  broken pipe"),
        "{}",
        stdout(&output)
    );
    assert!(
        stdout(&output).contains("  ok      end of file"),
        "{}",
        stdout(&output)
    );
}

#[test]
fn demo_names_an_input_that_cannot_be_sent() {
    let place = Place::new();
    place.file("empty", b"");
    assert_fails(
        &place.run(&["demo", "-q", "a", "empty"]),
        1,
        &["empty: the file is empty"],
    );
    assert_fails(
        &place.run(&["demo", "-q", "a", "missing"]),
        1,
        &["missing: No such file"],
    );
    if !Path::new("/boot/vmlinuz").exists() {
        assert_fails(
            &place.run(&["demo", "-q", "a"]),
            1,
            &["no INPUT given", "/boot/vmlinuz", "kpipe demo /bin/sh"],
        );
    }
}

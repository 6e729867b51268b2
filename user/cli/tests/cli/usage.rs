// SPDX-License-Identifier: MIT

//! Wrong usage, wrong queues and help, for all verbs.

use crate::support::{assert_fails, stdout, Place};
use std::fs::File;
use std::path::Path;
use std::process::Command;

#[test]
fn stat_and_set_say_what_is_no_queue() {
    let place = Place::new();
    for args in [
        ["stat", "a"].as_slice(),
        &["stat", "/dev/null"],
        &["set", "a", "-r"],
        &["stat", "--json", "a"],
    ] {
        assert_fails(&place.run(args), 1, &["not a kpipe queue"]);
    }
    assert_fails(
        &place.run(&["stat", "nothing/here"]),
        1,
        &["nothing/here: no such file"],
    );
}

#[test]
fn without_the_module_every_verb_says_how_to_load_it() {
    if Path::new("/sys/module/kpipe").exists() {
        return; // Only a machine without the module can tell.
    }
    let place = Place::new();
    place.file("input", b"x");
    let verbs: [&[&str]; 7] = [
        &["stat"],
        &["stat", "0"],
        &["set", "0", "-r"],
        &["send", "0", "input"],
        &["recv", "kpipe0"],
        &["demo", "input"],
        &["bench"],
    ];
    for args in verbs {
        assert_fails(
            &place.run(args),
            1,
            &[
                "kpipe: /dev/kpipe",
                "not loaded",
                "insmod kpipe.ko",
                "make shell",
            ],
        );
    }
}

#[test]
fn without_the_module_trace_runs_nothing() {
    if Path::new("/sys/module/kpipe").exists() {
        return;
    }
    let output = Place::new().run(&["trace", "--", "echo", "ran"]);
    assert_fails(&output, 125, &["not loaded", "insmod kpipe.ko"]);
    assert_eq!(stdout(&output), "");
}

#[test]
fn conformance_says_where_its_facts_are() {
    let place = Place::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_kpipe"));
    command
        .arg("conformance")
        .env("PATH", place.path("nowhere"));
    let output = command.output().expect("kpipe runs");
    assert_fails(&output, 1, &["kpipe-tests", "PATH", "qemu/vm"]);
}

#[test]
fn wrong_usage_is_2() {
    let place = Place::new();
    let wrong: [&[&str]; 13] = [
        &[],
        &["fly"],
        &["set", "0"],
        &["set", "0", "--capacity", "1X"],
        &["stat", "--watch=0"],
        &["bench", "--queues", "0,0"],
        &["bench", "--only", "carrier-pigeon"],
        &["bench", "--rounds", "0"],
        &["exec"],
        &["exec", "--path", "/tmp/f", "--", "true"],
        &["exec", "true"],
        &["trace"],
        &["trace", "--all", "--request", "1", "--", "true"],
    ];
    for args in wrong {
        assert_fails(&place.run(args), 2, &["--help"]);
    }
}

#[test]
fn a_failing_stdout_is_an_error_and_no_panic() {
    let place = Place::new();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_kpipe"));
    command
        .args([
            "bench",
            "-q",
            "a,b",
            "--only",
            "kpipe,ping-pong",
            "--scale",
            "0.001",
        ])
        .current_dir(place.dir.path());
    let output = command.stdout(full).output().unwrap();
    assert_fails(&output, 1, &["stdout: No space left on device"]);
}

#[test]
fn help_is_there_for_every_verb_with_examples() {
    let place = Place::new();
    for verb in [
        "demo", "send", "recv", "stat", "set", "bench", "exec", "trace",
    ] {
        let output = place.run(&[verb, "--help"]);
        assert!(output.status.success());
        assert!(
            stdout(&output).contains("Examples:\n  "),
            "{}",
            stdout(&output)
        );
    }
}

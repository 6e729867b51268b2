// SPDX-License-Identifier: MIT

//! `kpipe send` and `kpipe recv`: bytes arrive, and both end as Unix tools do.

use crate::support::{assert_fails, much, stderr, Place, PATIENCE};
use nix::libc;
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

#[test]
fn a_file_goes_through_send_and_recv_unchanged() {
    let place = Place::new();
    let input = place.file("input", &much());
    let recv = place.start(&["recv", "a", "output"]);
    let send = place.run(&["send", "a", input.to_str().unwrap()]);
    assert!(send.status.success(), "{}", stderr(&send));
    assert!(recv.finish().status.success());
    assert_eq!(std::fs::read(place.path("output")).unwrap(), much());
}

#[test]
fn stdin_goes_through_to_stdout() {
    let place = Place::new();
    let recv = place.start(&["recv", "a"]);
    let mut send = place.start(&["send", "a"]);
    send.child()
        .stdin
        .take()
        .unwrap()
        .write_all(b"one\n\0two")
        .unwrap();
    assert!(send.finish().status.success());
    assert_eq!(recv.finish().stdout, b"one\n\0two");
}

#[test]
fn nonblocking_send_without_a_reader_says_to_start_one() {
    let place = Place::new();
    assert_fails(
        &place.run(&["send", "--nonblock", "a"]),
        1,
        &["a: ", "kpipe recv a"],
    );
}

#[test]
fn nonblocking_send_into_a_full_queue_says_how_far_it_came() {
    let place = Place::new();
    let _reader = place.reader();
    place.file("input", &much());
    assert_fails(
        &place.run(&["send", "-n", "a", "input"]),
        1,
        &["a: ", "full after 65536 bytes"],
    );
}

#[test]
fn send_ends_silently_by_sigpipe_when_the_reader_goes() {
    let place = Place::new();
    place.file("input", &much());
    let mut reader = place.reader();
    let send = place.start(&["send", "a", "input"]);
    let deadline = Instant::now() + PATIENCE;
    while reader.read(&mut [0; 1]).unwrap_or(0) == 0 {
        assert!(Instant::now() < deadline, "nothing was sent");
        std::thread::sleep(Duration::from_millis(2));
    }
    drop(reader);
    let output = send.finish();
    assert_eq!(output.status.signal(), Some(libc::SIGPIPE));
    assert_eq!(stderr(&output), "");
}

#[test]
fn recv_ends_silently_by_sigpipe_when_nobody_reads_its_output() {
    let place = Place::new();
    place.file("input", &much());
    let mut recv = place.start(&["recv", "a"]);
    drop(recv.child().stdout.take());
    let send = place.start(&["send", "a", "input"]);
    let output = recv.finish();
    assert_eq!(output.status.signal(), Some(libc::SIGPIPE));
    assert_eq!(stderr(&output), "");
    assert_eq!(send.finish().status.signal(), Some(libc::SIGPIPE));
}

#[test]
fn an_interrupt_ends_a_sender_that_waits_for_a_reader() {
    let place = Place::new();
    let mut send = place.start(&["send", "a"]);
    send.wait_until_it_opens();
    kill(
        Pid::from_raw(send.child().id().try_into().unwrap()),
        Signal::SIGINT,
    )
    .unwrap();
    assert_eq!(send.finish().status.signal(), Some(libc::SIGINT));
}

#[test]
fn an_input_that_cannot_be_read_releases_no_reader() {
    let place = Place::new();
    assert_fails(
        &place.run(&["send", "a", "missing"]),
        1,
        &["missing: No such file or directory"],
    );
}

#[test]
fn an_output_that_cannot_be_written_is_named() {
    let place = Place::new();
    assert_fails(
        &place.run(&["recv", "a", "no/folder"]),
        1,
        &["no/folder: No such file or directory"],
    );
    place.file("input", b"x");
    let recv = place.start(&["recv", "a", "/dev/full"]);
    place.run(&["send", "a", "input"]);
    assert_fails(&recv.finish(), 1, &["/dev/full: No space left on device"]);
}

#[test]
fn a_file_named_as_queue_is_refused_and_left_alone() {
    let place = Place::new();
    let notes = place.file("notes", b"precious");
    assert_fails(
        &place.run(&["send", "notes"]),
        1,
        &["notes: not a kpipe queue"],
    );
    assert_eq!(std::fs::read(notes).unwrap(), b"precious");
}

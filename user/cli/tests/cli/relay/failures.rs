// SPDX-License-Identifier: MIT

//! What becomes of each failure: the table in `docs/relay.md`.

use super::proxy::Proxy;
use super::*;
use std::iter::repeat;
use std::os::unix::net::UnixStream;

#[test]
fn with_reconnect_a_cut_connection_loses_and_doubles_nothing() {
    let place = Place::new();
    let input = place.file("input", &much());
    let patient = ["--reconnect", "60s", "--json"];
    let there = receiving(&place, &patient);
    let proxy = Proxy::to(place.path("s"));
    let here = sending(&place, &patient, &proxy.address);
    let send = place.start(&["send", "a", input.to_str().unwrap()]);
    let mut reader = Reader::open(&place);
    let mut bytes = Vec::new();
    for _ in 0..5 {
        bytes.extend(reader.take(300_000));
        proxy.cut();
    }
    bytes.extend(reader.rest());
    assert!(bytes == much());
    assert_succeeds(&send.finish());
    for output in [here, there].map(Running::finish) {
        assert_succeeds(&output);
        let said: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
        assert_eq!(said["outcome"], "complete");
        assert_eq!(said["bytes"], much().len());
        assert!(said["connections"].as_u64().unwrap() >= 3, "{said}");
    }
}

#[test]
fn without_it_the_writer_gets_a_broken_pipe_and_the_reader_an_early_end() {
    let place = Place::new();
    let input = place.file("input", &much());
    let there = receiving(&place, &[]);
    let proxy = Proxy::to(place.path("s"));
    let here = sending(&place, &[], &proxy.address);
    let send = place.start(&["send", "a", input.to_str().unwrap()]);
    let mut reader = Reader::open(&place);
    let mut bytes = reader.take(100_000);
    // More than that and a FIFO full, so some of it is not acknowledged.
    until("more has been sent", || proxy.carried() >= 200_000);
    proxy.cut();
    bytes.extend(reader.rest());
    // What came is the beginning of it, without a gap.
    assert!(bytes.len() < much().len() && much().starts_with(&bytes));
    assert_eq!(send.finish().status.signal(), Some(libc::SIGPIPE));
    assert_fails(
        &here.finish(),
        1,
        &[&proxy.address, "bytes had arrived, the next"],
    );
    assert_fails(&there.finish(), 1, &["the rest is missing"]);
}

#[test]
fn a_side_that_falls_silent_is_noticed_by_both() {
    let place = Place::new();
    let input = place.file("input", &much());
    // Before the freeze neither may fall silent, although the machine may stall for seconds.
    let quick = ["--silence", "6s"];
    let there = receiving(&place, &quick);
    let proxy = Proxy::to(place.path("s"));
    let here = sending(&place, &quick, &proxy.address);
    let send = place.start(&["send", "a", input.to_str().unwrap()]);
    let mut reader = Reader::open(&place);
    reader.take(1000);
    proxy.freeze();
    assert_fails(
        &here.finish(),
        1,
        &["nothing was heard from the other side for 6 s"],
    );
    assert_fails(
        &there.finish(),
        1,
        &["nothing was heard", "the rest is missing"],
    );
    assert_eq!(send.finish().status.signal(), Some(libc::SIGPIPE));
    reader.rest();
}

#[test]
fn an_idle_connection_lives_as_long_as_both_sides() {
    let place = Place::new();
    // By itself the patient one would say something after 100 s. (How often exactly: the tests of `link.rs`.)
    let there = receiving(&place, &["--silence", "300s"]);
    let here = sending(&place, &["--silence", "6s"], "unix:s");
    let read = reader(&place);
    let writer = writer(&place);
    let silence_is_over = Instant::now() + Duration::from_secs(7);
    until("it has been idle for long", || {
        Instant::now() >= silence_is_over
    });
    drop(writer);
    assert_succeeds(&here.finish());
    assert_succeeds(&there.finish());
    read.done();
}

#[test]
fn a_receiving_side_that_was_started_anew_is_not_taken_for_the_old_one() {
    let place = Place::new();
    let input = place.file("input", &much());
    let mut there = receiving(&place, &[]);
    let proxy = Proxy::to(place.path("s"));
    let here = sending(&place, &["--reconnect", "60s"], &proxy.address);
    let send = place.start(&["send", "a", input.to_str().unwrap()]);
    let mut reader = Reader::open(&place);
    reader.take(1000);
    there.child().kill().unwrap();
    there.child().wait().unwrap();
    std::fs::remove_file(place.path("s")).unwrap();
    let there = receiving(&place, &[]);
    proxy.cut();
    assert_fails(
        &here.finish(),
        1,
        &["started anew in the middle", "had arrived"],
    );
    assert_eq!(send.finish().status.signal(), Some(libc::SIGPIPE));
    drop(reader);
    // The new one waits for a stream from the beginning.
    let (here, read) = (sending(&place, &[], "unix:s"), super::reader(&place));
    assert_succeeds(&place.run(&["send", "a", input.to_str().unwrap()]));
    for output in [here, there].map(Running::finish) {
        assert_succeeds(&output);
    }
    assert!(read.done() == much());
}

fn stranger(place: &Place) -> UnixStream {
    let stranger = UnixStream::connect(place.path("s")).unwrap();
    stranger.set_read_timeout(Some(PATIENCE)).unwrap();
    stranger
}

#[test]
fn a_stranger_is_refused_and_disturbs_nobody() {
    let place = Place::new();
    let input = place.file("input", &much());
    let there = receiving(&place, &[]);
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[1; 64],
        &[1, 4, 0, 0, 255, 255, 255, 255],
    ] {
        let mut stranger = stranger(&place);
        stranger.write_all(garbage).unwrap();
        // It hears why, and that is all.
        let mut answer = Vec::new();
        let _ = stranger.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.contains("frame"), "{answer}");
    }
    // One that goes in the middle of a hello.
    let mut half = stranger(&place);
    half.write_all(&[1, 4, 0, 0, 0]).unwrap();
    drop(half);
    let (here, read) = (sending(&place, &[], "unix:s"), reader(&place));
    assert_succeeds(&place.run(&["send", "a", input.to_str().unwrap()]));
    assert_succeeds(&here.finish());
    assert_succeeds(&there.finish());
    assert!(read.done() == much());
}

/// Both at the same time, as they mostly wait.
#[test]
fn a_client_that_says_nothing_or_whose_words_drip_keeps_the_place_no_longer_than_the_silence() {
    std::thread::scope(|scope| {
        scope.spawn(|| keeps_the_place_no_longer_than_the_silence(|_| {}));
        scope.spawn(|| keeps_the_place_no_longer_than_the_silence(drip));
    });
}

/// The head of a frame that could be a hello, and then a byte at a time, until it is turned away.
fn drip(mut stranger: UnixStream) {
    let mut bytes = [1, 4, 0, 0, 0, 0, 0xff, 0].into_iter().chain(repeat(0));
    std::thread::spawn(move || {
        while stranger.write_all(&[bytes.next().unwrap()]).is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
}

fn keeps_the_place_no_longer_than_the_silence(talk: impl FnOnce(UnixStream)) {
    let place = Place::new();
    let there = receiving(&place, &["--silence", "6s"]);
    let stranger = stranger(&place);
    talk(stranger.try_clone().unwrap());
    // It waits behind the stranger, for longer than that.
    let patient = ["--silence", "300s"];
    let (here, read) = (sending(&place, &patient, "unix:s"), reader(&place));
    assert_succeeds(&place.run(&["send", "a", "/dev/null"]));
    assert_succeeds(&here.finish());
    assert_succeeds(&there.finish());
    assert_eq!(read.done(), b"");
}

#[test]
fn who_waits_behind_a_stranger_is_not_too_late() {
    let place = Place::new();
    let limit = ["--reconnect", "1s", "--silence", "300s"];
    let mut there = receiving(&place, &limit);
    let proxy = Proxy::to(place.path("s"));
    let patient = ["--reconnect", "300s", "--silence", "300s"];
    let here = sending(&place, &patient, &proxy.address);
    let read = reader(&place);
    let mut writer = writer(&place);
    // It has the place as soon as that is free, and keeps it until the time is over.
    let stranger = stranger(&place);
    let came = proxy.connections();
    proxy.cut();
    there.wait_until_it_says("down: ");
    let time_is_over = Instant::now() + Duration::from_secs(2);
    until("the other side waits behind the stranger", || {
        proxy.connections() > came && Instant::now() >= time_is_over
    });
    drop(stranger);
    writer.write_all(b"all").unwrap();
    drop(writer);
    assert_succeeds(&here.finish());
    assert_succeeds(&there.finish());
    assert_eq!(read.done(), b"all");
}

#[test]
fn two_sides_of_one_direction_say_so() {
    let place = Place::new();
    let mut there = receiving(&place, &[]);
    let wrong = place.run(&["relay", "unix:s", "fifo:a"]);
    assert_fails(
        &wrong,
        1,
        &["both sides receive", "kpipe relay kpipe:0 ADDRESS"],
    );
    assert!(there.child().try_wait().unwrap().is_none());
}

#[test]
fn nobody_there_is_an_error_at_once_or_after_the_time_given() {
    let place = Place::new();
    let words = ["unix:s: nobody listens there"];
    assert_fails(&place.run(&["relay", "fifo:a", "unix:s"]), 1, &words);
    let began = Instant::now();
    let patient = ["relay", "--reconnect", "700ms", "fifo:a", "unix:s"];
    assert_fails(&place.run(&patient), 1, &words);
    assert!(began.elapsed() >= Duration::from_millis(700));
    // A name that is not known may be one whose server does not answer for a moment.
    let began = Instant::now();
    let nowhere = [
        "relay",
        "--reconnect",
        "700ms",
        "fifo:a",
        "tcp:no.such.host.invalid:1",
    ];
    assert_fails(&place.run(&nowhere), 1, &["the name is not known"]);
    assert!(began.elapsed() >= Duration::from_millis(700));
    // And with time given, who comes later is found.
    let here = sending(&place, &["--reconnect", "60s"], "unix:s");
    let (there, read) = (receiving(&place, &[]), reader(&place));
    assert_succeeds(&place.run(&["send", "a", "/dev/null"]));
    assert_succeeds(&here.finish());
    assert_succeeds(&there.finish());
    assert_eq!(read.done(), b"");
}

#[test]
fn wrong_words_are_explained() {
    let place = Place::new();
    for (from, to, status, words) in [
        ("kpipe:0", "fifo:a", 1, "here are two queues"),
        ("tcp:a:1", "tcp:b:1", 1, "here are two addresses"),
        ("kpipe:0", "udp:localhost:1", 1, "a relay needs a stream"),
        ("kpipe:0", "unix-seqpacket:s", 1, "a relay needs a stream"),
        ("kpipe:0", "tcp:host", 2, "is no address"),
        (
            "kpipe:",
            "tcp:host:1",
            2,
            "a queue is kpipe:0 or fifo:/path",
        ),
        (
            "fifo:a",
            "tcp:no.such.host.invalid:1",
            1,
            "the name is not known",
        ),
        ("fifo:a", "kpipe:new", 1, "has no name"),
        ("fifo:a", "unix:/no/such/folder/s", 1, "nobody listens"),
    ] {
        assert_fails(&place.run(&["relay", from, to]), status, &[words]);
    }
    let missing = ["relay", "--listen", "tcp:127.0.0.1:0", "fifo:none"];
    assert_fails(&place.run(&missing), 1, &["none: no such file"]);
    place.file("notes", b"precious");
    let file = ["relay", "--listen", "tcp:127.0.0.1:0", "fifo:notes"];
    assert_fails(&place.run(&file), 1, &["notes: not a kpipe queue"]);
}

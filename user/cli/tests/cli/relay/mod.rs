// SPDX-License-Identifier: MIT

//! `kpipe relay` between FIFOs on one machine, over TCP and AF_UNIX: what `docs/relay.md` promises, with a
//! proxy between the two sides that cuts and freezes connections. Between two machines: the tests of the VMs.

mod failures;
mod proxy;

use crate::support::{assert_fails, much, stderr, stdout, Place, Running, PATIENCE};
use nix::libc;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::Output;
use std::time::{Duration, Instant};

/// Asks again and again until it is so.
#[track_caller]
fn until(what: &str, mut ask: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !ask() {
        assert!(Instant::now() < deadline, "in vain until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Starts the receiving side, which listens at the socket `s` and writes the FIFO `b`.
fn receiving(place: &Place, options: &[&str]) -> Running {
    let relay = place.start(&[&["relay", "--listen"], options, &["unix:s", "fifo:b"]].concat());
    until("the relay listens", || place.path("s").exists());
    relay
}

/// Starts the sending side, which reads the FIFO `a`.
fn sending(place: &Place, options: &[&str], address: &str) -> Running {
    place.start(&[&["relay"], options, &["fifo:a", address]].concat())
}

/// The FIFO `b`, open for reading, and what comes from it.
fn reader(place: &Place) -> std::thread::JoinHandle<Vec<u8>> {
    let path = place.path("b");
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        File::open(path).unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    })
}

#[track_caller]
fn assert_succeeds(output: &Output) {
    assert!(output.status.success(), "{}", stderr(output));
}

#[test]
fn a_file_arrives_over_tcp_with_either_side_listening() {
    for who_listens in ["receiving", "sending"] {
        let place = Place::new();
        let input = place.file("input", &much());
        let listening = ["relay", "--listen", "--verbose"];
        let (queue_here, queue_there) = ("fifo:a", "fifo:b");
        let mut first = match who_listens {
            "receiving" => {
                place.start(&[&listening[..], &["tcp:127.0.0.1:0", queue_there]].concat())
            }
            _ => place.start(&[&listening[..], &[queue_here, "tcp:127.0.0.1:0"]].concat()),
        };
        // "kpipe: listening at 127.0.0.1:41234, backlog 128"
        let mut steps = BufReader::new(first.child().stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("listening at") {
            line.clear();
            assert!(steps.read_line(&mut line).unwrap() > 0);
        }
        let port = line
            .split([' ', ','])
            .find_map(|word| word.strip_prefix("127.0.0.1:"));
        let address = format!("tcp:127.0.0.1:{}", port.unwrap());
        let second = match who_listens {
            "receiving" => place.start(&["relay", "--json", queue_here, &address]),
            _ => place.start(&["relay", "--json", &address, queue_there]),
        };
        let recv = place.start(&["recv", "b", "output"]);
        assert_succeeds(&place.run(&["send", "a", input.to_str().unwrap()]));
        assert_succeeds(&recv.finish());
        let second = second.finish();
        assert_succeeds(&second);
        let said: serde_json::Value = serde_json::from_str(&stdout(&second)).unwrap();
        assert_eq!(said["outcome"], "complete");
        assert_eq!(said["bytes"], much().len());
        assert_eq!(said["connections"], 1);
        assert_succeeds(&first.finish());
        assert!(std::fs::read(place.path("output")).unwrap() == much());
    }
}

#[test]
fn nothing_but_an_end_of_file_arrives_as_that() {
    let place = Place::new();
    let (there, here) = (receiving(&place, &[]), sending(&place, &[], "unix:s"));
    let read = reader(&place);
    drop(File::options().write(true).open(place.path("a")).unwrap());
    assert_succeeds(&here.finish());
    assert_succeeds(&there.finish());
    assert_eq!(read.join().unwrap(), b"");
}

#[test]
fn a_writer_here_waits_in_open_until_there_is_a_reader_there() {
    let place = Place::new();
    let (there, here) = (receiving(&place, &[]), sending(&place, &[], "unix:s"));
    let mut send = place.start(&["send", "a", "/dev/null"]);
    send.wait_until_it_opens();
    // It goes on waiting, although the two sides have long been connected.
    let mut reads = File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .unwrap();
    let _ = reads.read(&mut [0]);
    let recv = place.start(&["recv", "b"]);
    for output in [send, recv, there, here].map(Running::finish) {
        assert_succeeds(&output);
    }
}

#[test]
fn a_reader_that_goes_there_is_a_broken_pipe_here() {
    let place = Place::new();
    let input = place.file("input", &much());
    let (there, here) = (receiving(&place, &[]), sending(&place, &[], "unix:s"));
    let send = place.start(&["send", "a", input.to_str().unwrap()]);
    let mut reader = File::open(place.path("b")).unwrap();
    reader.read_exact(&mut [0; 1000]).unwrap();
    drop(reader);
    assert_eq!(send.finish().status.signal(), Some(libc::SIGPIPE));
    assert_fails(&there.finish(), 1, &["b: broken pipe", "reader has gone"]);
    assert_fails(&here.finish(), 1, &["carried to: broken pipe"]);
}

#[test]
fn a_reader_that_goes_is_noticed_without_a_write() {
    let place = Place::new();
    let (there, here) = (receiving(&place, &[]), sending(&place, &[], "unix:s"));
    let send = std::thread::spawn({
        let path = place.path("a");
        move || File::options().write(true).open(path).unwrap()
    });
    let reader = File::open(place.path("b")).unwrap();
    let mut writer = send.join().unwrap();
    drop(reader);
    assert_fails(&there.finish(), 1, &["after 0 bytes"]);
    assert_fails(&here.finish(), 1, &["after 0 bytes"]);
    let error = writer.write(b"x").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
}

#[test]
fn a_full_queue_there_lets_the_writer_here_sleep() {
    let place = Place::new();
    let (there, here) = (receiving(&place, &[]), sending(&place, &[], "unix:s"));
    let path = place.path("a");
    let written = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = written.clone();
    let writer = std::thread::spawn(move || {
        let mut file = File::options().write(true).open(path).unwrap();
        for piece in much().chunks(4096) {
            file.write_all(piece).unwrap();
            counter.fetch_add(piece.len(), std::sync::atomic::Ordering::SeqCst);
        }
    });
    let mut reader = File::open(place.path("b")).unwrap();
    // Two FIFOs and the window between them, and then nothing more, however long one waits: as much as fits
    // is awaited, and all that comes later would be too much.
    let (fifo, window, piece) = (65_536, 256 * 1024, 65_536);
    let now = || written.load(std::sync::atomic::Ordering::SeqCst);
    until("all is full", || now() >= 2 * fifo + window - piece);
    std::thread::sleep(Duration::from_millis(300));
    assert!(now() <= 2 * fifo + window + piece, "{}", now());
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).unwrap();
    assert!(bytes == much());
    writer.join().unwrap();
    assert_succeeds(&here.finish());
    assert_succeeds(&there.finish());
}

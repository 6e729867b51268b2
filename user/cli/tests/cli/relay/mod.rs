// SPDX-License-Identifier: MIT

//! `kpipe relay` between FIFOs on one machine, over TCP and AF_UNIX: what `docs/relay.md` promises, with a
//! proxy between the two sides that cuts and freezes connections. Between two machines: the tests of the VMs.

mod failures;
mod proxy;

use crate::support::{
    assert_fails, in_time, much, stderr, stdout, until, Place, Running, Task, PATIENCE,
};
use nix::libc;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::Output;
use std::time::{Duration, Instant};

/// Starts the receiving side, which listens at the socket `s` and writes the FIFO `b`.
fn receiving(place: &Place, options: &[&str]) -> Running {
    let listen = ["relay", "--listen", "--verbose"];
    let mut relay = place.start(&[&listen[..], options, &["unix:s", "fifo:b"]].concat());
    // Not the file: that is there before anybody listens.
    relay.wait_until_it_says("listening at");
    relay
}

/// Starts the sending side, which reads the FIFO `a`.
fn sending(place: &Place, options: &[&str], address: &str) -> Running {
    place.start(&[&["relay"], options, &["fifo:a", address]].concat())
}

/// The FIFO `a`, open for writing.
fn writer(place: &Place) -> File {
    let path = place.path("a");
    in_time("somebody reads the FIFO `a`", move || {
        File::options().write(true).open(path).unwrap()
    })
}

/// The FIFO `b`, open for reading.
struct Reader(File);

impl Reader {
    fn open(place: &Place) -> Self {
        let path = place.path("b");
        Self(in_time("somebody writes the FIFO `b`", || {
            File::open(path).unwrap()
        }))
    }

    /// So many bytes.
    fn take(&mut self, length: usize) -> Vec<u8> {
        let mut file = self.0.try_clone().unwrap();
        in_time("the bytes come", move || {
            let mut bytes = vec![0; length];
            file.read_exact(&mut bytes).unwrap();
            bytes
        })
    }

    /// All that comes before the end of file.
    fn rest(mut self) -> Vec<u8> {
        in_time("the end of file comes", move || {
            let mut bytes = Vec::new();
            self.0.read_to_end(&mut bytes).unwrap();
            bytes
        })
    }
}

/// Whatever comes from the FIFO `b`.
fn reader(place: &Place) -> Task<Vec<u8>> {
    let path = place.path("b");
    Task::start("all is read", move || std::fs::read(path).unwrap())
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
        let line = first.wait_until_it_says("listening at");
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
    drop(writer(&place));
    assert_succeeds(&here.finish());
    assert_succeeds(&there.finish());
    assert_eq!(read.done(), b"");
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
    let mut reader = Reader::open(&place);
    reader.take(1000);
    drop(reader);
    assert_eq!(send.finish().status.signal(), Some(libc::SIGPIPE));
    assert_fails(&there.finish(), 1, &["b: broken pipe", "reader has gone"]);
    assert_fails(&here.finish(), 1, &["carried to: broken pipe"]);
}

#[test]
fn a_reader_that_goes_is_noticed_without_a_write() {
    let place = Place::new();
    let (there, here) = (receiving(&place, &[]), sending(&place, &[], "unix:s"));
    let reader = Reader::open(&place);
    let mut writer = writer(&place);
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
    let writer = Task::start("all is written", move || {
        let mut file = File::options().write(true).open(path).unwrap();
        for piece in much().chunks(4096) {
            file.write_all(piece).unwrap();
            counter.fetch_add(piece.len(), std::sync::atomic::Ordering::SeqCst);
        }
    });
    let reader = Reader::open(&place);
    // Two FIFOs and the window between them, and then nothing more, however long one waits: as much as fits
    // is awaited, and all that comes later would be too much.
    let (fifo, window, piece) = (65_536, 256 * 1024, 65_536);
    let now = || written.load(std::sync::atomic::Ordering::SeqCst);
    until("all is full", || now() >= 2 * fifo + window - piece);
    std::thread::sleep(Duration::from_millis(300));
    assert!(now() <= 2 * fifo + window + piece, "{}", now());
    assert!(reader.rest() == much());
    writer.done();
    assert_succeeds(&here.finish());
    assert_succeeds(&there.finish());
}

#[test]
fn nobody_needs_to_hear_what_it_says() {
    let place = Place::new();
    let mut there = receiving(&place, &[]);
    let mut here = sending(&place, &["--verbose"], "unix:s");
    for relay in [&mut there, &mut here] {
        drop(relay.child().stderr.take());
    }
    let read = reader(&place);
    drop(writer(&place));
    for relay in [&mut there, &mut here] {
        until("the relay ends", || {
            relay.child().try_wait().unwrap().is_some()
        });
        assert!(relay.child().wait().unwrap().success());
    }
    assert_eq!(read.done(), b"");
}

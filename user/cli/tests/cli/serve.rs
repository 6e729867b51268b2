// SPDX-License-Identifier: MIT

//! `kpipe serve` and `kpipe client`: every model over every kind of channel, and their options.

use crate::server::{each, Server, CONCURRENT, MODELS};
use crate::support::{assert_fails, much, stderr, stdout, Place};
use kpipe::channel::Channel;
use kpipe_protocol::demo::Call;
use kpipe_protocol::{Decoder, Frame, Kind, Limit};
use socket2::{Domain, Socket, Type};
use std::fs::File;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

/// Where a host without the module can listen.
const STREAMS: [&str; 4] = ["tcp:127.0.0.1:0", "tcp:[::1]:0", "unix:socket", "fifo:a,b"];
const MESSAGES: [&str; 3] = [
    "unix-seqpacket:packets",
    "unix-dgram:datagrams",
    "udp:127.0.0.1:0",
];

fn is_usable(listen: &str) -> bool {
    !listen.contains("::1") || std::net::TcpListener::bind("[::1]:0").is_ok()
}

/// The bytes of a call.
pub fn request(number: u64, call: &Call) -> Vec<u8> {
    let mut bytes = Vec::new();
    let body = postcard::to_stdvec(call).unwrap();
    let kind = Kind::Request;
    Frame { kind, number, body }
        .encode(Limit::default(), &mut bytes)
        .unwrap();
    bytes
}

/// Reads one answer.
pub fn answer(channel: &mut dyn Channel) -> Frame {
    let mut decoder = Decoder::new(Limit::default());
    loop {
        let mut byte = [0];
        channel.read_exact(&mut byte).unwrap();
        if let Some(frame) = decoder.decode(&mut &byte[..]).unwrap() {
            return frame;
        }
    }
}

#[test]
fn every_model_echoes_over_every_kind_of_channel() {
    each(&MODELS, |model| {
        let place = Place::new();
        let (input, output) = (place.file("input", &much()), place.path("output"));
        for listen in STREAMS.into_iter().filter(|listen| is_usable(listen)) {
            let server = Server::start(&place, "echo", model, listen, &[]);
            let address = server.address.to_string();
            let lines = place.run(&["client", "echo", &address, "one", "two"]);
            assert_eq!(
                stdout(&lines),
                "one\ntwo\n",
                "{model} {listen} {}",
                stderr(&lines)
            );
            // More than any queue holds, so both sides have to wait for each other.
            let (from, to) = (File::open(&input).unwrap(), File::create(&output).unwrap());
            let client = place.run_between(from, to, &["client", "echo", &address]);
            assert!(
                std::fs::read(&output).unwrap() == much(),
                "{model} {listen} {}",
                stderr(&client)
            );
            assert_eq!(server.stop(), "", "{model} {listen}");
        }
        for listen in MESSAGES {
            let server = Server::start(&place, "echo", model, listen, &[]);
            let address = server.address.to_string();
            let lines = place.run(&["client", "echo", &address, "one", "two"]);
            assert_eq!(
                stdout(&lines),
                "one\ntwo\n",
                "{model} {listen} {}",
                stderr(&lines)
            );
            assert_eq!(server.stop(), "", "{model} {listen}");
        }
    });
}

#[test]
fn calls_are_answered_and_their_errors_travel() {
    let place = Place::new();
    for (model, listen) in [
        ("event", "tcp:127.0.0.1:0"),
        ("thread", "unix-seqpacket:p"),
        ("fork", "fifo:a,b"),
    ] {
        let server = Server::start(&place, "rpc", model, listen, &[]);
        let address = server.address.to_string();
        let call = |args: &[&str]| place.run(&[&["client", "rpc", &address], args].concat());
        assert_eq!(stdout(&call(&["sum", "2", "-3"])), "-1\n");
        assert_eq!(stdout(&call(&["upper", "text"])), "TEXT\n");
        assert_eq!(stdout(&call(&["--json", "sum", "2", "3"])), "{\"Sum\":5}\n");
        assert_eq!(stdout(&call(&["sleep", "20"])), "slept\n");
        assert_fails(&call(&["fail", "on purpose"]), 1, &["on purpose"]);
        assert_fails(
            &call(&["sleep", "5000", "--timeout", "50ms"]),
            1,
            &["no answer within 0.05 s"],
        );
        // Killed: one of its processes still sleeps.
        drop(server);
    }
}

#[test]
fn a_file_is_fetched_over_sockets_and_over_queues() {
    for (model, listen) in [
        ("sequential", "fifo:a,b"),
        ("event", "tcp:127.0.0.1:0"),
        ("pool", "unix:s"),
    ] {
        let place = Place::new();
        // It fits into the pipe in which the command's output is kept.
        place.file("page", &much()[..60_000]);
        let server = Server::start(&place, "http", model, listen, &["--root", "."]);
        let address = server.address.to_string();
        let get = place.run(&["client", "http", &address, "/page"]);
        assert!(
            get.stdout == much()[..60_000],
            "{model} {listen} {}",
            stderr(&get)
        );
        let missing = place.run(&["client", "http", &address, "/../etc/passwd"]);
        assert_fails(&missing, 1, &["403 Forbidden"]);
        server.stop();
    }
}

#[test]
fn options_of_sockets_are_set_and_shown() {
    let place = Place::new();
    let options = [
        "-v",
        "--reuse-port",
        "--keepalive",
        "--no-nodelay",
        "--no-reuse-address",
        "--backlog",
        "5",
    ];
    let server = Server::start(&place, "echo", "thread", "tcp:localhost:0", &options);
    let address = server.address.to_string();
    let client = place.run(&["client", "echo", &address, "x", "--verbose"]);
    let said = stderr(&client);
    for word in [
        &format!("{address} is "),
        "connecting to ",
        "TCP_NODELAY",
        "connected: tcp ",
        " <-> ",
    ] {
        assert!(said.contains(word), "{word:?} is not in {said}");
    }
    // With the option two may have one address.
    let second = Server::start(&place, "echo", "event", &address, &["--reuse-port"]);
    second.stop();
    let said = server.stop();
    for word in [
        "SO_REUSEPORT",
        "SO_KEEPALIVE",
        "backlog 5",
        "accepted: tcp",
        "done",
    ] {
        assert!(said.contains(word), "{word:?} is not in {said}");
    }
    assert!(
        !said.contains("SO_REUSEADDR") && !said.contains("TCP_NODELAY"),
        "{said}"
    );
}

#[test]
fn more_connections_than_allowed_wait() {
    each(&CONCURRENT, |model| {
        let place = Place::new();
        let server = Server::start(&place, "echo", model, "unix:s", &["--max-connections", "1"]);
        let mut first = server.connect();
        first.write_all(b"1").unwrap();
        first.read_exact(&mut [0]).unwrap();
        let mut second = server.connect();
        second.write_all(b"2").unwrap();
        second
            .set_timeouts(Some(std::time::Duration::from_millis(100)), None)
            .unwrap();
        assert!(second.read(&mut [0]).is_err(), "{model}: it was served");
        second
            .set_timeouts(Some(crate::support::PATIENCE), None)
            .unwrap();
        drop(first);
        assert_eq!(second.read(&mut [0]).unwrap(), 1, "{model}");
        drop(second);
        server.stop();
    });
}

#[test]
fn a_server_that_cannot_listen_says_why() {
    let place = Place::new();
    let server = Server::start(&place, "echo", "event", "tcp:127.0.0.1:0", &[]);
    let address = server.address.to_string();
    for (listen, words) in [
        (&address[..], "in use"),
        ("tcp:no.such.host.invalid:1", "the name is not known"),
        ("tcp:127.0.0.1:70000", "a port is at most 65535"),
        ("kpipe:new", "no name"),
        ("unix:no/such/folder/socket", "No such file"),
        ("fifo:missing,b", "missing"),
    ] {
        let output = place.run(&["serve", "echo", "--listen", listen]);
        assert!(!output.status.success());
        assert!(
            stderr(&output).contains(words),
            "{listen}: {}",
            stderr(&output)
        );
    }
    let http = ["serve", "http", "--listen", "tcp:127.0.0.1:0"];
    assert_fails(&place.run(&http), 2, &["--root"]);
    assert_fails(
        &place.run(&[&http[..], &["--root", "missing"]].concat()),
        1,
        &["missing: No such"],
    );
    let udp = [
        "serve",
        "http",
        "--root",
        ".",
        "--listen",
        "udp:127.0.0.1:0",
    ];
    assert_fails(&place.run(&udp), 1, &["needs a stream"]);
    // And the one that was there serves.
    let mut client = server.connect();
    client.write_all(b"x").unwrap();
    drop(client);
    server.stop();
}

#[test]
fn a_client_without_a_server_says_why() {
    let place = Place::new();
    // Kept, so that nobody else gets the port and listens there.
    let unused = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any_port: SocketAddr = "127.0.0.1:0".parse().unwrap();
    unused.bind(&any_port.into()).unwrap();
    let unused_name = unused.local_addr().unwrap().as_socket().unwrap();
    let address = format!("tcp:{unused_name}");
    let echo = ["client", "echo", &address, "x"];
    assert_fails(
        &place.run(&echo),
        1,
        &["nobody listens there", "kpipe serve"],
    );
    // Somebody who takes the connection and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp:{}", silent.local_addr().unwrap());
    let args = ["client", "echo", &address, "x", "--timeout", "50ms"];
    assert_fails(&place.run(&args), 1, &["no answer within 0.05 s"]);
    // Nor fetches anything.
    let _silent = std::os::unix::net::UnixListener::bind(place.path("s")).unwrap();
    let long = "x".repeat(100_000);
    let words = [&*long; 10];
    let args = [
        &["client", "echo", "unix:s", "--timeout", "50ms"],
        &words[..],
    ]
    .concat();
    assert_fails(&place.run(&args), 1, &["within 0.05 s"]);
}

/// A server that always has one more byte to say is as late as one that says nothing.
#[test]
fn an_answer_that_drips_is_late() {
    let place = Place::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp:{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            std::thread::spawn(move || {
                while client.write_all(b"x").is_ok() {
                    std::thread::sleep(Duration::from_millis(20));
                }
            });
        }
    });
    for command in [["echo", &address, "text"], ["http", &address, "/file"]] {
        let args = [&["client"], &command[..], &["--timeout", "300ms"]].concat();
        assert_fails(&place.run(&args), 1, &["within 0.3 s"]);
    }
}

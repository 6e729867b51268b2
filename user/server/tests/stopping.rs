// SPDX-License-Identifier: MIT

//! Clients that would go on for ever, after a stop or before, or that say too much.

mod common;

use common::{Running, PATIENCE};
use kpipe::channel::{Address, Carries, Error, Options, MESSAGE_BYTES};
use kpipe_server::echo::Echo;
use kpipe_server::http::Http;
use kpipe_server::{Connection, Handler, Model, Next, Service, Settings, Terms, With};
use std::io::{Read, Write};
use std::thread;
use std::time::{Duration, Instant};

/// Answers, and always waits for more of the request.
#[derive(Clone, Copy)]
struct Endless;

impl Service for Endless {
    fn handler(&self, _carries: Carries, _with: With) -> Box<dyn Handler> {
        Box::new(*self)
    }
}

impl Handler for Endless {
    fn on_bytes(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Next {
        out.extend_from_slice(bytes);
        Next::Receive
    }

    fn is_between_requests(&self) -> bool {
        false
    }
}

fn settings(model: Model, timeout: Duration) -> Settings {
    Settings {
        model,
        timeout: Some(timeout),
        max_connections: 10,
        workers: 1,
    }
}

#[test]
fn a_stop_is_the_last_limit_whatever_the_client_says() {
    for timeout in [Some(Duration::from_secs(2)), None] {
        let (mut client, server) = Address::Pipes.pair(&Options::default()).unwrap();
        let terms = Terms {
            timeout,
            with: With::One,
            is_own: true,
        };
        let mut connection = Connection::new(server, &Endless, terms).unwrap();
        connection.hurry();
        let last = Instant::now() + timeout.unwrap_or(Duration::from_secs(10));
        for _ in 0..3 {
            client.write_all(b"x").unwrap();
            let end = connection.advance(&mut vec![0; kpipe_server::BLOCK_BYTES]);
            assert!(end.is_none(), "{end:?}");
            client.read_exact(&mut [0]).unwrap();
            let deadline = connection.deadline().expect("it may go on for ever");
            assert!(deadline <= last, "{timeout:?}: {:?}", deadline - last);
        }
    }
}

#[test]
fn bytes_that_begin_no_request_are_no_better_than_silence() {
    let folder = tempfile::tempdir().unwrap();
    let http = Http::new(folder.path().to_owned()).unwrap();
    let (mut client, server) = Address::Pipes.pair(&Options::default()).unwrap();
    let terms = Terms {
        timeout: Some(PATIENCE),
        with: With::One,
        is_own: true,
    };
    let mut connection = Connection::new(server, &http, terms).unwrap();
    let deadline = connection.deadline();
    client.write_all(b"\r\n").unwrap();
    let end = connection.advance(&mut vec![0; kpipe_server::BLOCK_BYTES]);
    assert!(end.is_none(), "{end:?}");
    assert_eq!(connection.deadline(), deadline);
}

#[test]
fn a_client_that_is_never_done_does_not_hold_up_the_stop() {
    for model in [Model::Sequential, Model::Event] {
        let settings = settings(model, Duration::from_millis(300));
        let server = Running::start(Endless, "tcp:127.0.0.1:0", settings);
        let mut client = server.connect();
        let mut exchange =
            move || client.write_all(b"x").is_ok() && client.read_exact(&mut [0]).is_ok();
        assert!(exchange());
        let talker = thread::spawn(move || while exchange() {});
        server.stop();
        server.ended();
        talker.join().unwrap();
    }
}

#[test]
fn while_the_last_client_is_served_nobody_else_is_let_in() {
    let settings = settings(Model::Sequential, PATIENCE);
    let server = Running::start(Endless, "tcp:127.0.0.1:0", settings);
    let mut client = server.connect();
    let mut exchange = || {
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
    };
    exchange();
    server.stop();
    let end = Instant::now() + PATIENCE / 2;
    // Not only a backlog that is full.
    let options = Options {
        connect_timeout: Duration::from_secs(1),
        ..Options::default()
    };
    while !matches!(
        server.address.connect(&options),
        Err(Error::NobodyListens { .. })
    ) {
        assert!(Instant::now() < end, "it listens on");
        thread::yield_now();
    }
    exchange();
    drop(client);
    assert_eq!(server.ended(), 1);
}

#[test]
fn a_message_that_is_too_long_is_refused_and_not_cut() {
    let listen = format!("unix-seqpacket:@kpipe-long-{}", std::process::id());
    for model in [Model::Sequential, Model::Event] {
        let server = Running::start(Echo, &listen, settings(model, PATIENCE));
        // A channel would refuse it itself.
        let (mut receiver, mut sender) = server.connect().split().unwrap();
        let mut answer = vec![0; MESSAGE_BYTES + 1];
        sender.write_all(&[1; MESSAGE_BYTES]).unwrap();
        assert_eq!(receiver.read(&mut answer).unwrap(), MESSAGE_BYTES);
        sender.write_all(&[1; MESSAGE_BYTES + 1]).unwrap();
        assert_eq!(receiver.read(&mut answer).unwrap(), 0, "{model:?}");
        drop((receiver, sender));
        server.stop();
        server.ended();
    }
}

// SPDX-License-Identifier: MIT

//! Servers and clients that break the rules, say nothing, or vanish: what the other side is told, and that nobody waits
//! for ever.

mod common;

use common::{abstract_name, frames, pair, with_own_server, DemoClient, DEADLINE, SOON};
use kpipe::channel::Channel;
use kpipe_protocol::demo::{Call, Service};
use kpipe_protocol::rpc::{self, Fault, FaultCode, RpcError};
use kpipe_protocol::{write_frame, Broken, Frame, FrameError, Kind, Limit, HEADER_BYTES};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

#[test]
fn a_server_tells_a_client_that_breaks_the_protocol_why_and_leaves() {
    let (mut client, mut server) = pair(&format!("unix:{}", abstract_name("garbage")));
    thread::scope(|scope| {
        let server = scope.spawn(move || {
            rpc::serve(&mut *server, Limit::default(), |request| {
                Service::new().answer(request, Limit::default())
            })
        });
        client.write_all(b"hello\n").unwrap();
        let mut frames = frames(&mut *client);
        let last = frames.read_frame().unwrap().unwrap();
        assert_eq!((last.kind, last.number), (Kind::Error, 0));
        let fault: Fault = rpc::decode(&last.body).unwrap();
        assert_eq!(fault.code, FaultCode::Protocol);
        assert!(fault.text.contains("version 104"), "{fault}");
        let ended = server.join().unwrap();
        assert!(matches!(
            ended,
            Err(FrameError::Broken(Broken::Version(104)))
        ));
    });
}

/// Two calls wait; each gets the error that `server` causes.
fn both_callers_see(server: impl FnOnce(&mut dyn Channel) + Send, expected: &str) {
    with_own_server(
        |mut channel| {
            for _ in 0..2 {
                frames_one_by_one(&mut *channel);
            }
            server(&mut *channel);
        },
        |client| {
            let call = || client.call(&Call::Stat, DEADLINE).unwrap_err().to_string();
            thread::scope(|scope| {
                let other = scope.spawn(call);
                assert!(call().contains(expected), "{}", call());
                assert!(other.join().unwrap().contains(expected));
            });
            let later = call();
            assert!(later.contains(expected), "{later}");
        },
    );
}

/// Reads one request and nothing of the next.
fn frames_one_by_one(channel: &mut dyn Channel) {
    let mut header = [0; HEADER_BYTES];
    channel.read_exact(&mut header).unwrap();
    let length = u32::from_be_bytes(header[4..].try_into().unwrap());
    channel.read_exact(&mut vec![0; length as usize]).unwrap();
}

#[test]
fn all_callers_learn_how_the_channel_ended() {
    both_callers_see(|_| {}, "the channel to the server ended");
    both_callers_see(
        |channel| channel.write_all(b"garbage").unwrap(),
        "a frame of version 103 came",
    );
    both_callers_see(
        |channel| {
            channel
                .write_all(&[1, 2, 0, 0, 0xff, 0xff, 0xff, 0xff])
                .unwrap()
        },
        "a frame of 4294967295 bytes came, 1048576 are allowed",
    );
    both_callers_see(
        |channel| {
            channel
                .write_all(&[1, 2, 0, 0, 0, 0, 0, 100, 0, 0])
                .unwrap()
        },
        "the peer ended after 10 bytes of a frame of 108",
    );
    let frame = |kind, number| Frame {
        kind,
        number,
        body: Vec::new(),
    };
    both_callers_see(
        move |channel| write_frame(channel, &frame(Kind::Request, 1), Limit::default()).unwrap(),
        "a Request with number 1 came, which nobody waits for",
    );
    both_callers_see(
        move |channel| write_frame(channel, &frame(Kind::Response, 99), Limit::default()).unwrap(),
        "a Response with number 99 came, which nobody waits for",
    );
    both_callers_see(
        move |channel| write_frame(channel, &frame(Kind::Relay, 1), Limit::default()).unwrap(),
        "a Relay with number 1 came, which nobody waits for",
    );
    let stopping = Fault::new(FaultCode::Stopping, "for the night").frame(0, Limit::default());
    both_callers_see(
        move |channel| write_frame(channel, &stopping, Limit::default()).unwrap(),
        "the server ended the channel: the server stops: for the night",
    );
}

#[test]
fn a_reply_of_another_interface_is_an_error_of_its_call() {
    with_own_server(
        |mut channel| {
            let mut frames = frames(&mut *channel);
            let request = frames.read_frame().unwrap().unwrap();
            let reply = Frame {
                kind: Kind::Response,
                number: request.number,
                body: vec![200],
            };
            write_frame(frames.get_mut(), &reply, Limit::default()).unwrap();
            let _ = frames.read_frame();
        },
        |client| {
            let reply = client.call(&Call::Stat, DEADLINE);
            assert!(matches!(reply, Err(RpcError::BadReply(_))), "{reply:?}");
        },
    );
}

#[test]
fn a_call_to_a_server_that_never_reads_times_out_and_so_does_the_one_behind_it() {
    let (stop, stopped) = mpsc::channel::<()>();
    with_own_server(
        move |channel| {
            let _ = stopped.recv_timeout(DEADLINE);
            drop(channel);
        },
        |client| {
            thread::scope(|scope| {
                // More than a pipe holds, so a part of it is written and the rest cannot be.
                let call = || client.call(&Call::Echo(vec![0; 500_000]), SOON);
                let calls = [scope.spawn(call), scope.spawn(call)];
                for call in calls {
                    let error = call.join().unwrap().unwrap_err();
                    assert!(
                        matches!(error, RpcError::TimedOut(_) | RpcError::Ended(_)),
                        "{error}"
                    );
                }
            });
            // On a slow machine both may have been too late to write anything.
            let is_written = |result| matches!(result, Err(RpcError::Ended(_)));
            let deadline = Instant::now() + DEADLINE;
            while !is_written(client.call(&Call::Echo(vec![0; 500_000]), SOON)) {
                assert!(Instant::now() < deadline, "nothing was written");
            }
            // Half a request is in the pipe: what follows would be taken for the rest of it.
            let later = client.call(&Call::Stat, SOON);
            assert!(matches!(later, Err(RpcError::Ended(_))), "{later:?}");
            stop.send(()).unwrap();
        },
    );
}

#[test]
fn a_client_can_be_dropped_while_the_server_says_nothing() {
    let (client, server) = pair("pipe:");
    let (dropped, is_dropped) = mpsc::channel();
    thread::spawn(move || {
        drop(DemoClient::new(client).unwrap());
        dropped.send(()).unwrap();
    });
    is_dropped
        .recv_timeout(DEADLINE)
        .expect("it waits for the server");
    drop(server);
}

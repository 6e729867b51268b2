// SPDX-License-Identifier: MIT

//! Calls over channels: typed results, errors that travel, timeouts, and many at a time.

mod common;

use common::{abstract_name, frames, pair, with_own_server, DemoClient, DEADLINE, SOON};
use kpipe::channel::Carries;
use kpipe_protocol::demo::{Call, Reply, Service};
use kpipe_protocol::rpc::{self, Fault, FaultCode, RpcError};
use kpipe_protocol::{write_frame, FrameError, FrameReader, Limit};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

/// A client of the smallest server, which ends with the client.
fn with_server(address: &str, test: impl FnOnce(&DemoClient)) -> Result<(), FrameError> {
    let (client, mut server) = pair(address);
    let limit = Limit::of(server.carries());
    thread::scope(|scope| {
        let server = scope.spawn(move || {
            let service = Service::new();
            rpc::serve(&mut *server, limit, |request| {
                service.answer(request, limit)
            })
        });
        let client = DemoClient::new(client).unwrap();
        test(&client);
        drop(client);
        server.join().unwrap()
    })
}

fn fault(client: &DemoClient, call: &Call) -> Fault {
    match client.call(call, DEADLINE) {
        Err(RpcError::Fault(fault)) => fault,
        other => panic!("{call:?} gave {other:?}"),
    }
}

#[test]
fn every_call_gives_its_typed_result_over_bytes_and_messages() {
    for address in [
        "pipe:",
        &format!("unix:{}", abstract_name("calls")),
        &format!("unix-seqpacket:{}", abstract_name("packets")),
        "tcp:127.0.0.1:0",
    ] {
        with_server(address, |client| {
            let call = |call: Call| client.call(&call, DEADLINE).unwrap();
            for len in [0, 1, 5000, 60_000] {
                let bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
                assert_eq!(
                    call(Call::Echo(bytes.clone())),
                    Reply::Echo(bytes),
                    "{address}"
                );
            }
            assert_eq!(call(Call::Sum(i64::MAX, i64::MIN)), Reply::Sum(-1));
            assert_eq!(
                call(Call::Upper("Größe".to_owned())),
                Reply::Upper("GRÖSSE".to_owned())
            );
            assert_eq!(call(Call::Sleep(0)), Reply::Slept);
            assert!(matches!(call(Call::Time), Reply::Time { unix_ns } if unix_ns > 1 << 60));
            assert!(matches!(call(Call::Stat), Reply::Stat { calls: 8, .. }));
        })
        .unwrap();
    }
}

#[test]
fn a_call_is_one_datagram_each_way() {
    let (client, mut server) = pair("udp:127.0.0.1:0");
    let bytes = vec![7; 60_000];
    thread::scope(|scope| {
        scope.spawn(move || {
            let limit = Limit::of(server.carries());
            let mut frames = FrameReader::new(&mut *server, Carries::Messages, limit);
            let request = frames.read_frame().unwrap().unwrap();
            let answer = Service::new().answer(&request, limit).unwrap();
            write_frame(frames.get_mut(), &answer.frame, limit).unwrap();
        });
        let client = DemoClient::new(client).unwrap();
        let reply = client.call(&Call::Echo(bytes.clone()), DEADLINE).unwrap();
        assert_eq!(reply, Reply::Echo(bytes));
    });
}

#[test]
fn errors_travel_and_the_channel_stays_usable() {
    with_server("pipe:", |client| {
        let failed = fault(client, &Call::Fail("no paper".to_owned()));
        assert_eq!(failed, Fault::new(FaultCode::Failed, "no paper"));
        let text = fault(client, &Call::Sum(i64::MAX, 1)).text;
        assert_eq!(text, "9223372036854775807 + 1 does not fit into 64 bits");
        assert_eq!(
            fault(client, &Call::Sleep(u32::MAX)).code,
            FaultCode::Refused
        );
        let stat = client.call(&Call::Stat, DEADLINE).unwrap();
        assert!(
            matches!(
                stat,
                Reply::Stat {
                    calls: 3,
                    faults: 3,
                    ..
                }
            ),
            "{stat:?}"
        );
    })
    .unwrap();
}

#[test]
fn a_call_longer_than_the_limit_is_refused_before_it_is_sent() {
    with_server("pipe:", |client| {
        let too_long = client.call(&Call::Echo(vec![0; 1 << 20]), DEADLINE);
        assert!(
            matches!(too_long, Err(RpcError::CallTooLong(_))),
            "{too_long:?}"
        );
        assert_eq!(
            client.call(&Call::Sum(1, 2), DEADLINE).unwrap(),
            Reply::Sum(3)
        );
    })
    .unwrap();
}

#[test]
fn a_timeout_ends_one_call_and_its_late_reply_is_not_taken_for_another() {
    let (late, answer_now) = mpsc::channel();
    with_own_server(
        move |mut channel| {
            let mut frames = frames(&mut *channel);
            let slow = frames.read_frame().unwrap().unwrap();
            answer_now.recv_timeout(DEADLINE).unwrap();
            let service = Service::new();
            let mut request = slow;
            for is_last in [false, true] {
                let answer = service.answer(&request, Limit::default()).unwrap();
                write_frame(frames.get_mut(), &answer.frame, Limit::default()).unwrap();
                if !is_last {
                    request = frames.read_frame().unwrap().unwrap();
                }
            }
        },
        |client| {
            let began = Instant::now();
            let slow = client.call(&Call::Sum(1, 1), SOON);
            assert!(matches!(slow, Err(RpcError::TimedOut(SOON))), "{slow:?}");
            assert!(began.elapsed() >= SOON);
            late.send(()).unwrap();
            assert_eq!(
                client.call(&Call::Sum(2, 2), DEADLINE).unwrap(),
                Reply::Sum(4)
            );
        },
    );
}

#[test]
fn calls_of_many_threads_share_a_channel_and_each_gets_its_own_reply() {
    with_server("pipe:", |client| {
        thread::scope(|scope| {
            for thread in 0..8 {
                scope.spawn(move || {
                    for call in 0..200 {
                        let reply = client.call(&Call::Sum(thread * 1000, call), DEADLINE);
                        assert_eq!(reply.unwrap(), Reply::Sum(thread * 1000 + call));
                    }
                });
            }
        });
    })
    .unwrap();
}

#[test]
fn replies_may_overtake_each_other() {
    const CALLS: i64 = 8;
    with_own_server(
        |mut channel| {
            let mut frames = frames(&mut *channel);
            // All wait at the same time, or this would never end; the last is answered first.
            let requests: Vec<_> = (0..CALLS)
                .map(|_| frames.read_frame().unwrap().unwrap())
                .collect();
            for request in requests.iter().rev() {
                let answer = Service::new().answer(request, Limit::default()).unwrap();
                write_frame(frames.get_mut(), &answer.frame, Limit::default()).unwrap();
            }
        },
        |client| {
            thread::scope(|scope| {
                for call in 0..CALLS {
                    scope.spawn(move || {
                        let reply = client.call(&Call::Sum(call, call), DEADLINE);
                        assert_eq!(reply.unwrap(), Reply::Sum(2 * call));
                    });
                }
            });
        },
    );
}

#[test]
fn a_reply_longer_than_the_limit_is_an_error_of_its_call() {
    with_server("pipe:", |client| {
        // Two bytes, of which upper case makes three.
        let text = "ŉ".repeat(500_000);
        assert_eq!("ŉ".to_uppercase().len(), 3);
        let too_long = fault(client, &Call::Upper(text));
        assert_eq!(too_long.code, FaultCode::ReplyTooLong, "{too_long}");
        assert_eq!(
            client.call(&Call::Sum(1, 2), DEADLINE).unwrap(),
            Reply::Sum(3)
        );
    })
    .unwrap();
}

// SPDX-License-Identifier: MIT

//! Clients that break, stall or vanish, and handlers that crash: who else notices, and what is left of them.

use crate::serve::{answer, request};
use crate::server::{each, leave, read_to_end, Server, CONCURRENT, MODELS};
use crate::support::{until, Place, PATIENCE};
use kpipe::channel::{Address, Channel};
use kpipe_protocol::demo::{Call, Reply};
use kpipe_protocol::rpc::decode;
use kpipe_protocol::{Decoder, Kind, Limit};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

fn sum(channel: &mut dyn Channel) -> Reply {
    channel.write_all(&request(1, &Call::Sum(1, 2))).unwrap();
    decode(&answer(channel).body).unwrap()
}

/// What the server says last to a client that it ends: an error with number 0.
fn last_words(channel: &mut dyn Channel) -> String {
    let said = read_to_end(channel);
    let mut decoder = Decoder::new(Limit::default());
    let frame = decoder
        .decode(&mut &said[..])
        .unwrap()
        .expect("a last word");
    assert_eq!((frame.kind, frame.number), (Kind::Error, 0));
    String::from_utf8_lossy(&frame.body).into_owned()
}

#[test]
fn bad_frames_are_refused_and_nothing_is_left_of_them() {
    each(&MODELS, |model| {
        let place = Place::new();
        let server = Server::start(&place, "rpc", model, "tcp:127.0.0.1:0", &[]);
        let mut warm = server.connect();
        assert_eq!(sum(&mut *warm), Reply::Sum(3));
        leave(warm);
        let before = settled(&server);
        let garbage: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        let whole = request(1, &Call::Stat);
        for (bytes, word) in [
            (&garbage[..], "version"),
            (&[1, 1, 0, 0, 255, 255, 255, 255], "4294967295 bytes came"),
            (&[1, 9, 0, 0, 0, 0, 0, 8], "kind 9"),
            (&[1, 1, 0, 0, 0, 0, 0, 3], "3 bytes came"),
        ] {
            let mut client = server.connect();
            // The server may end the connection before it has it all.
            let _ = client.write_all(bytes);
            let words = last_words(&mut *client);
            assert!(words.contains(word), "{model}: {words}");
        }
        // Half a frame, and gone.
        let mut client = server.connect();
        client.write_all(&whole[..whole.len() / 2]).unwrap();
        drop(client);
        // Nothing, and gone; and gone by a reset.
        drop(server.connect());
        reset(&server.address);
        let mut good = server.connect();
        assert_eq!(sum(&mut *good), Reply::Sum(3), "{model}");
        drop(good);
        until("nothing is left", || server.belongings() == before);
        let log = server.stop();
        for word in [
            "refused: a frame of 4294967295 bytes",
            "ended after 8 bytes of a frame",
        ] {
            assert!(log.contains(word), "{model}: {log}");
        }
    });
}

/// The belongings of a server that all clients have left ([`leave`]): when they are the same twice.
fn settled(server: &Server) -> (usize, usize) {
    let mut last = server.belongings();
    until("it is quiet", || {
        std::thread::sleep(Duration::from_millis(20));
        let now = server.belongings();
        let same = now == last;
        last = now;
        same && now.1 == 0
    });
    last
}

/// Closes with bytes unread and a linger of 0: the server sees a reset, not an end.
fn reset(address: &Address) {
    let Address::Tcp { host, port } = address else {
        panic!("{address}");
    };
    let stream = TcpStream::connect((host.as_str(), port.parse().unwrap())).unwrap();
    (&stream).write_all(&request(1, &Call::Stat)).unwrap();
    let linger = Some(Duration::ZERO);
    socket2::SockRef::from(&stream).set_linger(linger).unwrap();
}

/// All at the same time, as they mostly wait.
#[test]
fn a_client_that_stalls_or_dribbles_or_is_silent_is_ended_in_time() {
    each(&MODELS, |model| {
        std::thread::scope(|scope| {
            scope.spawn(|| stalls(model));
            scope.spawn(|| dribbles(model));
            scope.spawn(|| is_silent(model));
        });
    });
}

/// Long enough for a good client, also where the machine stalls for seconds.
const LIMIT: [&str; 2] = ["--timeout", "5s"];
const INCOMPLETE: &str = "its request was not complete within 5 s";

fn stalls(model: &str) {
    let place = Place::new();
    let server = Server::start(&place, "rpc", model, "unix:s", &LIMIT);
    let mut stalled = server.connect();
    stalled.write_all(&request(1, &Call::Stat)[..10]).unwrap();
    if CONCURRENT.contains(&model) {
        let mut good = server.connect();
        assert_eq!(sum(&mut *good), Reply::Sum(3), "{model}");
    }
    let words = last_words(&mut *stalled);
    assert!(words.contains("in time"), "{model}: {words}");
    let log = server.stop();
    assert!(log.contains(INCOMPLETE), "{model}: {log}");
}

/// A byte now and then does not help: the limit is for the whole request.
fn dribbles(model: &str) {
    let place = Place::new();
    let server = Server::start(&place, "rpc", model, "unix:s", &LIMIT);
    let began = Instant::now();
    let mut dribbling = server.connect();
    dribbling
        .set_timeouts(Some(Duration::from_millis(100)), Some(PATIENCE))
        .unwrap();
    let call = request(1, &Call::Upper("x".repeat(200)));
    let is_ended = call.chunks(1).any(|byte| {
        let sent = dribbling.write_all(byte);
        let read = dribbling.read(&mut [0; 512]);
        !matches!(read, Err(error) if error.kind() == ErrorKind::TimedOut && sent.is_ok())
    });
    let time = began.elapsed();
    assert!(is_ended, "{model}: it could go on for {time:?}");
    let log = server.stop();
    assert!(log.contains(INCOMPLETE), "{model}: {log}");
}

/// And silence between requests has the same limit.
fn is_silent(model: &str) {
    let place = Place::new();
    let server = Server::start(&place, "rpc", model, "unix:s", &LIMIT);
    let mut silent = server.connect();
    assert_eq!(sum(&mut *silent), Reply::Sum(3), "{model}");
    let words = last_words(&mut *silent);
    assert!(words.contains("in time"), "{model}: {words}");
    let log = server.stop();
    assert!(log.contains("it said nothing for 5 s"), "{model}: {log}");
}

#[test]
fn a_client_that_does_not_take_its_answer_is_ended() {
    each(&MODELS, |model| {
        let place = Place::new();
        let server = Server::start(&place, "echo", model, "unix:s", &LIMIT);
        let mut greedy = server.connect();
        // Until both ways are full, and then until the server has had enough.
        let error = loop {
            if let Err(error) = greedy.write_all(&[0; 65536]) {
                break error;
            }
        };
        assert!(
            matches!(
                error.kind(),
                ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
            ),
            "{error}"
        );
        drop(greedy);
        let mut good = server.connect();
        good.write_all(b"x").unwrap();
        good.read_exact(&mut [0]).unwrap();
        drop(good);
        let log = server.stop();
        assert!(
            log.contains("it took nothing of the answer for 5 s"),
            "{model}: {log}"
        );
    });
}

#[test]
fn a_crash_ends_a_process_with_its_client_or_a_server_with_all() {
    each(&MODELS, |model| {
        let place = Place::new();
        let server = Server::start(&place, "echo", model, "unix:s", &["--crash-on", "die"]);
        let mut other = CONCURRENT.contains(&model).then(|| server.connect());
        if let Some(other) = &mut other {
            other.write_all(b"x").unwrap();
            other.read_exact(&mut [0]).unwrap();
        }
        let mut victim = server.connect();
        victim.write_all(b"die").unwrap();
        assert_eq!(read_to_end(&mut *victim), b"", "{model}");
        drop(victim);
        if !model.starts_with("fork") {
            if let Some(mut other) = other {
                assert_eq!(other.read(&mut [0]).unwrap_or(0), 0, "{model}");
            }
            let output = server.ended();
            assert_eq!(output.status.signal(), Some(nix::libc::SIGABRT), "{model}");
            return;
        }
        let mut other = other.unwrap_or_else(|| server.connect());
        other.write_all(b"y").unwrap();
        other.read_exact(&mut [0]).unwrap();
        drop(other);
        until("no process is left", || server.belongings().1 == 0);
        let log = server.stop();
        assert!(
            log.contains("was ended by SIGABRT; only this connection ends"),
            "{model}: {log}"
        );
    });
}

#[test]
fn a_panic_ends_one_connection_in_every_model() {
    each(&MODELS, |model| {
        let place = Place::new();
        let options = ["--panic-on", "die", "--workers", "2"];
        let server = Server::start(&place, "echo", model, "unix:s", &options);
        let mut other = CONCURRENT.contains(&model).then(|| server.connect());
        // As often as there are workers, and once more.
        for _ in 0..3 {
            let mut victim = server.connect();
            victim.write_all(b"die").unwrap();
            assert_eq!(read_to_end(&mut *victim), b"", "{model}");
        }
        let mut other = other.take().unwrap_or_else(|| server.connect());
        other.write_all(b"y").unwrap();
        other.read_exact(&mut [0]).unwrap();
        drop(other);
        let log = server.stop();
        assert_eq!(
            log.matches("the handler panicked").count(),
            3,
            "{model}: {log}"
        );
    });
}

#[test]
fn many_clients_leave_nothing_behind() {
    each(&MODELS, |model| {
        let place = Place::new();
        let server = Server::start(&place, "echo", model, "unix:s", &[]);
        let round = || {
            for _ in 0..100 {
                let mut client = server.connect();
                client.write_all(b"x").unwrap();
                client.read_exact(&mut [0]).unwrap();
                leave(client);
            }
        };
        round();
        let before = settled(&server);
        // The last thread may outlive its connection for a moment, now and in the end.
        let threads = server.threads();
        round();
        until("all are gone", || {
            server.belongings() == before && server.threads() <= threads
        });
        let output = server.stop();
        assert_eq!(output, "", "{model}");
    });
}

#[test]
fn a_server_without_descriptors_goes_on_when_there_are_some() {
    each(&["thread", "event"], |model| {
        let place = Place::new();
        let server = Server::start(
            &place,
            "echo",
            model,
            "unix:s",
            &["--max-connections", "1000"],
        );
        let (used, _) = server.belongings();
        let pid = rustix::process::Pid::from_raw(server.pid.try_into().unwrap());
        let limit = rustix::process::Rlimit {
            current: Some(used as u64 + 5),
            maximum: Some(used as u64 + 5),
        };
        rustix::process::prlimit(pid, rustix::process::Resource::Nofile, limit).unwrap();
        let mut clients: Vec<_> = (0..6).map(|_| server.connect()).collect();
        for client in &mut clients {
            // Who was taken when something ran out is turned away; the others wait.
            let _ = client.write_all(b"x");
        }
        let mut served = 0;
        let mut ask_all = |milliseconds| {
            let limit = Some(Duration::from_millis(milliseconds));
            for client in &mut clients {
                client.set_timeouts(limit, limit).unwrap();
                served += client.read(&mut [0]).unwrap_or(0);
            }
            served
        };
        until("one is served", || ask_all(10) > 0);
        // And whoever else is going to be.
        let served = ask_all(300);
        assert!((1..6).contains(&served), "{model}: {served}");
        clients.truncate(1);
        drop(clients);
        // Until the server has seen the others go, it has no descriptors for this one either.
        until("a late one is served", || {
            let mut late = server.connect();
            late.write_all(b"x").is_ok() && late.read_exact(&mut [0]).is_ok()
        });
        let output = server.stop();
        assert!(
            output.contains("no client is taken for a moment"),
            "{model}: {output}"
        );
        assert!(output.lines().count() < 100, "{model}: it spins");
    });
}

#[test]
fn a_stopped_server_of_processes_tells_them() {
    let place = Place::new();
    let server = Server::start(&place, "echo", "fork", "unix:s", &[]);
    let mut client = server.connect();
    client.write_all(b"x").unwrap();
    client.read_exact(&mut [0]).unwrap();
    assert_eq!(server.belongings().1, 1);
    assert_eq!(server.stop(), "");
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}

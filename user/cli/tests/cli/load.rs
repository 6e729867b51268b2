// SPDX-License-Identifier: MIT

//! `kpipe load` against `kpipe serve`, and against servers that do not do what they should.

use crate::support::{assert_fails, stderr, stdout, Place, Running};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};

/// A server, and where it listens.
pub fn serve(place: &Place, args: &[&str]) -> (Running, String) {
    let mut server = place.start(&[&["serve"], args].concat());
    let line = server.first_line();
    let address = line.trim_end().strip_prefix("listening at ");
    (server, address.expect(&line).to_owned())
}

/// `kpipe load --json` of `target`, which must go well.
fn load(place: &Place, target: &str, args: &[&str]) -> Value {
    let patient = ["load", "--json", "--timeout", "100s", "--target", target];
    let args = [&patient, args].concat();
    let output = place.run(&args);
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    serde_json::from_str(&stdout(&output)).unwrap()
}

#[test]
fn every_request_is_answered_on_every_kind_of_channel() {
    let place = Place::new();
    for (address, clients) in [
        ("tcp:127.0.0.1:0", 20),
        ("unix:socket", 20),
        ("unix-seqpacket:packets", 20),
        ("fifo:a,b", 1),
    ] {
        let (_server, target) = serve(&place, &["echo", "--listen", address, "--model", "event"]);
        let clients_text = clients.to_string();
        let args = [
            "--clients",
            &clients_text,
            "--requests",
            "30",
            "--size",
            "10000",
        ];
        let report = load(&place, &target, &args);
        assert_eq!(report["answered"], clients * 30, "{report}");
        assert_eq!(report["requests"], clients * 30, "{report}");
        assert_eq!(report["connected"], clients, "{report}");
        assert_eq!(report["size_bytes"], 10_000);
        assert_eq!(report["failures"], serde_json::json!({}));
        let time = |name: &str| report["latency_ns"][name].as_u64().unwrap();
        let times = ["p50", "p99", "p99_9", "max"].map(time);
        assert!(times[0] > 0 && times.is_sorted(), "{report}");
        assert!(report["per_second"].as_f64().unwrap() > 0.0, "{report}");
    }
}

#[test]
fn more_than_fits_into_the_queues_goes_through() {
    let place = Place::new();
    let (_server, target) = serve(&place, &["echo", "--listen", "unix:socket"]);
    let report = load(
        &place,
        &target,
        &["--clients", "2", "--requests", "2", "--size", "4M"],
    );
    assert_eq!(report["answered"], 4);
}

#[test]
fn calls_and_files_are_checked_as_well() {
    let place = Place::new();
    let (_server, target) = serve(&place, &["rpc", "--listen", "tcp:127.0.0.1:0"]);
    let report = load(
        &place,
        &target,
        &["--protocol", "rpc", "--size", "5K", "--clients", "3"],
    );
    assert_eq!(
        (&report["answered"], &report["protocol"]),
        (&300.into(), &"rpc".into())
    );

    place.file("page.html", &[b'x'; 5000]);
    let (_server, target) = serve(
        &place,
        &["http", "--root", ".", "--listen", "tcp:127.0.0.1:0"],
    );
    let http = ["--protocol", "http", "--clients", "3", "--path"];
    let report = load(&place, &target, &[&http[..], &["/page.html"]].concat());
    assert_eq!(
        (&report["answered"], &report["size_bytes"]),
        (&300.into(), &Value::Null)
    );
    let args = [&["load", "--target", &target], &http[..], &["/none"]].concat();
    let output = place.run(&args);
    assert_fails(&output, 1, &["300 of 300 requests not answered"]);
    assert!(stdout(&output).contains("3 clients: HTTP status 404"));
}

#[test]
fn a_thousand_clients_are_there_at_once() {
    let place = Place::new();
    let listen = [
        "echo",
        "--listen",
        "tcp:127.0.0.1:0",
        "--model",
        "event",
        "--backlog",
        "1024",
    ];
    let (_server, target) = serve(&place, &listen);
    let args = ["--clients", "1000", "--requests", "2", "--together"];
    let report = load(&place, &target, &args);
    assert_eq!(report["connected"], 1000);
    assert_eq!(report["answered"], 2000);
}

#[test]
fn the_table_has_the_percentiles_and_the_rate() {
    let place = Place::new();
    let (_server, target) = serve(&place, &["echo", "--listen", "unix:socket"]);
    let output = place.run(&[
        "load",
        "--target",
        &target,
        "--clients",
        "2",
        "--requests",
        "10",
    ]);
    let text = stdout(&output);
    for words in [
        "p50",
        "p99.9",
        "2 of 2 connected; 20 of 20 requests answered in",
        "answered after",
    ] {
        assert!(text.contains(words), "{words:?} is not in: {text}");
    }
}

#[test]
fn nobody_listens() {
    let place = Place::new();
    let output = place.run(&["load", "--target", "unix:none"]);
    assert_fails(&output, 1, &["unix:none: nobody listens there"]);
}

/// What `kpipe load` says of two requests to a server that does `serve` with each connection.
fn with_server(timeout: &str, serve: impl Fn(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("tcp:{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for client in listener.incoming() {
            serve(client.unwrap());
        }
    });
    let args = [
        "load",
        "--target",
        &target,
        "--clients",
        "1",
        "--requests",
        "2",
        "--timeout",
        timeout,
    ];
    let output = Place::new().run(&args);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    stdout(&output) + &stderr(&output)
}

#[test]
fn what_is_wrong_with_a_server_is_said() {
    let echo_once = |mut client: TcpStream| {
        let mut bytes = [0; 64];
        client.read_exact(&mut bytes).unwrap();
        client.write_all(&bytes).unwrap();
        client
    };
    // A server that closes with bytes unread resets the connection, and the second request may be there: so it says
    // that it ends, and waits for the client.
    let said = with_server("100s", move |client| {
        let mut client = echo_once(client);
        client.shutdown(Shutdown::Write).unwrap();
        let _ = client.read_to_end(&mut Vec::new());
    });
    assert!(said.contains("1 of 2 requests answered"), "{said}");
    assert!(said.contains("1 client: connection closed"), "{said}");
    assert!(said.contains("1 of 2 requests not answered"), "{said}");

    let said = with_server("100s", |mut client| {
        client.read_exact(&mut [0; 64]).unwrap();
        client.write_all(&[b'x'; 64]).unwrap();
    });
    assert!(said.contains("1 client: other bytes came back"), "{said}");

    let said = with_server("300ms", move |client| {
        // The second request gets no answer: it waits for the client to give up.
        let mut client = echo_once(client);
        let _ = client.read_to_end(&mut Vec::new());
    });
    assert!(said.contains("1 client: no answer in time"), "{said}");
}

#[test]
fn a_second_client_of_two_queues_is_told_so() {
    let place = Place::new();
    let (_server, target) = serve(&place, &["echo", "--listen", "fifo:a,b"]);
    let output = place.run(&[
        "load",
        "--target",
        &target,
        "--clients",
        "2",
        "--requests",
        "5",
    ]);
    assert_fails(&output, 1, &["5 of 10 requests not answered"]);
    assert!(stdout(&output).contains("1 client: not connected: another client has these queues"));
}

#[test]
fn wrong_usage_is_refused() {
    let place = Place::new();
    for (args, words) in [
        (["--target", "nonsense"].as_slice(), "nonsense"),
        (&["--target", "unix:x", "--clients", "0"], "0"),
        (&["--target", "unix:x", "--size", "0"], "at least 1"),
        (&["--target", "unix:x", "--size", "1G"], "at most 16M"),
    ] {
        assert_fails(&place.run(&[&["load"], args].concat()), 2, &[words]);
    }
    let args = ["load", "--target", "udp:127.0.0.1:9", "--size", "100K"];
    assert_fails(&place.run(&args), 1, &["do not fit into a message"]);
}

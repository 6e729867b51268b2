// SPDX-License-Identifier: MIT

//! Servers on queues of the device, and with clients that others wrote.

use crate::commands::{file, run, run_with, until, Server, MODELS};
use crate::Test;
use kpipe::channel::{Address, Channel, Options};
use kpipe::{Carrier, Control, Queue, Transport};
use serde_json::Value;
use std::io::{Read, Write};
use tempfile::TempDir;

/// The tests.
pub const TESTS: &[Test] = &[
    (
        "servers::every_model_echoes_through_queues_of_the_device",
        echoes,
        &[],
    ),
    (
        "servers::files_and_calls_go_through_queues_too",
        files_and_calls,
        &[],
    ),
    (
        "servers::a_second_client_of_the_queues_is_told_so",
        taken,
        &[],
    ),
    (
        "servers::queues_are_free_again_after_every_end_of_a_client",
        freed,
        &[],
    ),
    (
        "servers::each_item_of_the_pools_queue_wakes_one_worker",
        pool_wakes,
        &[],
    ),
    (
        "servers::a_request_is_traced_from_interrupt_to_interrupt",
        traced,
        &[],
    ),
    (
        "servers::curl_gets_what_http_promises_from_every_model",
        curl,
        &["curl"],
    ),
    (
        "servers::ab_finds_no_failed_request_in_any_model",
        ab,
        &["ab"],
    ),
];

/// Puts both queues on a transport.
fn carry(carrier: Carrier) {
    for number in [0, 1] {
        let transport = Transport {
            carrier,
            ..Transport::default()
        };
        let monitor = Queue::number(number).monitor().unwrap();
        monitor.set_transport(transport).unwrap();
    }
}

/// However the test ends.
struct DirectAgain;

impl Drop for DirectAgain {
    fn drop(&mut self) {
        carry(Carrier::Direct);
    }
}

/// A web request on queues with an interrupt: the way of the request, and that of the reply.
fn traced(folder: &TempDir) {
    std::fs::write(folder.path().join("page"), "hello").unwrap();
    carry(Carrier::Doorbell);
    let _direct_again = DirectAgain;
    let root = folder.path().to_str().unwrap();
    let server = Server::start("http", "thread", QUEUES, &["--root", root]);
    let trace = folder.path().join("trace");
    let trace = trace.to_str().unwrap();
    let client = ["kpipe", "client", "http", QUEUES, "/page"];
    let words = ["kpipe", "trace", "--all", "--json", "--output", trace, "--"];
    assert_eq!(run(&[&words[..], &client].concat()).text(), "hello");
    server.stop();
    let trace: Value = serde_json::from_slice(&std::fs::read(trace).unwrap()).unwrap();
    for queue in [0, 1] {
        let requests = trace["requests"].as_array().unwrap();
        let request = requests.iter().find(|request| request["queue"] == queue);
        let steps = request.expect("a write to it")["steps"].as_array().unwrap();
        for event in [
            "enter",
            "transfer",
            "interrupt",
            "bottom_half_begin",
            "bottom_half_end",
            "leave",
        ] {
            assert!(
                steps.iter().any(|step| step["event"] == event),
                "{event}: {steps:?}"
            );
        }
    }
}

const QUEUES: &str = "kpipe:0,1";

fn much() -> Vec<u8> {
    (0..200_000_u32).flat_map(u32::to_le_bytes).collect()
}

fn connect(address: &str) -> Box<dyn Channel> {
    let address: Address = address.parse().unwrap();
    let mut channel = address.connect(&Options::default()).unwrap();
    let limit = Some(crate::commands::deadline());
    channel.set_timeouts(limit, limit).unwrap();
    channel
}

fn exchange(channel: &mut dyn Channel, text: &[u8]) {
    channel.write_all(text).unwrap();
    let mut back = vec![0; text.len()];
    channel.read_exact(&mut back).unwrap();
    assert_eq!(back, text);
}

/// Ends of both queues that are open: for a server that waits, one reader of the first.
fn ends() -> [(u32, u32); 2] {
    [0, 1].map(|number| {
        let info = Queue::number(number).monitor().unwrap().info().unwrap();
        (info.readers, info.writers)
    })
}

const WAITING: [(u32, u32); 2] = [(1, 0), (0, 0)];

fn echoes(folder: &TempDir) {
    let input = file(folder, "input", &much());
    for model in MODELS {
        let server = Server::start("echo", model, QUEUES, &[]);
        assert_eq!(
            run(&["kpipe", "client", "echo", QUEUES, "one", "two"]).text(),
            "one\ntwo\n",
            "{model}"
        );
        let back = run_with(&["kpipe", "client", "echo", QUEUES], &input);
        assert!(back.stdout == much(), "{model}: {}", back.stderr);
        assert_eq!(server.stop(), "", "{model}");
        assert_eq!(ends(), [(0, 0); 2], "{model}");
    }
}

fn files_and_calls(folder: &TempDir) {
    file(folder, "page", &much());
    let root = folder.path().to_str().unwrap();
    let server = Server::start("http", "event", QUEUES, &["--root", root]);
    let page = run(&["kpipe", "client", "http", QUEUES, "/page"]);
    assert!(page.stdout == much(), "{}", page.stderr);
    server.stop();
    let server = Server::start("rpc", "thread", QUEUES, &[]);
    assert_eq!(
        run(&["kpipe", "client", "rpc", QUEUES, "sum", "20", "22"]).text(),
        "42\n"
    );
    server.stop();
}

fn taken(_: &TempDir) {
    let server = Server::start("echo", "event", QUEUES, &[]);
    let mut first = connect(QUEUES);
    exchange(&mut *first, b"mine");
    // It waits that long for its turn.
    let second = run(&[
        "kpipe",
        "client",
        "--timeout",
        "2s",
        "echo",
        QUEUES,
        "me too",
    ]);
    assert!(!second.status.success());
    assert!(
        second.stderr.contains("another client has these queues"),
        "{}",
        second.stderr
    );
    exchange(&mut *first, b"still mine");
    drop(first);
    exchange(&mut *connect(QUEUES), b"me now");
    server.stop();
}

/// However a client ends, and with it the process or the thread that served it.
fn freed(_: &TempDir) {
    for model in MODELS {
        let options = [
            "--panic-on",
            "panic",
            "--crash-on",
            "crash",
            "--timeout",
            "300ms",
        ];
        let server = Server::start("echo", model, QUEUES, &options);
        let serves = |after: &str| {
            until(&format!("{model} waits after {after}"), || {
                ends() == WAITING
            });
            exchange(&mut *connect(QUEUES), b"hello");
        };
        serves("its start");
        // It vanishes with an answer on its way.
        let mut client = connect(QUEUES);
        client.write_all(&[0; 100_000][..60_000]).unwrap();
        drop(client);
        serves("a client that vanished");
        let mut client = connect(QUEUES);
        client.write_all(b"panic").unwrap();
        assert_eq!(client.read(&mut [0]).unwrap(), 0, "{model}");
        drop(client);
        serves("a panic");
        let mut client = connect(QUEUES);
        exchange(&mut *client, b"x");
        assert_eq!(
            client.read(&mut [0]).unwrap(),
            0,
            "{model}: it may be silent for ever"
        );
        drop(client);
        serves("a silent client");
        if model.starts_with("fork") {
            let mut client = connect(QUEUES);
            client.write_all(b"crash").unwrap();
            assert_eq!(client.read(&mut [0]).unwrap(), 0, "{model}");
            drop(client);
            serves("a crash");
        }
        let log = server.stop();
        assert!(
            log.contains("said nothing for 0.3 s") && log.contains("panicked"),
            "{log}"
        );
    }
}

/// Clients come one at a time, so the others of the workers sleep, and could be woken in vain.
fn pool_wakes(folder: &TempDir) {
    let (clients, workers) = (100, 8);
    let listen = format!("unix:{}", folder.path().join("socket").display());
    let server = Server::start(
        "echo",
        "pool",
        &listen,
        &["-v", "--workers", &workers.to_string()],
    );
    for _ in 0..clients {
        exchange(&mut *connect(&listen), b"x");
    }
    let log = server.stop();
    assert!(
        log.contains("the work queue is of the device, in packet mode"),
        "{log}"
    );
    let line = log
        .lines()
        .find(|line| line.contains("the work queue: "))
        .expect("its counts");
    let numbers: Vec<u64> = line
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|word| word.parse().ok())
        .collect();
    let [items_in, items_out, sleeps, wakeups] = numbers[..] else {
        panic!("{line}");
    };
    assert_eq!((items_in, items_out), (clients, clients), "{line}");
    // Each item woke one at most, and the end all of them; a worker that was still awake slept less.
    assert!(
        wakeups <= clients + workers,
        "{line}: some were woken in vain"
    );
    assert!(
        wakeups >= clients / 2 + workers,
        "{line}: they did not sleep"
    );
    assert!(sleeps <= wakeups + workers, "{line}");
}

fn curl(folder: &TempDir) {
    let root = folder.path().join("root");
    std::fs::create_dir(&root).unwrap();
    file(folder, "secret", b"secret");
    std::fs::write(root.join("page.html"), "0123456789").unwrap();
    std::fs::write(root.join("much"), much()).unwrap();
    std::os::unix::fs::symlink("../secret", root.join("way-out")).unwrap();
    for model in MODELS {
        let server = Server::start(
            "http",
            model,
            "tcp:127.0.0.1:0",
            &["--root", root.to_str().unwrap()],
        );
        let curl = |options: &[&str], path: &str| {
            let url = server.url(path);
            run(&[
                &["curl", "--silent", "--show-error", "--path-as-is"],
                options,
                &[&url],
            ]
            .concat())
        };
        assert!(curl(&[], "/much").stdout == much(), "{model}");
        let format = [
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_code} %{content_type} %{size_download}",
        ];
        let told = |options: &[&str], path: &str| curl(&[&format, options].concat(), path).text();
        assert_eq!(
            told(&[], "/page.html"),
            "200 text/html; charset=utf-8 10",
            "{model}"
        );
        assert_eq!(
            told(&["--head"], "/page.html"),
            "200 text/html; charset=utf-8 0",
            "{model}"
        );
        assert_eq!(
            curl(&["--range", "2-4"], "/page.html").text(),
            "234",
            "{model}"
        );
        // The handler is the same in all.
        if model != "event" {
            server.stop();
            continue;
        }
        for (options, path, status) in [
            (&["--range", "5-6"][..], "/page.html", "206"),
            (&["--range", "10-"], "/page.html", "416"),
            (&[], "/missing", "404"),
            (&[], "/../secret", "403"),
            (&[], "/%2e%2e/secret", "403"),
            (&[], "/way-out", "403"),
            (&["--data", "x=1"], "/page.html", "405"),
            (
                &["--header", &format!("X: {}", "x".repeat(20_000))],
                "/page.html",
                "431",
            ),
            (&["--header", "Host;"], "/page.html", "200"),
            (&["--http1.0"], "/page.html", "200"),
        ] {
            let told = told(options, path);
            assert!(
                told.starts_with(status),
                "{model} {path} {options:?}: {told}"
            );
        }
        // Two files over one connection.
        let url = server.url("/page.html");
        let two = run(&[
            "curl",
            "--silent",
            "--write-out",
            "%{num_connects}",
            &url,
            &url,
        ]);
        assert_eq!(
            two.text(),
            "012345678910123456789".to_owned() + "0",
            "{model}"
        );
        server.stop();
    }
}

fn ab(folder: &TempDir) {
    file(folder, "page", &much()[..5000]);
    let root = folder.path().to_str().unwrap();
    for model in MODELS {
        let server = Server::start("http", model, "tcp:127.0.0.1:0", &["--root", root]);
        // A kept connection holds the server of one client at a time, or a worker, until ab ends.
        let can_keep = ["fork", "thread", "event"].contains(&model);
        for kept in [&["-k"][..], &[]] {
            if !kept.is_empty() && !can_keep {
                continue;
            }
            let url = server.url("/page");
            let said =
                run(&[&["ab", "-q", "-n", "200", "-c", "10"], kept, &[&url]].concat()).text();
            for (name, wanted) in [("Complete requests:", "200"), ("Failed requests:", "0")] {
                let line = said.lines().find_map(|line| line.strip_prefix(name));
                assert_eq!(line.map(str::trim), Some(wanted), "{model}: {said}");
            }
        }
        server.stop();
    }
}

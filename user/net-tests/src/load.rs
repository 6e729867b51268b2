// SPDX-License-Identifier: MIT

//! `kpipe load` where the device is, and with as many connections as one listener is asked for.

use crate::commands::{run, Server};
use crate::Test;
use nix::sys::resource::{setrlimit, Resource};
use serde_json::Value;
use tempfile::TempDir;

/// The tests.
pub const TESTS: &[Test] = &[
    (
        "load::two_queues_of_the_device_carry_calls",
        calls_over_queues,
        &[],
    ),
    (
        "load::ten_thousand_connections_are_served_at_once",
        ten_thousand,
        &[],
    ),
];

fn calls_over_queues(_: &TempDir) {
    let server = Server::start("rpc", "thread", "kpipe:0,1", &[]);
    let report = load(
        &server,
        &["--protocol", "rpc", "--clients", "1", "--requests", "500"],
    );
    assert_eq!(report["answered"], 500, "{report}");
    server.stop();
}

fn ten_thousand(_: &TempDir) {
    // Two for each connection, in the server as well, which inherits the limit.
    setrlimit(Resource::RLIMIT_NOFILE, 21_000, 21_000).unwrap();
    let server = Server::start("echo", "event", "tcp:127.0.0.1:0", &["--backlog", "4096"]);
    let report = load(
        &server,
        &[
            "--clients",
            "10000",
            "--requests",
            "1",
            "--together",
            "--timeout",
            "150s",
        ],
    );
    assert_eq!(report["connected"], 10_000, "{report}");
    assert_eq!(report["answered"], 10_000, "{report}");
    server.stop();
}

/// What `kpipe load --json` says, which must have gone well.
#[track_caller]
fn load(server: &Server, options: &[&str]) -> Value {
    let words = [
        &["kpipe", "load", "--json", "--target", &server.address],
        options,
    ]
    .concat();
    serde_json::from_str(&run(&words).text()).unwrap()
}

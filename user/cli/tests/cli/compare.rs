// SPDX-License-Identifier: MIT

//! `kpipe compare servers`: each misfortune has the effect for which the next model was invented.

use crate::server::{each, MODELS};
use crate::support::{has_ended, stderr, stdout, until, Place};
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;
use serde_json::{json, Value};
use std::time::Duration;

/// By design some of it waits for several timeouts, one after the other.
const LONG: Duration = Duration::from_secs(300);

/// The one result of this model in this scenario.
fn of<'a>(cells: &'a [Value], model: &str, scenario: &Value) -> &'a Value {
    let mut found = cells
        .iter()
        .filter(|cell| cell["model"] == model && cell["scenario"] == *scenario);
    let cell = found.next().expect("it is there");
    assert!(found.next().is_none(), "{model} {scenario} is there twice");
    cell
}

/// What `kpipe compare servers --json ARGS` finds.
fn compare(args: &[&str]) -> Vec<Value> {
    let args = [&["compare", "servers", "--json"], args].concat();
    let output = Place::new().start(&args).finish_within(LONG);
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    serde_json::from_str(&stdout(&output)).unwrap()
}

#[test]
fn what_hurts_the_other_clients_depends_on_the_model() {
    let one_process = ["sequential", "thread", "pool", "event"];
    // At the same time, as most of it is waiting for answers that do not come.
    each(&MODELS, |model| {
        // Where some answer has to be missing it costs that time. All others have to be there, although the machine
        // may stall for seconds.
        let timeout = match model {
            "sequential" | "fork-wait" => "8s",
            "pool" => "16s",
            _ => "100s",
        };
        // Where threads share a process one of them crashes it, and must get the time to do so before the others are
        // through.
        let requests = match model {
            "thread" | "pool" => "2000",
            _ => "10",
        };
        let args = ["--only", model, "--clients", "6", "--connections", "50"];
        let cells = compare(&[&args[..], &["--timeout", timeout, "--requests", requests]].concat());
        assert_eq!(cells.len(), 5);
        let answered = |model: &str, scenario: Value| {
            let cell = of(&cells, model, &scenario);
            let count = |name: &str| cell[name].as_u64().unwrap();
            100 * count("answered") / count("requests")
        };
        assert_eq!(answered(model, json!("alone")), 100, "{model}");
        assert_eq!(answered(model, json!({"connections": 50})), 100, "{model}");

        let is_stopped_by_one = ["sequential", "fork-wait"].contains(&model);
        let expected = if is_stopped_by_one { 0 } else { 100 };
        assert_eq!(answered(model, json!({"stalled": 1})), expected, "{model}");
        let expected = if is_stopped_by_one || model == "pool" {
            0
        } else {
            100
        };
        assert_eq!(answered(model, json!({"stalled": 4})), expected, "{model}");

        let crash = of(&cells, model, &json!("crash"));
        assert_eq!(
            crash["server_survived"],
            !one_process.contains(&model),
            "{crash}"
        );
        match one_process.contains(&model) {
            true => assert!(answered(model, json!("crash")) < 100, "{crash}"),
            false => assert_eq!(answered(model, json!("crash")), 100, "{crash}"),
        }
    });
}

#[test]
fn the_tables_name_every_model_in_every_scenario_and_what_went_wrong() {
    // As small as can be, and with no time for what fails anyway.
    let args = ["--clients", "2", "--requests", "2", "--connections", "5"];
    let args = [&["compare", "servers", "--timeout", "500ms"], &args[..]].concat();
    let output = Place::new().start(&args).finish_within(LONG);
    let text = stdout(&output);
    for (version, model) in (1..).zip(MODELS) {
        // In the table of each of five scenarios, and in that of all.
        let rows = text.matches(&format!("v{version} {model} ")).count();
        assert_eq!(rows, 6, "{model}: {text}");
    }
    for words in [
        "1 stalled",
        "a crash",
        "2: no answer in time",
        "the server is gone",
    ] {
        assert!(
            text.contains(words),
            "{words:?} is not in: {text}{}",
            stderr(&output)
        );
    }
}

#[test]
fn an_interrupt_ends_the_server_too() {
    let place = Place::new();
    let mut running = place.start(&["compare", "servers", "--only", "sequential"]);
    let pid = running.pid();
    // Before its clients have connections, the server may end by itself.
    let mut server = None;
    until("there is a server with clients", || {
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        let mut targets = files.flatten().flat_map(|file| file.path().read_link());
        let has_clients = targets.any(|to| to.to_string_lossy().starts_with("socket:"));
        // Between two servers there is none.
        let servers = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        server = servers
            .unwrap()
            .split_whitespace()
            .next()
            .map(|pid| pid.parse().unwrap());
        has_clients && server.is_some()
    });
    kill(Pid::from_raw(pid), Signal::SIGINT).unwrap();
    running.finish();
    until("the server has ended", || has_ended(server.unwrap()));
}

// SPDX-License-Identifier: MIT

//! `kpipe compare servers`: each misfortune has the effect for which the next model was invented.

use crate::server::until;
use crate::support::{stderr, stdout, Place};
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;
use serde_json::{json, Value};

/// The one result of this model in this scenario.
fn of<'a>(cells: &'a [Value], model: &str, scenario: &Value) -> &'a Value {
    let mut found = cells
        .iter()
        .filter(|cell| cell["model"] == model && cell["scenario"] == *scenario);
    let cell = found.next().expect("it is there");
    assert!(found.next().is_none(), "{model} {scenario} is there twice");
    cell
}

#[test]
fn what_hurts_the_other_clients_depends_on_the_model() {
    let place = Place::new();
    let args = [
        "--clients",
        "6",
        "--requests",
        "10",
        "--connections",
        "50",
        "--timeout",
        "3s",
    ];
    let output = place.run(&[&["compare", "servers", "--json"], &args[..]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let cells: Vec<Value> = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(cells.len(), 6 * 5);
    let answered = |model: &str, scenario: Value| {
        let cell = of(&cells, model, &scenario);
        let count = |name: &str| cell[name].as_u64().unwrap();
        100 * count("answered") / count("requests")
    };
    let one_process = ["sequential", "thread", "pool", "event"];
    for model in ["sequential", "fork-wait", "fork", "thread", "pool", "event"] {
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
    }
}

#[test]
fn the_table_names_models_scenarios_and_what_went_wrong() {
    let place = Place::new();
    let args = [
        "--only",
        "sequential",
        "--clients",
        "2",
        "--requests",
        "2",
        "--connections",
        "5",
    ];
    let args = [&["compare", "servers", "--timeout", "1s"], &args[..]].concat();
    let output = place.run(&args);
    let text = stdout(&output);
    for words in [
        "v1 sequential",
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
    let pid = Pid::from_raw(running.child().id() as i32);
    // Before its clients have connections, the server may end by itself.
    until("it has clients", || {
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        let targets = files.flatten().flat_map(|file| file.path().read_link());
        targets
            .into_iter()
            .any(|to| to.to_string_lossy().starts_with("socket:"))
    });
    let servers = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let server = Pid::from_raw(servers.split_whitespace().next().unwrap().parse().unwrap());
    kill(pid, Signal::SIGINT).unwrap();
    running.finish();
    until("the server has ended", || kill(server, None).is_err());
}

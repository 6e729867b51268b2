// SPDX-License-Identifier: MIT

//! `kpipe bench` on two FIFOs, with very little work: the shape of what it prints.

use crate::support::{stderr, stdout, Place};

#[test]
fn bench_measures_every_channel_with_every_workload() {
    let place = Place::new();
    let output = place.run(&[
        "bench", "-q", "a,b", "--rounds", "3", "--scale", "0.002", "--json",
    ]);
    assert!(output.status.success(), "{}", stderr(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["unit"], "nanoseconds");
    assert_eq!(report["rounds"], 3);
    let results = report["results"].as_array().unwrap();
    let cells: Vec<String> = results
        .iter()
        .map(|r| format!("{} {}", r["workload"], r["channel"]).replace('"', ""))
        .collect();
    let mut expected = Vec::new();
    for workload in ["stream-64", "stream-4K", "stream-64K", "ping-pong"] {
        expected.extend(
            ["kpipe", "pipe", "unix", "tcp"].map(|channel| format!("{workload} {channel}")),
        );
    }
    assert_eq!(cells, expected);
    for result in results {
        assert_eq!(result["rounds"].as_array().unwrap().len(), 3, "{result}");
        assert!(result["per_operation"].as_f64().unwrap() > 0.0, "{result}");
        assert!(result["speed_to_pipe"].as_f64().unwrap() > 0.0, "{result}");
        assert_eq!(
            result["megabytes_per_second"].is_null(),
            result["workload"] == "ping-pong",
            "{result}"
        );
    }
}

#[test]
fn bench_shows_only_what_is_asked_for() {
    let place = Place::new();
    let output = place.run(&[
        "bench",
        "-q",
        "a,b",
        "-r",
        "1",
        "-s",
        "0.002",
        "-o",
        "unix,kpipe,ping-pong",
    ]);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(
        text.contains("1 B ping-pong  a  ") && text.contains("AF_UNIX"),
        "{text}"
    );
    assert!(
        !text.contains("blocks  ") && !text.contains("TCP  "),
        "{text}"
    );
}

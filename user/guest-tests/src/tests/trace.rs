// SPDX-License-Identifier: MIT

//! The tracepoints, and what `kpipe trace` makes of them: `docs/halves.md`.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use kpipe::{BottomHalf, Carrier};
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;
use serde_json::Value;

use crate::tools::carry::{by, each_of, name, pair};
use crate::tools::needs;
use crate::tools::prelude::*;

/// The table.
pub const TESTS: &[Test] = &[
    section("Tracing", "it has tracepoints of its own"),
    says("Tracepoints tell the life of a request, with its queue, its bytes and its number."),
    plain!(tracefs_has_the_documented_events_and_fields),
    says("kpipe trace puts them in order, from the write to the read that it wakes."),
    device!(a_direct_write_wakes_the_reader_itself).sets_transport(),
    device!(a_carried_write_has_its_stages_in_order)
        .sets_transport()
        .needs(needs::edu)
        .deadline_secs(60),
    says("It passes signals on, and leaves nothing behind."),
    plain!(a_trace_that_is_interrupted_leaves_no_instance),
];

const EVENTS: &str = "/sys/kernel/tracing/events/kpipe";
const INSTANCES: &str = "/sys/kernel/tracing/instances";

fn tracefs_has_the_documented_events_and_fields() {
    const CALL: &[&str] = &["u64 request", "u64 bytes", "s32 queue", "u8 side"];
    const LEAVE: &[&str] = &[
        "u64 request",
        "u64 bytes",
        "s32 queue",
        "u8 side",
        "s64 result",
    ];
    const CARRY: &[&str] = &["u64 request", "u64 bytes", "s32 queue"];
    let documented = [
        ("kpipe_awake", CALL),
        ("kpipe_bottom_half_begin", CARRY),
        ("kpipe_bottom_half_end", CARRY),
        ("kpipe_enter", CALL),
        ("kpipe_interrupt", CARRY),
        ("kpipe_leave", LEAVE),
        ("kpipe_sleep", CALL),
        ("kpipe_transfer", CARRY),
        ("kpipe_wake", CALL),
    ];
    let entries = std::fs::read_dir(EVENTS).expect("the module is loaded, and tracefs is mounted");
    let folders = entries.flatten().filter(|entry| entry.path().is_dir());
    let mut events: Vec<_> = folders
        .map(|entry| entry.file_name().into_string().expect("a plain name"))
        .collect();
    events.sort();
    expect(
        "events",
        events,
        documented.map(|(event, _)| event.to_owned()).to_vec(),
    );
    for (event, wanted) in documented {
        let format = std::fs::read_to_string(format!("{EVENTS}/{event}/format"));
        let format = format.expect("each event says what its records are");
        let fields = format
            .lines()
            .filter_map(|line| line.trim().strip_prefix("field:"));
        let declarations = fields.filter_map(|field| field.split(';').next());
        let ours: Vec<_> = declarations
            .filter(|field| !field.contains("common_"))
            .collect();
        expect(event, ours, wanted.to_vec());
    }
}

/// `kpipe trace` with these options and this command, which says something once it runs.
fn start(options: &[&str], command: &str) -> Child {
    let mut child = Command::new("kpipe")
        .arg("trace")
        .args(options)
        .args(["--", "sh", "-c", command])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("kpipe is on the PATH");
    let mut line = String::new();
    let output = child.stdout.take().expect("piped");
    let read = BufReader::new(output).read_line(&mut line);
    expect(
        "said",
        read.map(|_| line).expect("readable"),
        "started\n".to_owned(),
    );
    child
}

/// One write of five bytes to a reader that sleeps: the request that `kpipe trace` shows.
fn traced_write(q: &Queue, transport: kpipe_abi::uapi::Transport) -> Value {
    let (reader, writer) = pair(q, transport);
    let file = format!("/tmp/trace-{}.json", std::process::id());
    let mut child = start(
        &["--json", "--output", &file],
        "echo started; exec cat > /dev/null",
    );
    let sleeper = Actor::asleep_in(Call::Read, "reader", move || reader.read_all(5));
    writer.write_all(b"hello");
    expect_bytes("read", &sleeper.join(), b"hello");
    drop(child.stdin.take());
    let status = child.wait().expect("a child of ours");
    expect(&name(&transport), status.code(), Some(0));
    let text = std::fs::read_to_string(&file).expect("written");
    let _ = std::fs::remove_file(&file);
    let report: Value = serde_json::from_str(&text).expect("JSON");
    expect("lost", report["lost_events"].as_u64(), Some(0));
    report["requests"][0].clone()
}

/// Where in the request an event is that is there once.
#[track_caller]
fn place(steps: &[&str], event: &str) -> usize {
    let places: Vec<usize> = (0..steps.len()).filter(|&n| steps[n] == event).collect();
    assert!(
        places.len() == 1,
        "{event} is there {} times: {steps:?}",
        places.len()
    );
    places[0]
}

/// The events of a request, after what is the same for each.
#[track_caller]
fn events_of(request: &Value) -> Vec<&str> {
    expect("bytes", request["bytes"].as_u64(), Some(5));
    expect("result", request["result"].as_i64(), Some(5));
    expect("queue", request["queue"].as_i64(), Some(0));
    let steps = request["steps"].as_array().expect("steps");
    let times: Vec<_> = steps.iter().map(|step| step["at_ns"].as_u64()).collect();
    assert!(times.is_sorted(), "{times:?}");
    let events = steps
        .iter()
        .map(|step| step["event"].as_str().expect("a name"));
    events.collect()
}

fn a_direct_write_wakes_the_reader_itself(q: &Queue) {
    let request = traced_write(q, by(Carrier::Direct, BottomHalf::Bh));
    let events = events_of(&request);
    expect("first", events[0], "enter");
    assert!(
        place(&events, "wake") < place(&events, "awake"),
        "{events:?}"
    );
    for absent in [
        "transfer",
        "interrupt",
        "bottom_half_begin",
        "bottom_half_end",
    ] {
        assert!(!events.contains(&absent), "{events:?}");
    }
    let lanes = request["lanes"].as_array().map(Vec::len);
    expect("lanes", lanes, Some(2));
}

fn a_carried_write_has_its_stages_in_order(q: &Queue) {
    for transport in each_of(&[Carrier::Timer, Carrier::Doorbell]) {
        let request = traced_write(q, transport);
        let events = events_of(&request);
        let what = name(&transport);
        // The bottom half wakes writers as well, if this one sleeps by then.
        let wake = events.iter().position(|&event| event == "wake");
        let order = [
            place(&events, "enter"),
            place(&events, "transfer"),
            place(&events, "interrupt"),
            place(&events, "bottom_half_begin"),
            wake.expect("the reader slept"),
            place(&events, "bottom_half_end"),
        ];
        assert!(order.is_sorted(), "{what}: {events:?}");
        let lanes = request["lanes"].to_string();
        for lane in ["writer ", "interrupt cpu", "bottom half", "reader "] {
            assert!(lanes.contains(lane), "{what}: {lanes}");
        }
    }
}

fn a_trace_that_is_interrupted_leaves_no_instance() {
    let mut child = start(&[], "echo started; exec sleep 1000");
    let instance = format!("{INSTANCES}/kpipe-{}", child.id());
    assert!(Path::new(&instance).exists(), "{instance}");
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).expect("a child of ours");
    let status = child.wait().expect("a child of ours");
    expect("status", status.code(), Some(128 + Signal::SIGINT as i32));
    assert!(!Path::new(&instance).exists(), "{instance}");
}

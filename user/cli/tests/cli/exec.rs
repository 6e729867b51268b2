// SPDX-License-Identifier: MIT

//! `kpipe exec` where there is no module: what it refuses, and that programs run on real pipes as
//! they always did. What it does with the device is tested in the VM, by user/program-tests.
//!
//! The library must have been built: `cargo build --package kpipe-preload`.

use crate::support::{assert_fails, stderr, stdout, Place};
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;
use std::path::Path;

/// Only a machine without the module can tell.
fn has_device() -> bool {
    Path::new("/dev/kpipe").exists()
}

/// `kpipe exec --optional -- sh -c COMMAND`, and the line about it.
#[track_caller]
fn run(command: &str) -> (String, String) {
    let place = Place::new();
    let output = place.run(&["exec", "--optional", "--", "sh", "-c", command]);
    assert!(output.status.success(), "{}", stderr(&output));
    (stdout(&output), stderr(&output))
}

#[test]
fn without_the_module_it_says_how_to_load_it() {
    if has_device() {
        return;
    }
    let output = Place::new().run(&["exec", "--", "true"]);
    assert_fails(
        &output,
        125,
        &["/dev/kpipe", "not loaded", "insmod kpipe.ko"],
    );
    let output = Place::new().run(&["exec", "--path", "/x=0", "--", "true"]);
    assert_fails(&output, 125, &["/dev/kpipe0"]);
}

#[test]
fn optional_runs_on_real_pipes_and_says_why() {
    if has_device() {
        return;
    }
    let (said, report) = run("seq 1000 | sort -n | tail -n 1");
    assert_eq!(said, "1000\n");
    assert!(
        report.contains("0 pipes on the device, 2 of the kernel's own, in 4 programs"),
        "{report}"
    );
    assert!(
        report.contains("2 real pipes: /dev/kpipe could not be opened"),
        "{report}"
    );
}

#[test]
fn counts_are_written_as_json() {
    let place = Place::new();
    let file = place.path("counts").display().to_string();
    let output = place.run(&[
        "exec",
        "-o",
        "-q",
        "-s",
        &file,
        "--",
        "sh",
        "-c",
        "echo x | cat",
    ]);
    assert_eq!(
        (stdout(&output), stderr(&output)),
        ("x\n".into(), String::new())
    );
    let text = std::fs::read_to_string(file).unwrap();
    let counts: serde_json::Value = serde_json::from_str(&text).unwrap();
    let pipes = ["device_pipes", "real_pipes"].map(|kind| counts[kind].as_u64().unwrap());
    assert_eq!(pipes.iter().sum::<u64>(), 1, "{text}");
    assert_eq!(counts["programs"], 2, "{text}");
}

#[test]
fn the_exit_status_is_the_programs() {
    let place = Place::new();
    let cases = [("exit 0", 0), ("exit 7", 7), ("kill -KILL $$", 137)];
    for (command, status) in cases {
        for quiet in ["-o", "-oq"] {
            // With --quiet and nothing to write, the program takes the place of kpipe: then a signal
            // ends it, and not an exit status.
            let output = place.run(&["exec", quiet, "--", "sh", "-c", command]);
            use std::os::unix::process::ExitStatusExt;
            let seen = output
                .status
                .code()
                .or(output.status.signal().map(|signal| 128 + signal));
            assert_eq!(seen, Some(status), "{command}");
        }
    }
    assert_fails(
        &place.run(&["exec", "-o", "--", "./nothing"]),
        127,
        &["./nothing"],
    );
    place.file("no-program", b"text");
    assert_fails(
        &place.run(&["exec", "-o", "--", "./no-program"]),
        126,
        &["./no-program"],
    );
}

#[test]
fn a_signal_goes_on_to_the_program() {
    let place = Place::new();
    let script = "trap 'exit 5' TERM; echo ready > ready; while :; do sleep 0.01; done";
    let mut running = place.start(&["exec", "-o", "--", "sh", "-c", script]);
    let deadline = std::time::Instant::now() + crate::support::PATIENCE;
    while !place.path("ready").exists() {
        assert!(
            std::time::Instant::now() < deadline,
            "the program does not start"
        );
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let pid = Pid::from_raw(running.child().id() as i32);
    kill(pid, Signal::SIGTERM).unwrap();
    assert_eq!(running.finish().status.code(), Some(5));
}

#[test]
fn what_it_does_not_reach_is_said() {
    // Static, where there is one: in the toolchain root.
    if Path::new("/usr/bin/busybox").exists() {
        let output = Place::new().run(&["exec", "-o", "--", "busybox", "true"]);
        assert!(
            stderr(&output).contains("not reached"),
            "{}",
            stderr(&output)
        );
    }
}

#[test]
fn without_the_device_python_finds_what_it_always_finds() {
    let script = "
import ctypes, fcntl, os, subprocess, sys, threading
os.closerange(3, 900)
read, write = os.pipe2(os.O_DIRECT | os.O_NONBLOCK)
print(read, write, fcntl.fcntl(read, fcntl.F_SETPIPE_SZ, 100000), fcntl.fcntl(write, fcntl.F_GETFL) & os.O_DIRECT != 0)
libc = ctypes.CDLL(None, use_errno=True)
print(libc.pipe(None), ctypes.get_errno())
os.pipe()
child = 'import os; os.closerange(3, 2000); print(os.pipe())'
print(subprocess.run([sys.executable, '-c', child], stdout=subprocess.PIPE).stdout)
made = []
threads = [threading.Thread(target=lambda: made.extend(os.pipe() for _ in range(50))) for _ in range(8)]
[thread.start() for thread in threads]; [thread.join() for thread in threads]
print(len(set(sum(made, ()))))
";
    if has_device() || !Path::new("/usr/bin/python3").exists() {
        return;
    }
    let place = Place::new();
    let output = place.run(&["exec", "-o", "--", "/usr/bin/python3", "-c", script]);
    let wanted = "3 4 131072 True\n-1 14\nb'(3, 4)\\n'\n800\n";
    assert_eq!(stdout(&output), wanted, "{}", stderr(&output));
    // Two, 400, one of subprocess, and one of the child, which has closed everything.
    let report = stderr(&output);
    assert!(
        report.contains("404 of the kernel's own, in 2 programs"),
        "{report}"
    );
}

#[test]
fn the_program_inherits_nothing_below_the_high_numbers() {
    let list = "ls /proc/self/fd";
    let place = Place::new();
    let plain = std::process::Command::new("sh")
        .args(["-c", list])
        .output()
        .unwrap();
    let exec = place.run(&["exec", "-o", "--", "sh", "-c", list]);
    let low = |output| -> Vec<u32> {
        let numbers = stdout(output);
        let numbers = numbers.lines().filter_map(|line| line.parse().ok());
        numbers.filter(|&number| number < 900).collect()
    };
    assert_eq!(low(&exec), low(&plain));
}

// SPDX-License-Identifier: MIT

//! CPython's own tests: each must end on the device as it ends on real pipes, except those in
//! [`DIFFERENCES`], which must end as it is said there.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::run::{Pipes, Place};

/// A module of `test`, and what of it runs.
pub struct Module {
    /// Its name.
    pub name: &'static str,
    /// Classes or methods below it that are about pipes, `CLASS:PATTERN` for some methods.
    parts: &'static [&'static str],
    /// Does it make pipes? Else it must run as it does without the library, and none is counted.
    makes_pipes: bool,
    /// Time for all of it, in seconds.
    deadline_secs: u64,
}

/// What becomes of a test, `None` if it does not run.
type Outcome = Option<&'static str>;

/// Tests that ask for what a character device cannot do: the name, what becomes of it on the device,
/// and why. `docs/differences.md` has the same list.
const DIFFERENCES: &[(&str, Outcome, &str)] = &[
    (
        "test.test_os.FileTests.test_splice",
        Some("failed"),
        NO_PIPE_FOR_SPLICE,
    ),
    (
        "test.test_os.FileTests.test_splice_offset_in",
        Some("failed"),
        NO_PIPE_FOR_SPLICE,
    ),
    (
        "test.test_os.FileTests.test_splice_offset_out",
        Some("failed"),
        NO_PIPE_FOR_SPLICE,
    ),
];

const NO_PIPE_FOR_SPLICE: &str =
    "splice(2) between a file and an end: one of the two must be the kernel's own pipe, else EINVAL";

/// Tests that an emulated processor fails now and then, with any pipe: they measure time.
const OF_THE_CLOCK: [&str; 2] = ["TimerfdTests.", ".test_timeout"];

/// Where the tests are told how to be run.
const RUNNER: &str = include_str!("run_cpython.py");

/// What runs.
pub const MODULES: &[Module] = &[
    module(
        "test_subprocess",
        &[
            "ProcessTestCase:test_communicate",
            "ProcessTestCase:*communicate_pipe*",
            "ProcessTestCase:*pipe*",
            "POSIXProcessTestCase:*close_fds*",
            "POSIXProcessTestCase:*pipe*",
            "POSIXProcessTestCase:*select*",
        ],
    ),
    module(
        "test_os",
        &[
            ":*pipe*",
            ":*splice*",
            ":*blocking*",
            ":*inherit*",
            "TestSendfile",
            "FDInheritanceTests",
        ],
    ),
    module("test_asyncio.test_unix_events", &[""]),
    module(
        "test_asyncio.test_subprocess",
        &[
            "SubprocessPidfdWatcherTests:*communicate*",
            "SubprocessPidfdWatcherTests:*std*",
            "SubprocessPidfdWatcherTests:*pause*",
            "SubprocessPidfdWatcherTests:*pipe*",
        ],
    ),
    module("test_select", &[""]),
    module("test_poll", &[""]),
    module("test_fcntl", &[":*pipe*", ":*fcntl_f*"]),
    module("test_io", &["CSignalsTest:*interrupted_write*", ":*pipe*"]),
    module("test_signal", &["WakeupSignalTests"]),
    Module {
        // Socket pairs, and not one pipe.
        makes_pipes: false,
        ..module(
            "test_selectors",
            &[
                "DefaultSelectorTestCase:*register*",
                "PollSelectorTestCase:test_select",
                "EpollSelectorTestCase:test_select*",
            ],
        )
    },
];

const fn module(name: &'static str, parts: &'static [&'static str]) -> Module {
    Module {
        name,
        parts,
        makes_pipes: true,
        deadline_secs: 400,
    }
}

/// Runs the tests on both kinds of pipe at the same time, and compares them one by one.
pub fn run(module: &Module, place: &Place) -> Result<(), String> {
    let began = Instant::now();
    let script = place.path("run_cpython.py");
    std::fs::write(&script, RUNNER).map_err(|e| format!("{}: {e}", script.display()))?;
    let is_all = std::env::var("KPIPE_PROGRAM_TESTS").is_ok_and(|value| value == "all");
    let parts = if is_all { &[""][..] } else { module.parts };
    let names: Vec<String> = parts
        .iter()
        .map(|part| full_name(module.name, part))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let script = script.display().to_string();
    let program = place
        .program(["python3", &script, "results"])
        .args(&names)
        .deadline_secs(module.deadline_secs);
    let (real, device) = (program.start(Pipes::Real)?, program.start(Pipes::Device)?);
    real.finish()?.succeeded()?;
    let mut device = device.finish()?.succeeded()?;
    if module.makes_pipes {
        device = device.all_replaced()?;
    } else if device.count("device_pipes") + device.count("real_pipes") > 0 {
        return Err(format!("it makes pipes by now: {}", device.description()));
    }
    let (on_real, on_device) = (
        outcomes(place, Pipes::Real)?,
        outcomes(place, Pipes::Device)?,
    );
    if on_real.is_empty() {
        return Err(format!("no test has run: {}", device.description()));
    }
    let names = on_real.keys().chain(on_device.keys());
    let mut problems: Vec<String> = names
        .filter(|name| !OF_THE_CLOCK.iter().any(|part| name.contains(part)))
        .filter_map(|name| {
            let (real, device) = (on_real.get(name), on_device.get(name));
            let (real, device) = (real.map(String::as_str), device.map(String::as_str));
            let wanted = match difference(name) {
                Some((outcome, _)) => outcome,
                None => real,
            };
            (device != wanted).then(|| {
                format!(
                    "{name}: {device:?} on the device, expected {wanted:?}; {real:?} on real pipes"
                )
            })
        })
        .collect();
    problems.sort();
    problems.dedup();
    if problems.is_empty() {
        println!(
            "  {}: {:.1} s, {} tests, {} pipes of the device",
            module.name,
            began.elapsed().as_secs_f64(),
            on_device.len(),
            device.count("device_pipes")
        );
        return Ok(());
    }
    Err(format!("{}\n{}", problems.join("\n"), device.description()))
}

/// A line of the list that is no longer true is found where it was true: in the comparison. One
/// that names a test of a module which does not run at all would never be.
pub fn every_listed_difference_is_of_a_test() -> Result<(), String> {
    for (name, _, why) in DIFFERENCES {
        let is_run = MODULES
            .iter()
            .any(|module| name.starts_with(&format!("test.{}.", module.name)));
        if !is_run || why.is_empty() {
            return Err(format!(
                "{name}: of no module that runs, or without a reason"
            ));
        }
    }
    Ok(())
}

fn full_name(module: &str, part: &str) -> String {
    match part.split_once(':') {
        _ if part.is_empty() => module.to_owned(),
        Some(("", pattern)) => format!("{module}:{pattern}"),
        _ => format!("{module}.{part}"),
    }
}

fn difference(name: &str) -> Option<(Outcome, &'static str)> {
    let found = DIFFERENCES.iter().find(|(listed, ..)| *listed == name);
    found.map(|&(_, outcome, why)| (outcome, why))
}

/// Lines `OUTCOME SECONDS NAME`.
fn outcomes(place: &Place, pipes: Pipes) -> Result<BTreeMap<String, String>, String> {
    let path = place.path(&format!("{pipes:?}/results"));
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let lines = text.lines().filter_map(|line| {
        let mut words = line.splitn(3, ' ');
        let outcome = words.next()?;
        Some((words.nth(1)?.to_owned(), outcome.to_owned()))
    });
    Ok(lines.collect())
}

// SPDX-License-Identifier: MIT

//! user/include/kpipe.h says what driver/uapi.rs says: a C program that includes the header prints
//! every constant, size and offset, and the tests compare them with the Rust side.
//!
//! The expectations are made from uapi.rs itself, so that a constant or field added there and
//! forgotten in the header fails here.

use kpipe_abi::uapi::{self, Counters, Histogram, Info, Pair, Stages, Timeouts, Transport};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use std::fmt::Write as _;
use std::mem::{offset_of, size_of};
use std::path::Path;
use std::process::Command;

const UAPI_SOURCE: &str = include_str!("../../../driver/uapi.rs");
const INCLUDE_DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../include");

fn main() {
    let tests = vec![
        Trial::test(
            "every_public_constant_of_uapi_is_compared",
            every_constant_is_compared,
        ),
        Trial::ignorable_test("c_header_equals_uapi", || c_header_equals_uapi("c", "c99")),
        Trial::ignorable_test("cplusplus_header_equals_uapi", || {
            c_header_equals_uapi("c++", "c++11")
        }),
    ];
    libtest_mimic::run(&Arguments::from_args(), tests).exit();
}

/// A C expression and the value that it must have.
type Fact = (String, u64);

/// The constants: C name without its prefix `KPIPE_`, value.
fn constants() -> Vec<(&'static str, u64)> {
    vec![
        ("VERSION", uapi::VERSION.into()),
        ("IOC_TYPE", uapi::IOC_TYPE.into()),
        ("MAX_QUEUES", uapi::MAX_QUEUES.into()),
        ("CLONE_MINOR", uapi::CLONE_MINOR.into()),
        ("PRIVATE_INDEX", uapi::PRIVATE_INDEX.into()),
        ("SMALL_CAPACITY_BYTES", uapi::SMALL_CAPACITY_BYTES),
        (
            "DEFAULT_USER_SOFT_LIMIT_BYTES",
            uapi::DEFAULT_USER_SOFT_LIMIT_BYTES,
        ),
        ("MODE_STREAM", uapi::MODE_STREAM.into()),
        ("MODE_PACKET", uapi::MODE_PACKET.into()),
        ("TRANSPORT_DIRECT", uapi::TRANSPORT_DIRECT.into()),
        ("TRANSPORT_TIMER", uapi::TRANSPORT_TIMER.into()),
        ("TRANSPORT_DOORBELL", uapi::TRANSPORT_DOORBELL.into()),
        ("TRANSPORT_DMA", uapi::TRANSPORT_DMA.into()),
        ("BOTTOM_HALF_HARD", uapi::BOTTOM_HALF_HARD.into()),
        ("BOTTOM_HALF_BH", uapi::BOTTOM_HALF_BH.into()),
        ("BOTTOM_HALF_WORK", uapi::BOTTOM_HALF_WORK.into()),
        ("BOTTOM_HALF_THREAD", uapi::BOTTOM_HALF_THREAD.into()),
        ("TRANSPORT_POSTED", uapi::TRANSPORT_POSTED.into()),
        ("TRANSPORT_LIMITED", uapi::TRANSPORT_LIMITED.into()),
        (
            "DEFAULT_BYTES_PER_TICK",
            uapi::DEFAULT_BYTES_PER_TICK.into(),
        ),
        ("DEFAULT_TICK_NS", uapi::DEFAULT_TICK_NS),
        ("MAX_TICK_NS", uapi::MAX_TICK_NS),
        ("UNPRIVILEGED_TICK_NS", uapi::UNPRIVILEGED_TICK_NS),
        (
            "UNPRIVILEGED_BYTES_PER_TICK",
            uapi::UNPRIVILEGED_BYTES_PER_TICK.into(),
        ),
        ("STAGES", uapi::STAGES as u64),
        ("HISTOGRAM_BUCKETS", uapi::HISTOGRAM_BUCKETS as u64),
        ("PIPE_BUF_BYTES", uapi::PIPE_BUF_BYTES as u64),
        ("MIN_CAPACITY_BYTES", uapi::MIN_CAPACITY_BYTES),
        ("DEFAULT_CAPACITY_BYTES", uapi::DEFAULT_CAPACITY_BYTES),
        (
            "UNPRIVILEGED_CAPACITY_BYTES",
            uapi::UNPRIVILEGED_CAPACITY_BYTES,
        ),
        ("MAX_CAPACITY_BYTES", uapi::MAX_CAPACITY_BYTES),
        ("IOC_INFO", uapi::IOC_INFO.into()),
        ("IOC_RESIZE", uapi::IOC_RESIZE.into()),
        ("IOC_RESET_COUNTERS", uapi::IOC_RESET_COUNTERS.into()),
        ("IOC_PAIR", uapi::IOC_PAIR.into()),
        ("IOC_SET_MODE", uapi::IOC_SET_MODE.into()),
        ("IOC_SET_TIMEOUTS", uapi::IOC_SET_TIMEOUTS.into()),
        ("IOC_GET_TIMEOUTS", uapi::IOC_GET_TIMEOUTS.into()),
        ("IOC_SET_TRANSPORT", uapi::IOC_SET_TRANSPORT.into()),
        ("IOC_GET_TRANSPORT", uapi::IOC_GET_TRANSPORT.into()),
        ("IOC_DRAIN", uapi::IOC_DRAIN.into()),
        ("IOC_STAGES", uapi::IOC_STAGES.into()),
    ]
}

/// Size of a structure, then offset and size of each field. The pattern without `..` stops the
/// compiler when a field is missing in the list.
macro_rules! layout {
    ($facts:ident, $c_name:literal, $rust:ident { $($field:ident),+ $(,)? }) => {{
        let $rust { $($field),+ } = $rust::default();
        $facts.push((format!("sizeof(struct {})", $c_name), size_of::<$rust>() as u64));
        $(
            let field = stringify!($field);
            $facts.push((format!("offsetof(struct {}, {field})", $c_name), offset_of!($rust, $field) as u64));
            $facts.push((format!("sizeof(((struct {} *)0)->{field})", $c_name), size_of_val(&$field) as u64));
        )+
    }};
}

fn facts() -> Vec<Fact> {
    let mut facts: Vec<Fact> = constants()
        .into_iter()
        .map(|(name, value)| (format!("KPIPE_{name}"), value))
        .collect();
    facts.push((format!("!strcmp(KPIPE_NAME, \"{}\")", uapi::NAME), 1));
    layout!(
        facts,
        "kpipe_counters",
        Counters {
            bytes,
            operations,
            sleeps,
            wakeups
        }
    );
    layout!(
        facts,
        "kpipe_info",
        Info {
            size,
            version,
            index,
            readers,
            writers,
            mode,
            capacity_bytes,
            queued_bytes,
            read,
            write,
        }
    );
    layout!(
        facts,
        "kpipe_pair",
        Pair {
            size,
            flags,
            capacity_bytes,
            mode,
            reserved,
            read_fd,
            write_fd,
        }
    );
    layout!(
        facts,
        "kpipe_timeouts",
        Timeouts {
            size,
            reserved,
            read_ns,
            write_ns,
        }
    );
    layout!(
        facts,
        "kpipe_transport",
        Transport {
            size,
            transport,
            bottom_half,
            flags,
            tick_ns,
            bytes_per_tick,
            reserved,
        }
    );
    layout!(
        facts,
        "kpipe_histogram",
        Histogram {
            count,
            sum_ns,
            max_ns,
            buckets,
        }
    );
    layout!(
        facts,
        "kpipe_stages",
        Stages {
            size,
            reserved,
            interrupts,
            transfers,
            stages,
        }
    );
    facts
}

fn every_constant_is_compared() -> Result<(), Failed> {
    let mut compared: Vec<&str> = constants().into_iter().map(|(name, _)| name).collect();
    compared.push("NAME");
    let declared = UAPI_SOURCE
        .lines()
        .filter_map(|line| line.strip_prefix("pub const ")?.split(':').next());
    let missing: Vec<&str> = declared.filter(|name| !compared.contains(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!("uapi.rs declares {missing:?}: add them to kpipe.h and to this test").into())
}

/// Compiles a program in `language` (gcc's `-x`) that prints the facts, and compares.
fn c_header_equals_uapi(language: &str, standard: &str) -> Result<Completion, Failed> {
    let compiler = match language {
        "c" => std::env::var("CC").unwrap_or_else(|_| "cc".into()),
        _ => std::env::var("CXX").unwrap_or_else(|_| "c++".into()),
    };
    if let Err(error) = Command::new(&compiler).arg("--version").output() {
        return Ok(Completion::ignored_with(format!(
            "no compiler: `{compiler}`: {error}"
        )));
    }
    let facts = facts();
    let dir = tempfile::tempdir()?;
    let program = compile(&compiler, language, standard, &facts, dir.path())?;
    let output = Command::new(program).output()?;
    let answers = String::from_utf8(output.stdout)?;
    let answers: Vec<u64> = answers.lines().map(str::parse).collect::<Result<_, _>>()?;
    if answers.len() != facts.len() {
        return Err(format!("{} facts, but {} answers", facts.len(), answers.len()).into());
    }
    let mut differences = String::new();
    for ((expression, rust), c) in facts.iter().zip(answers) {
        if *rust != c {
            writeln!(differences, "{expression}: {c} in C, {rust} in uapi.rs")?;
        }
    }
    if differences.is_empty() {
        return Ok(Completion::Completed);
    }
    Err(differences.into())
}

fn compile(
    compiler: &str,
    language: &str,
    standard: &str,
    facts: &[Fact],
    dir: &Path,
) -> Result<std::path::PathBuf, Failed> {
    // The header comes first, so that it must include what it needs itself.
    let mut source = String::from(
        "#include <kpipe.h>\n#include <stddef.h>\n#include <stdio.h>\n#include <string.h>\n\
         int main(void)\n{\n",
    );
    for (expression, _) in facts {
        writeln!(
            source,
            "\tprintf(\"%llu\\n\", (unsigned long long)({expression}));"
        )?;
    }
    source.push_str("\treturn 0;\n}\n");
    let source_path = dir.join("facts.txt");
    std::fs::write(&source_path, source)?;
    let program = dir.join("facts");
    let output = Command::new(compiler)
        .args([
            "-x",
            language,
            &format!("-std={standard}"),
            "-Wall",
            "-Wextra",
            "-Werror",
            "-pedantic",
        ])
        .args(["-I", INCLUDE_DIR, "-o"])
        .args([&program, &source_path])
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    Ok(program)
}

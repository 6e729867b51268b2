// SPDX-License-Identifier: MIT

//! Random sequences of operations by several processes, on the device and on a FIFO in lockstep:
//! whatever one of them does, the other must do too.
//!
//! ```text
//! kpipe-tests differential                          10000 sequences
//! kpipe-tests differential --sequences N --seed S --seconds T
//! kpipe-tests differential --replay '0:open rw; 0:write 0 100; 0:read 0 4096'
//! kpipe-tests differential --replay FILE
//! kpipe-tests differential --spread                 on all processors, slower
//! kpipe-tests differential --subjects pair          IOC_PAIR and pipe(2) instead of device and FIFO
//! ```
//!
//! The way of a sequence: [`generate`] draws it, [`state`] decides for each [`op`] whether it makes
//! sense now, [`exclude`] whether the two may differ in it for a known reason ([`model`] and [`store`]
//! work out its results for that), [`run`] gives it to the processes of both [`side`]s ([`worker`])
//! and compares. [`shrink`] makes one that differs short.

mod exclude;
mod generate;
mod model;
mod op;
mod options;
mod run;
mod shrink;
mod side;
mod signals;
mod state;
mod store;
mod subjects;
mod text;
mod worker;

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use op::Op;
use options::Options;
use run::{Difference, Pair};
use side::Order;
use subjects::Kind;

use crate::harness::{amount_of_heavy, plain, Test};
use crate::tools::schedule;
use crate::tools::subject::{device_path, observe, scratch_path};

/// What the suite runs of it.
pub const TESTS: &[Test] = &[
    plain!(ten_thousand_random_sequences_end_as_on_a_fifo).deadline_secs(600),
    plain!(random_sequences_on_a_pair_end_as_on_a_pipe).deadline_secs(120),
    plain!(random_sequences_on_all_processors_end_as_on_a_fifo).deadline_secs(120),
];

/// First argument of the program that means this.
pub const SUBCOMMAND: &str = "differential";

/// Longest that is spent on shortening a sequence.
const SHRINK: Duration = Duration::from_secs(60);

/// What `--help` says.
const HELP: &str = "\
Run random sequences of calls on the device and a FIFO in lockstep, and compare all results.

Usage: kpipe-tests differential [OPTIONS]

  --sequences N        how many (10000)
  --seed S             which ones (1)
  --seconds T          begin none after this time
  --subjects fifo|pair the device and a FIFO, or a private pair and pipe(2) (fifo)
  --spread             on all processors: slower, with real races
  --replay OPS|FILE    only this one, as '0:open rw; 0:write 0 10; 0:read 0 5'

A difference is made short and printed with its seed; the exit status is 1. \"left out\" counts the
operations that differ for a known reason: user/guest-tests/src/differential/exclude.rs.";

/// The subcommand.
pub fn main(arguments: impl Iterator<Item = String>) -> ExitCode {
    let mut arguments = arguments.peekable();
    if arguments
        .peek()
        .is_some_and(|word| ["--help", "-h", "help"].contains(&word.as_str()))
    {
        println!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let options = match Options::parse(arguments) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("kpipe-tests {SUBCOMMAND}: {message}");
            return ExitCode::from(2);
        }
    };
    let node = device_path(0);
    if let Err(error) = observe(&node) {
        eprintln!(
            "kpipe-tests {SUBCOMMAND}: {}: {}: run it as root with the module loaded (insmod /lib/modules/kpipe.ko)",
            node.display(),
            error.desc()
        );
        return ExitCode::from(2);
    }
    let name = format!("kpipe-{SUBCOMMAND}-{}", std::process::id());
    match run(&std::env::temp_dir().join(name), &options) {
        Ok(summary) => {
            println!("{summary}");
            ExitCode::SUCCESS
        }
        Err(report) => {
            eprintln!("{report}");
            ExitCode::FAILURE
        }
    }
}

fn ten_thousand_random_sequences_end_as_on_a_fifo() {
    expect_no_difference(Kind::Named, 10_000, Order::OneByOne);
}

fn random_sequences_on_a_pair_end_as_on_a_pipe() {
    expect_no_difference(Kind::Anonymous, 1000, Order::OneByOne);
}

fn random_sequences_on_all_processors_end_as_on_a_fifo() {
    expect_no_difference(Kind::Named, 100, Order::Spread);
}

fn expect_no_difference(subjects: Kind, sequences: usize, order: Order) {
    let options = Options {
        sequences: amount_of_heavy(sequences) as u64,
        order,
        subjects,
        ..Options::default()
    };
    if let Err(report) = run(&scratch_path("differential"), &options) {
        panic!("{report}");
    }
}

/// `Ok` is a summary, `Err` the shortened sequence that shows a difference. Makes a FIFO at `path`.
fn run(path: &Path, options: &Options) -> Result<String, String> {
    let work = || {
        let mut pair = Pair::start(options.subjects, path, options.order);
        match &options.replay {
            Some(ops) => replay(&mut pair, ops),
            None => many(&mut pair, options),
        }
    };
    match options.order {
        Order::OneByOne => schedule::on_one_processor(work),
        Order::Spread => work(),
    }
}

fn replay(pair: &mut Pair, ops: &[Op]) -> Result<String, String> {
    match pair.run(ops) {
        Ok(report) => Ok(format!("{report}no difference")),
        Err(difference) => Err(difference.report),
    }
}

/// Runs sequences until one differs.
fn many(pair: &mut Pair, options: &Options) -> Result<String, String> {
    let start = Instant::now();
    let mut shown = start;
    let mut done = 0;
    while done < options.sequences && start.elapsed() < options.limit {
        let ops = generate::sequence(options.seed, done);
        if let Err(difference) = pair.run(&ops) {
            return Err(explain(pair, options.seed, done, ops, difference));
        }
        done += 1;
        if options.shows_progress && shown.elapsed() > Duration::from_secs(5) {
            shown = Instant::now();
            eprintln!("{done} sequences, {:.0?}", start.elapsed());
        }
    }
    let elapsed = start.elapsed();
    let counts = &pair.counts;
    Ok(format!(
        "{done} sequences of seed {}: no difference in {} steps ({} of them slept), {:.2?} each\n\
         left out: {:?}",
        options.seed,
        counts.steps,
        counts.sleeps,
        elapsed / done.max(1) as u32,
        counts.excluded,
    ))
}

fn explain(pair: &mut Pair, seed: u64, index: u64, ops: Vec<Op>, first: Difference) -> String {
    let mut last = first;
    let deadline = Instant::now() + SHRINK;
    let ops = shrink::shrink(ops, deadline, |candidate| match pair.run(candidate) {
        Ok(_) => false,
        Err(difference) => {
            last = difference;
            true
        }
    });
    format!(
        "sequence {index} of seed {seed} shows a difference; shortened:\n{}\n\
         again: kpipe-tests {SUBCOMMAND} --replay '{}'",
        last.report,
        text::print(&ops)
    )
}

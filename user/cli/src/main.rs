// SPDX-License-Identifier: MIT

//! The `kpipe` command: try, feed, drain, watch, set and measure the queues of the kpipe module.
//!
//! `main` prints and exits; each verb is one module with its arguments and a `run`. The bytes go
//! through the library `kpipe`; what the verbs share stands below the line.

mod bench;
mod client;
mod compare;
mod conformance;
mod demo;
mod drain;
mod exec;
mod halves;
mod lesson;
mod load;
mod recv;
mod relay;
mod send;
mod serve;
mod set;
mod stat;
mod trace;
// ---
mod channel;
mod failure;
mod process;
mod socket_options;
mod sys;
mod terminal;
mod units;

use clap::{Parser, Subcommand};
use std::io::{self, Write};
use std::process::ExitCode;

/// Tools for the queues of the kpipe kernel module.
///
/// A queue is a character device that behaves as a named FIFO does. It is named by its number (0),
/// its name (kpipe0) or its path (/dev/kpipe0); a FIFO's path works too where nothing but a FIFO is
/// needed.
#[derive(Parser)]
#[command(name = "kpipe", version, after_help = EXIT_STATUS, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

const EXIT_STATUS: &str = "Exit status: 0 success, 1 failure, 2 wrong usage. \
    `kpipe VERB --help` explains a verb and gives examples.";

#[derive(Subcommand)]
enum Verb {
    Demo(demo::Args),
    Send(send::Args),
    Recv(recv::Args),
    Stat(stat::Args),
    Set(set::Args),
    Drain(drain::Args),
    Bench(bench::Args),
    Conformance(conformance::Args),
    Exec(exec::Args),
    Trace(trace::Args),
    Halves(halves::Args),
    Serve(serve::Args),
    Client(client::Args),
    Lesson(lesson::Args),
    Relay(relay::Args),
    Load(load::Args),
    Compare(compare::Args),
}

fn main() -> ExitCode {
    sys::restore_default_sigpipe();
    let result = match Cli::parse().verb {
        Verb::Demo(args) => demo::run(&args),
        Verb::Send(args) => send::run(&args),
        Verb::Recv(args) => recv::run(&args),
        Verb::Stat(args) => stat::run(&args),
        Verb::Set(args) => set::run(&args),
        Verb::Drain(args) => drain::run(&args),
        Verb::Bench(args) => bench::run(&args),
        Verb::Conformance(args) => conformance::run(&args),
        Verb::Halves(args) => halves::run(&args),
        Verb::Serve(args) => serve::run(&args),
        Verb::Client(args) => client::run(&args),
        Verb::Lesson(args) => lesson::run(&args),
        Verb::Relay(args) => relay::run(&args),
        Verb::Load(args) => load::run(&args),
        Verb::Compare(args) => compare::run(&args),
        // The exit status is that of another program.
        Verb::Exec(args) => return exec::run(&args),
        Verb::Trace(args) => return trace::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nobody may be left to hear it.
            let _ = writeln!(io::stderr(), "kpipe: {failure}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}

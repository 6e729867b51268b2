// SPDX-License-Identifier: MIT

//! The VM runner behind `qemu/vm`: runs one command in a virtual machine as if it ran here.
//!
//! The way of a run: [`options`] says what is wanted, [`image`] puts together the initramfs with
//! everything the guest needs, [`accelerator`] decides how QEMU runs it, [`machine`] starts QEMU,
//! [`session`] carries the streams until the command has ended. In the guest, `kpipe-init` is the
//! partner. Nothing is written to the host's disks: the initramfs lives in memory and all channels
//! are inherited sockets, so nothing can be left behind.

mod accelerator;
mod added;
mod archive;
mod image;
mod machine;
mod network;
mod options;
mod session;
mod signals;
mod standstill;
mod streams;
mod terminal;

use std::fs::File;
use std::io::{self, Write};
use std::process::exit;

use clap::Parser;

use options::Options;
use session::{Channels, Limits, Outcome};
use signals::Signals;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Exit status of a command that took too long, as timeout(1) gives it.
const EXIT_TIMEOUT: i32 = 124;
/// Exit status for errors of the runner itself, as timeout(1) and docker(1) give it.
const EXIT_RUNNER: i32 = 125;
/// Exit status when the kernel did not live to see the end of the command.
const EXIT_KERNEL: i32 = 255;

fn main() {
    kpipe_init::abort_on_panic();
    let options = Options::parse();
    let status = match run(&options) {
        Ok(outcome) => conclude(&options, outcome),
        Err(error) => {
            complain(&error.to_string());
            EXIT_RUNNER
        }
    };
    exit(status);
}

fn run(options: &Options) -> Result<Outcome, Error> {
    let signals = Signals::watch()?;
    let log = options.log.as_ref().map(|path| {
        File::create(path).map_err(|error| format!("--log {}: {error}", path.display()))
    });
    let log = log.transpose()?;
    let accelerator = accelerator::choose(options, &signals)?;
    if !options.quiet {
        complain(&format!("VM with {accelerator}"));
    }
    let terminal = terminal::for_command(options);
    let image = image::build(options, terminal.as_ref())?;
    let mailbox = signals.new_session();
    let machine = machine::start(options, accelerator.kind, &image)?;
    let _raw = terminal
        .as_ref()
        .map(|_| terminal::make_raw())
        .transpose()?;
    let channels = Channels {
        standard: streams::callers()?,
        log,
        mailbox,
        has_terminal: terminal.is_some(),
    };
    let standstill = standstill::Watch::start();
    let outcome = session::run(machine, &Limits::of(options), channels);
    // With --icount the guest's clock stands still too.
    if let Some(sentence) = standstill.sentence().filter(|_| !options.icount) {
        complain(&sentence);
    }
    outcome
}

/// Says what needs to be said about the end, and gives the exit status.
fn conclude(options: &Options, outcome: Outcome) -> i32 {
    match outcome {
        Outcome::Ended(status) => status,
        Outcome::TimedOut(limit) => {
            complain(&format!(
                "the command did not end within {} s (--timeout)",
                limit.as_secs()
            ));
            EXIT_TIMEOUT
        }
        Outcome::Interrupted(signal) => 128 + signal as i32,
        Outcome::Refused(sentence) => {
            complain(&sentence);
            EXIT_RUNNER
        }
        Outcome::KernelDied {
            sentence,
            kernel_log,
        } => {
            // Without --log this is the only copy.
            let _ = io::stderr().write_all(&kernel_log);
            complain(&sentence);
            if let Some(path) = &options.log {
                complain(&format!("the kernel's log is in {}", path.display()));
            }
            EXIT_KERNEL
        }
    }
}

fn complain(sentence: &str) {
    // Whoever closed stderr does not want to read it.
    let _ = writeln!(io::stderr(), "kpipe: {sentence}");
}

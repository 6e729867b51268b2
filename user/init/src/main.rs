// SPDX-License-Identifier: MIT

//! PID 1 of the VM: makes the small system that a command expects, loads the module, runs the one
//! command with its streams on virtio-serial ports, and reports how it ended.
//!
//! The host's side of it is `kpipe-vm`; what the two say to each other is in the library of this
//! crate. If anything here panics the kernel panics with it ("Attempted to kill init"), and the
//! host reports that with the kernel's log: there is no silent failure.

mod command;
mod module;
mod ports;
mod streams;
mod system;

use std::{fs, thread};

use kpipe_init::{Report, Run, RUN_FILE};

use ports::Ports;

type Error = Box<dyn std::error::Error>;

fn main() {
    kpipe_init::abort_on_panic();
    // Without the control port there is nobody to tell: panic, and the kernel's log says why.
    system::mount().expect("cannot mount the file systems");
    let ports = Ports::open().expect("cannot open the ports to the host");
    let report = run(&ports).unwrap_or_else(|error| Report::Failed(error.to_string()));
    ports.report(&report);
    // The host ends the VM when it has all output. If it is gone, ports.rs powers off.
    loop {
        thread::park();
    }
}

fn run(ports: &Ports) -> Result<Report, Error> {
    let run: Run = serde_json::from_slice(&fs::read(RUN_FILE)?)?;
    system::configure()?;
    if let Some(machine) = run.network_machine {
        system::configure_card(machine)?;
    }
    if let Some(parameters) = &run.module_parameters {
        module::load(parameters)?;
    }
    ports.report(&Report::Ready);
    command::run(&run, ports)
}

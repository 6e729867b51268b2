// SPDX-License-Identifier: MIT

//! `kpipe client`: the other side of `kpipe serve`.

mod echo;
mod http;
mod rpc;

use crate::failure::Result;
use crate::socket_options::ConnectionOptions;
use crate::sys::ignore_sigpipe;
use crate::units::parse_time;
use clap::{Parser, Subcommand};
use kpipe::channel::{Address, Channel, Observer, Options};
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

/// Talk to a server on any kind of channel.
#[derive(Parser)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    service: Service,

    /// How long to wait for a connection, and then for all of the answer
    #[arg(short, long, global = true, value_name = "TIME", value_parser = parse_time, default_value = "10s")]
    timeout: Duration,

    /// Tell of every step: names resolved, candidates tried, options set, the connection's 5-tuple
    #[arg(short, long, global = true)]
    verbose: bool,

    #[command(flatten)]
    sockets: ConnectionOptions,
}

const EXAMPLES: &str = "\
Examples:
  kpipe client echo kpipe:0,1 hello                one line there and back
  kpipe client echo -v tcp:localhost:7007 < file   a file, and how the connection came about
  kpipe client rpc unix:/run/rpc sum 2 3
  kpipe client http kpipe:0,1 /README.md           a web server behind two queues";

#[derive(Subcommand)]
enum Service {
    Echo(echo::Args),
    Rpc(rpc::Args),
    Http(http::Args),
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    ignore_sigpipe();
    match &args.service {
        Service::Echo(echo) => echo::run(echo, args),
        Service::Rpc(rpc) => rpc::run(rpc, args),
        Service::Http(http) => http::run(http, args),
    }
}

impl Args {
    fn connect(&self, address: &Address) -> Result<Box<dyn Channel>> {
        // Nobody may be left to hear it: that is no reason to end.
        let observer = |step: &str| drop(writeln!(io::stderr(), "kpipe: {step}"));
        let observer = self.verbose.then(|| Arc::new(observer) as Observer);
        Ok(address.connect(&Options {
            connect_timeout: self.timeout,
            ..self.sockets.options(observer)
        })?)
    }
}

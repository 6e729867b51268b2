// SPDX-License-Identifier: MIT

//! `kpipe load`: many clients of one server at once, and what they see of it.

mod client;
mod dialogue;
mod engine;
mod outcome;

pub use dialogue::{Protocol, Question};
pub use engine::{run as run_plan, Plan};
#[cfg(test)]
pub use outcome::Outcome;
pub use outcome::{short_time, Figures};

use crate::failure::{Failure, Result};
use crate::sys::ignore_sigpipe;
use crate::terminal;
use crate::units::{parse_bytes, parse_time, plural};
use clap::Parser;
use kpipe::channel::Address;
use nix::sys::resource::{getrlimit, setrlimit, Resource};
use serde::Serialize;
use std::time::Duration;

/// Put a server under load: many clients at once, each asking and waiting for its answer.
///
/// Every answer is checked byte by byte. Shown are the times from a request's first byte to its answer's last, and
/// of connecting; a server's backlog (listen(2)) connects clients that it has not taken yet. A client that fails
/// asks no more. Exit status 1 if a request was not answered.
#[derive(Parser)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The server: kpipe:0,1  fifo:/path,/path  unix:/path  unix-seqpacket:/path  unix-dgram:/path
    /// tcp:host:port  udp:host:port
    #[arg(short, long, value_name = "ADDRESS")]
    target: Address,

    /// What it serves
    #[arg(short, long, value_enum, default_value = "echo")]
    protocol: Protocol,

    /// Clients at the same time
    #[arg(short, long, value_name = "N", default_value = "10", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    clients: u64,

    /// Requests of each client, one after the other
    #[arg(short, long, value_name = "M", default_value = "100", value_parser = clap::value_parser!(u64).range(1..=MAX_REQUESTS))]
    requests: u64,

    /// Bytes of each request and answer, as in 64 or 16K (echo, rpc)
    #[arg(short, long, value_name = "S", default_value = "64", value_parser = parse_size, conflicts_with = "path")]
    size: u64,

    /// What to fetch (http)
    #[arg(long, value_name = "PATH", default_value = "/")]
    path: String,

    /// All clients connect before the first one asks
    #[arg(long)]
    together: bool,

    /// How long an answer may take, and a connection
    #[arg(long, value_name = "TIME", value_parser = parse_time, default_value = "10s")]
    timeout: Duration,

    /// Print JSON
    #[arg(short, long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  kpipe load --target tcp:localhost:7007 --clients 100 --requests 1000
  kpipe load --target unix:/run/rpc --protocol rpc --size 16K --json
  kpipe load --target tcp:localhost:8080 --protocol http --path /index.html
  kpipe load --target tcp:localhost:7007 --clients 10000 --requests 1 --together";

/// Of one client: those of all can be counted in 64 bits.
pub const MAX_REQUESTS: u64 = 1_000_000_000_000;

/// The largest request: each client keeps one in memory.
const MAX_SIZE_BYTES: u64 = 16 << 20;

fn parse_size(text: &str) -> std::result::Result<u64, String> {
    match parse_bytes(text)? {
        0 => Err("at least 1: an answer of no bytes cannot be seen".to_owned()),
        size if size > MAX_SIZE_BYTES => Err("at most 16M".to_owned()),
        size => Ok(size),
    }
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    target: String,
    protocol: Protocol,
    requests_per_client: u64,
    /// Not of HTTP, whose answers are as long as the file.
    size_bytes: Option<u64>,
    #[serde(flatten)]
    figures: &'a Figures,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    ignore_sigpipe();
    let fitting = clients_that_fit(args.clients)?;
    if fitting < args.clients {
        return Err(Failure::Differs(format!(
            "{} need two descriptors each, and the limit of this process allows {}: take fewer, or raise it as root",
            plural(args.clients, "client"),
            plural(fitting, "client"),
        )));
    }
    let plan = Plan {
        target: args.target.clone(),
        clients: args.clients,
        requests: args.requests,
        question: question(args).map_err(Failure::Differs)?,
        timeout: args.timeout,
        connect_timeout: args.timeout,
        together: args.together,
        crash: None,
    };
    let bar = terminal::progress(args.clients * args.requests);
    let outcome = run_plan(&plan, &mut |outcome| {
        let (connected, answered) = outcome.progress();
        bar.set_position(answered);
        bar.set_message(format!("{} connected", plural(connected, "client")));
    });
    bar.finish_and_clear();
    let figures = outcome?.figures();
    let size_bytes = (args.protocol != Protocol::Http).then_some(args.size);
    terminal::print(&if args.json {
        let report = Report {
            target: args.target.to_string(),
            protocol: args.protocol,
            requests_per_client: args.requests,
            size_bytes,
            figures: &figures,
        };
        serde_json::to_string_pretty(&report).map_err(Failure::io("JSON"))? + "\n"
    } else {
        format!("{}\n{}", headline(args), figures.text(size_bytes))
    })?;
    if figures.answered < figures.requests {
        return Err(Failure::Differs(format!(
            "{}: {} of {} not answered",
            args.target,
            figures.requests - figures.answered,
            plural(figures.requests, "request")
        )));
    }
    Ok(())
}

fn headline(args: &Args) -> String {
    let what = match args.protocol {
        Protocol::Echo => format!("{} back and forth", plural(args.size, "byte")),
        Protocol::Rpc => format!("calls of Echo with {}", plural(args.size, "byte")),
        Protocol::Http => format!("GET {}", args.path),
    };
    format!(
        "{}: {}, {} each: {what}\n",
        args.target,
        plural(args.clients, "client"),
        plural(args.requests, "request")
    )
}

fn question(args: &Args) -> std::result::Result<Question, String> {
    let carries = args.target.carries();
    match args.protocol {
        Protocol::Http => Ok(Question::of_http(&host(&args.target), &args.path)),
        protocol => Question::of_bytes(protocol, args.size as usize, carries),
    }
}

fn host(target: &Address) -> String {
    match target {
        Address::Tcp { host, port } if host.contains(':') => format!("[{host}]:{port}"),
        Address::Tcp { host, port } => format!("{host}:{port}"),
        _ => "localhost".to_owned(),
    }
}

/// Descriptors that are not for clients.
const OTHERS: u64 = 64;

/// Of `wanted` clients, how many there are descriptors for: one for each way of each, in this process and in those that
/// it starts. The limit is raised as far as that is allowed.
pub fn clients_that_fit(wanted: u64) -> Result<u64> {
    let needed = 2 * wanted + OTHERS;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(Failure::io("RLIMIT_NOFILE"))?;
    let raise = |limit| setrlimit(Resource::RLIMIT_NOFILE, limit, hard.max(limit)).is_ok();
    // Beyond the hard limit only root may.
    if soft >= needed || raise(needed) {
        return Ok(wanted);
    }
    let limit = if raise(hard) { hard } else { soft };
    Ok(limit.saturating_sub(OTHERS) / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_requests_of_all_clients_can_be_counted() {
        let args = |requests: &str| {
            let clients = ["load", "--target", "tcp::7", "--clients", "1000000"];
            Args::try_parse_from([&clients[..], &["--requests", requests]].concat())
        };
        let args_of_most = args("1000000000000").unwrap();
        assert!(args_of_most
            .clients
            .checked_mul(args_of_most.requests)
            .is_some());
        let error = args("18446744073709551615").err().expect("it overflows");
        assert!(
            error.to_string().contains("is not in 1..=1000000000000"),
            "{error}"
        );
    }

    #[test]
    fn sizes_are_sane() {
        assert_eq!(parse_size("16K"), Ok(16384));
        for text in ["0", "17M", "x"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_host_of_a_request_is_the_servers() {
        let host = |text: &str| host(&text.parse().unwrap());
        assert_eq!(host("tcp:example:80"), "example:80");
        assert_eq!(host("tcp:[::1]:80"), "[::1]:80");
        assert_eq!(host("unix:/tmp/x"), "localhost");
    }
}

// SPDX-License-Identifier: MIT

//! `kpipe compare servers`: every model of `kpipe serve` under the same load and the same misfortunes, and what each
//! misfortune does to the clients that have nothing to do with it.

mod report;
mod scenario;
mod server;

use crate::failure::{Failure, Result};
use crate::load::{run_plan, Figures, Plan, Protocol, Question, MAX_REQUESTS};
use crate::sys::ignore_sigpipe;
use crate::terminal;
use crate::units::parse_time;
use clap::{Parser, ValueEnum};
use indicatif::ProgressBar;
use kpipe::channel::{Address, Carries, Channel, Options};
use kpipe_server::Model;
use scenario::Scenario;
use serde::Serialize;
use server::{Census, Server};
use std::io::{Read, Write};
use std::rc::Rc;
use std::time::Duration;

/// Compare things that do the same in different ways.
///
/// servers: `kpipe serve echo` in every model, one after the other, each under the same load: alone; beside clients
/// that connect and then say nothing; while the handler of one client crashes; with very many
/// connections at a time. Shown is what the other clients see: how many requests were answered, and how fast.
#[derive(Parser)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// What to compare
    #[arg(value_enum)]
    what: What,

    /// Only these models
    #[arg(short, long, value_name = "MODEL", value_enum, value_delimiter = ',')]
    only: Vec<Model>,

    /// Clients of the load
    #[arg(short, long, value_name = "N", default_value = "20", value_parser = clap::value_parser!(u64).range(2..=10_000))]
    clients: u64,

    /// Requests of each client
    #[arg(short, long, value_name = "M", default_value = "20", value_parser = clap::value_parser!(u64).range(2..=MAX_REQUESTS))]
    requests: u64,

    /// How many connections are very many
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1000,10000", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    connections: Vec<u64>,

    /// How long a client waits for an answer before it gives up
    #[arg(long, value_name = "TIME", value_parser = parse_time, default_value = "10s")]
    timeout: Duration,

    /// Print JSON
    #[arg(short, long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  kpipe compare servers
  kpipe compare servers --only thread,event --connections 10000";

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// The models of `kpipe serve`
    Servers,
}

/// Threads of the model pool, and so how many stalled clients it takes to stop it.
const WORKERS: u64 = 4;
/// Of each of very many clients.
const FEW_REQUESTS: u64 = 3;
/// With very many clients the time to connect and to be answered is what is measured, so there is more of it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const LONG_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a client that is going to stall waits for the answer that shows that it has been taken.
const TAKEN_WITHIN: Duration = Duration::from_millis(500);
const SIZE_BYTES: usize = 64;

/// One model in one scenario.
#[derive(Serialize)]
struct Cell {
    model: &'static str,
    scenario: Scenario,
    #[serde(flatten)]
    figures: Figures,
    /// Whether the server ran on until it was told to stop.
    server_survived: bool,
    /// The most processes and threads, and memory, that the machine had more than before.
    peak: Census,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    ignore_sigpipe();
    let models = match args.only.as_slice() {
        [] => Model::ALL.to_vec(),
        only => only.to_vec(),
    };
    let scenarios = scenario::all(&args.connections)?;
    let bar = terminal::progress((models.len() * scenarios.len()) as u64);
    let mut cells = Vec::new();
    for scenario in &scenarios {
        for &model in &models {
            let title = format!("{}: {}", scenario.title(), model.name());
            bar.set_message(title.clone());
            bar.tick();
            let cell = measure(args, model, *scenario, &bar);
            cells.push(cell.map_err(|failure| failure.during(title))?);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    terminal::print(&match args.json {
        true => serde_json::to_string_pretty(&cells).map_err(Failure::io("JSON"))? + "\n",
        false => report::text(args, &models, &scenarios, &cells),
    })
}

fn measure(args: &Args, model: Model, scenario: Scenario, bar: &ProgressBar) -> Result<Cell> {
    let plan = |target| plan(args, scenario, target);
    let server = Server::start(model, scenario.connections(args.clients))?;
    let before = Census::take()?;
    let stalled = stall(server.address(), scenario.stalled())?;
    let mut peak = Census::default();
    let outcome = run_plan(&plan(server.address().clone())?, &mut |_| {
        if let Ok(now) = Census::take() {
            peak.raise(&now.since(&before));
        }
        bar.tick();
    });
    // The server would give them time to go on.
    drop(stalled);
    let server_survived = server.stop()?;
    Ok(Cell {
        model: model.name(),
        scenario,
        figures: outcome?.figures(),
        server_survived,
        peak,
    })
}

fn plan(args: &Args, scenario: Scenario, target: Address) -> Result<Plan> {
    let is_crowd = matches!(scenario, Scenario::Connections(_));
    let question = Question::of_bytes(Protocol::Echo, SIZE_BYTES, Carries::Bytes);
    Ok(Plan {
        target,
        // The one that makes its handler crash comes on top.
        clients: scenario.connections(args.clients),
        requests: if is_crowd {
            FEW_REQUESTS
        } else {
            args.requests
        },
        question: question.map_err(Failure::Differs)?,
        timeout: if is_crowd { LONG_TIMEOUT } else { args.timeout },
        connect_timeout: if is_crowd {
            CONNECT_TIMEOUT
        } else {
            args.timeout
        },
        together: true,
        crash: (scenario == Scenario::Crash).then(|| Rc::from(server::CRASH_TEXT.as_bytes())),
    })
}

/// Clients that are answered once, if the server can, and then say nothing.
fn stall(server: &Address, count: u64) -> Result<Vec<Box<dyn Channel>>> {
    let options = Options::default();
    (0..count)
        .map(|_| {
            let mut client = server.connect(&options)?;
            let asked = client
                .set_timeouts(Some(TAKEN_WITHIN), Some(TAKEN_WITHIN))
                .and_then(|()| client.write_all(b"?"));
            asked.map_err(Failure::io("a client that stalls"))?;
            // Behind another one that stalls it may get no answer: it stalls all the same.
            let _ = client.read(&mut [0]);
            Ok(client)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_have_the_names_of_serve() {
        for model in Model::ALL {
            assert_eq!(Model::from_str(model.name(), false), Ok(model));
        }
    }
}

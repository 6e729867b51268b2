// SPDX-License-Identifier: MIT

//! `kpipe client rpc`: one call.

use crate::failure::{Failure, Result};
use crate::terminal;
use clap::{Parser, Subcommand};
use kpipe::channel::Address;
use kpipe_protocol::demo::{Call, Demo, Reply};
use kpipe_protocol::rpc::Client;

/// Call a server's function and print the reply
#[derive(Parser)]
pub struct Args {
    /// Where the server listens
    address: Address,

    #[command(subcommand)]
    call: CallArgs,

    /// The reply as JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum CallArgs {
    /// The same text again
    Echo { text: String },
    /// The sum of two numbers
    Sum {
        #[arg(allow_negative_numbers = true)]
        left: i64,
        #[arg(allow_negative_numbers = true)]
        right: i64,
    },
    /// The text in upper case
    Upper { text: String },
    /// A reply after so many milliseconds
    Sleep { ms: u32 },
    /// An error with this text
    Fail { text: String },
    /// What the server has done
    Stat,
    /// The server's clock
    Time,
}

impl CallArgs {
    fn to_call(&self) -> Call {
        match self {
            Self::Echo { text } => Call::Echo(text.clone().into_bytes()),
            Self::Sum { left, right } => Call::Sum(*left, *right),
            Self::Upper { text } => Call::Upper(text.clone()),
            Self::Sleep { ms } => Call::Sleep(*ms),
            Self::Fail { text } => Call::Fail(text.clone()),
            Self::Stat => Call::Stat,
            Self::Time => Call::Time,
        }
    }
}

/// Runs the verb.
pub fn run(args: &Args, common: &super::Args) -> Result<()> {
    let channel = common.connect(&args.address)?;
    let client = Client::<Demo>::new(channel).map_err(Failure::io(&args.address))?;
    let reply = client
        .call(&args.call.to_call(), common.timeout)
        .map_err(|error| Failure::Differs(error.to_string()).during(&args.address))?;
    let mut text = if args.json {
        serde_json::to_string(&reply).expect("a reply has no maps")
    } else {
        words(&reply)
    };
    text.push('\n');
    terminal::print(&text)
}

fn words(reply: &Reply) -> String {
    match reply {
        Reply::Echo(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Reply::Sum(sum) => sum.to_string(),
        Reply::Upper(text) => text.clone(),
        Reply::Slept => "slept".to_owned(),
        Reply::Stat {
            uptime_ms,
            calls,
            faults,
        } => format!("up for {uptime_ms} ms, {calls} calls before this one, {faults} failed"),
        Reply::Time { unix_ns } => format!("{unix_ns} ns since 1970"),
    }
}

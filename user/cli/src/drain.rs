// SPDX-License-Identifier: MIT

//! `kpipe drain`: waits until what was written has arrived.

use crate::failure::Result;
use clap::Parser;
use kpipe::{Control, Queue};

/// Wait until all bytes written so far have arrived, whether somebody reads them or not.
///
/// A write to a queue whose transport is posted (`kpipe set N --posted`) returns before.
#[derive(Parser)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Number, name or path of the queue
    queue: Queue,
}

const EXAMPLES: &str = "\
Example:
  kpipe set 0 --transport timer --posted && kpipe send 0 < file && kpipe drain 0";

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    Ok(args.queue.monitor()?.drain()?)
}

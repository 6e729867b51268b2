// SPDX-License-Identifier: MIT

//! `kpipe recv`: a queue into a file or stdout until end of file, as `cat FIFO > FILE` would.

use crate::failure::{Failure, Result};
use crate::send::BLOCK_BYTES;
use clap::Parser;
use kpipe::{Queue, Wait};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;

/// Receive a queue into a file, or to stdout, until end of file.
///
/// Waits until somebody writes to the queue, and whenever it is empty. Ends when the last writer has
/// closed the queue and all is read.
#[derive(Parser)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Number, name or path of the queue
    #[arg(default_value = "0")]
    queue: Queue,

    /// The file to make or overwrite; `-` or nothing: stdout
    #[arg(default_value = "-", hide_default_value = true)]
    file: PathBuf,
}

const EXAMPLES: &str = "\
Examples:
  kpipe recv 0 copy & kpipe send 0 original   a file through /dev/kpipe0
  kpipe recv 1 | sha256sum                    the other end: kpipe send 1 FILE";

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    let (mut output, name) = output(args)?;
    let mut reader = args.queue.reader(Wait::Block)?;
    let mut block = vec![0; BLOCK_BYTES];
    loop {
        match reader.read(&mut block) {
            Ok(0) => return Ok(()),
            Ok(len_bytes) => output
                .write_all(&block[..len_bytes])
                .map_err(Failure::io(&name))?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(Failure::io(&args.queue)(error)),
        }
    }
}

fn output(args: &Args) -> Result<(File, String)> {
    if args.file.as_os_str() != "-" {
        let name = args.file.display().to_string();
        return Ok((File::create(&args.file).map_err(Failure::io(&name))?, name));
    }
    // std's own stdout looks for line ends in what may be a gigabyte of binary data.
    let stdout = io::stdout().as_fd().try_clone_to_owned();
    Ok((
        stdout.map_err(Failure::io("stdout"))?.into(),
        "stdout".into(),
    ))
}

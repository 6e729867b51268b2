// SPDX-License-Identifier: MIT

//! `kpipe send`: a file or stdin into a queue, as `cat FILE > FIFO` would.

use crate::failure::{Failure, Result};
use clap::Parser;
use kpipe::{Queue, Wait, Writer};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::path::PathBuf;

/// Send a file, or what comes on stdin, into a queue.
///
/// Waits until somebody reads the queue, and whenever it is full. Ends when all is in the queue; the
/// reader sees end of file after the last sender has ended and all is read. If the last reader goes
/// before that, SIGPIPE ends the sender silently, as in any Unix pipeline.
#[derive(Parser)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Never wait: fail if nobody reads the queue, or when it is full
    #[arg(short, long)]
    nonblock: bool,

    /// Number, name or path of the queue
    #[arg(default_value = "0")]
    queue: Queue,

    /// The file to send; `-` or nothing: stdin
    #[arg(default_value = "-", hide_default_value = true)]
    file: PathBuf,
}

const EXAMPLES: &str = "\
Examples:
  kpipe recv 0 copy & kpipe send 0 original   a file through /dev/kpipe0
  tar c . | kpipe send kpipe3                 the other end: kpipe recv kpipe3 | tar x";

/// Bytes per read(2) and write(2): the capacity that a queue has by default. More would not fit
/// into one write, less would cost system calls.
pub const BLOCK_BYTES: usize = kpipe::DEFAULT_CAPACITY_BYTES as usize;

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    let name = args.file.display();
    // The input first: no reader should be released for a file that cannot be read.
    let mut input: Box<dyn Read> = if args.file.as_os_str() == "-" {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(&args.file).map_err(Failure::io(name))?)
    };
    let wait = if args.nonblock {
        Wait::Never
    } else {
        Wait::Block
    };
    let mut writer = args.queue.writer(wait)?;
    let mut block = vec![0; BLOCK_BYTES];
    let mut sent_bytes = 0;
    loop {
        let len_bytes = match input.read(&mut block) {
            Ok(0) => return Ok(()),
            Ok(len_bytes) => len_bytes,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(Failure::io(args.file.display())(error)),
        };
        write_all(
            &mut writer,
            &block[..len_bytes],
            &args.queue,
            &mut sent_bytes,
        )?;
    }
}

/// `Write::write_all` that knows how far it came.
fn write_all(
    writer: &mut Writer,
    mut rest: &[u8],
    queue: &Queue,
    sent_bytes: &mut u64,
) -> Result<()> {
    while !rest.is_empty() {
        match writer.write(rest) {
            Ok(len_bytes) => {
                *sent_bytes += len_bytes as u64;
                rest = &rest[len_bytes..];
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                return Err(Failure::Full {
                    queue: queue.clone(),
                    sent_bytes: *sent_bytes,
                });
            }
            Err(error) => return Err(Failure::io(queue)(error)),
        }
    }
    Ok(())
}

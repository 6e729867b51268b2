// SPDX-License-Identifier: MIT

//! `kpipe client http`: fetches a file, over channels that curl does not know too.

use crate::failure::{Failure, Result};
use clap::Parser;
use kpipe::channel::{Address, Carries, Channel};
use std::io::{self, ErrorKind, Write};
use std::time::Duration;

/// Fetch a file from an HTTP server and write it to stdout
///
/// Over TCP curl does more; this one also takes kpipe:, fifo: and unix:.
#[derive(Parser)]
pub struct Args {
    /// Where the server listens
    address: Address,

    /// The file, beginning with a slash
    path: String,
}

/// A head that is longer is refused.
const HEAD_BYTES: usize = 64 * 1024;

/// Runs the verb.
pub fn run(args: &Args, common: &super::Args) -> Result<()> {
    let failed = || Failure::io(&args.address);
    let wrong = |why: String| Failure::Differs(format!("{}: {why}", args.address));
    let mut channel = common.connect(&args.address)?;
    if channel.carries() == Carries::Messages {
        return Err(wrong(
            "HTTP needs a stream of bytes, and this carries messages".to_owned(),
        ));
    }
    let limit = Some(common.timeout);
    channel.set_timeouts(limit, limit).map_err(failed())?;
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        args.path
    );
    channel.write_all(request.as_bytes()).map_err(failed())?;
    let mut bytes = Vec::new();
    let head_bytes = loop {
        if let Some(end) = bytes.windows(4).position(|part| part == b"\r\n\r\n") {
            break end + 4;
        }
        if bytes.len() > HEAD_BYTES || more(&mut *channel, &mut bytes, common.timeout)? == 0 {
            return Err(wrong("no head of a response came".to_owned()));
        }
    };
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut fields);
    head.parse(&bytes[..head_bytes])
        .map_err(|error| wrong(format!("this is not HTTP: {error}")))?;
    if common.verbose {
        eprint!("{}", String::from_utf8_lossy(&bytes[..head_bytes]));
    }
    let status = head.code.unwrap_or_default();
    let words = head.reason.unwrap_or_default().to_owned();
    let length = head
        .headers
        .iter()
        .find(|field| field.name.eq_ignore_ascii_case("Content-Length"));
    let length =
        length.and_then(|field| std::str::from_utf8(field.value).ok()?.parse::<u64>().ok());
    bytes.drain(..head_bytes);
    if status != 200 {
        return Err(wrong(format!("{}: {status} {words}", args.path)));
    }
    let mut got_bytes = 0;
    let mut stdout = io::stdout();
    while !bytes.is_empty() || more(&mut *channel, &mut bytes, common.timeout)? > 0 {
        got_bytes += bytes.len() as u64;
        stdout
            .write_all(&bytes)
            .map_err(Failure::io("standard output"))?;
        bytes.clear();
    }
    match length {
        Some(length) if length != got_bytes => Err(wrong(format!(
            "{}: the server ended after {got_bytes} of {length} bytes",
            args.path
        ))),
        _ => stdout.flush().map_err(Failure::io("standard output")),
    }
}

/// Reads once. 0 is the end.
fn more(channel: &mut dyn Channel, bytes: &mut Vec<u8>, timeout: Duration) -> Result<usize> {
    let mut block = [0; 16 * 1024];
    let address = channel.names().peer;
    let len = match channel.read(&mut block) {
        Err(error) if error.kind() == ErrorKind::TimedOut => {
            let seconds = timeout.as_secs_f32();
            return Err(Failure::Differs(format!(
                "{address}: no answer within {seconds} s"
            )));
        }
        result => result.map_err(Failure::io(address))?,
    };
    bytes.extend_from_slice(&block[..len]);
    Ok(len)
}

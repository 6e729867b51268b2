// SPDX-License-Identifier: MIT

//! `kpipe client http`: fetches a file, over channels that curl does not know too.

use crate::failure::{Failure, Result};
use clap::Parser;
use kpipe::channel::{Address, Carries, Channel};
use std::io::{self, ErrorKind, Write};
use std::time::{Duration, Instant};

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
    let end = Instant::now() + common.timeout;
    let limit = Some(common.timeout);
    channel.set_timeouts(limit, limit).map_err(failed())?;
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        args.path
    );
    channel.write_all(request.as_bytes()).map_err(failed())?;
    let mut bytes = Vec::new();
    let mut more = |bytes: &mut Vec<u8>| read_some(&mut *channel, bytes, end, common.timeout);
    let head_bytes = loop {
        if let Some(end) = bytes.windows(4).position(|part| part == b"\r\n\r\n") {
            break end + 4;
        }
        if bytes.len() > HEAD_BYTES || more(&mut bytes)? == 0 {
            return Err(wrong("no head of a response came".to_owned()));
        }
    };
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut fields);
    head.parse(&bytes[..head_bytes])
        .map_err(|error| wrong(format!("this is not HTTP: {error}")))?;
    if common.verbose {
        // Nobody may be left to hear it.
        let _ = io::stderr().write_all(&bytes[..head_bytes]);
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
    // Without a length the body ends with the connection.
    let mut left_bytes = length.unwrap_or(u64::MAX);
    let mut stdout = io::stdout();
    while left_bytes > 0 && (!bytes.is_empty() || more(&mut bytes)? > 0) {
        let len = bytes
            .len()
            .min(usize::try_from(left_bytes).unwrap_or(usize::MAX));
        stdout
            .write_all(&bytes[..len])
            .map_err(Failure::io("standard output"))?;
        left_bytes -= len as u64;
        bytes.clear();
    }
    match length {
        Some(length) if left_bytes > 0 => Err(wrong(format!(
            "{}: the server ended after {} of {length} bytes",
            args.path,
            length - left_bytes
        ))),
        _ => stdout.flush().map_err(Failure::io("standard output")),
    }
}

/// Reads once, until `end`, when `timeout` is over. 0 is the end of the answer.
fn read_some(
    channel: &mut dyn Channel,
    bytes: &mut Vec<u8>,
    end: Instant,
    timeout: Duration,
) -> Result<usize> {
    let mut block = [0; 16 * 1024];
    let address = channel.names().peer;
    let left = end.saturating_duration_since(Instant::now());
    // Whoever has something to say all the time would never be late.
    let read = match left.is_zero() {
        true => Err(ErrorKind::TimedOut.into()),
        false => channel
            .set_timeouts(Some(left), Some(left))
            .and_then(|()| channel.read(&mut block)),
    };
    let len = match read {
        Err(error) if error.kind() == ErrorKind::TimedOut => {
            let seconds = timeout.as_secs_f32();
            return Err(Failure::Differs(format!(
                "{address}: no answer, or not all of it, within {seconds} s"
            )));
        }
        result => result.map_err(Failure::io(address))?,
    };
    bytes.extend_from_slice(&block[..len]);
    Ok(len)
}

// SPDX-License-Identifier: MIT

//! `kpipe client echo`: sends, and prints what comes back. When is an answer complete? A stream does not say;
//! so all is sent, the end of it is said, and all is read.

use crate::failure::{Failure, Result};
use crate::units::plural;
use clap::Parser;
use kpipe::channel::{Address, Carries, Channel, Sender, MESSAGE_BYTES};
use std::io::{self, BufRead, ErrorKind, Read, Write};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

/// Send text or stdin to an echo server and print what comes back
///
/// Of messages (unix-seqpacket:, unix-dgram:, udp:) each TEXT, or line of stdin, is one.
#[derive(Parser)]
pub struct Args {
    /// Where the server listens
    address: Address,

    /// A line each; without any: what comes on stdin
    text: Vec<String>,
}

/// Runs the verb.
pub fn run(args: &Args, common: &super::Args) -> Result<()> {
    let channel = common.connect(&args.address)?;
    match channel.carries() {
        Carries::Bytes => stream(channel, args, common),
        Carries::Messages => messages(channel, args, common),
    }
}

/// Sends in another thread: the server answers before it has all, and waits if nobody takes the answer.
fn stream(channel: Box<dyn Channel>, args: &Args, common: &super::Args) -> Result<()> {
    let failed = || Failure::io(args.address.to_string());
    let (mut receiver, mut sender) = channel.split().map_err(failed())?;
    sender.set_timeout(Some(common.timeout)).map_err(failed())?;
    let (report, sent) = mpsc::channel();
    let text: Vec<u8> = args
        .text
        .iter()
        .flat_map(|text| format!("{text}\n").into_bytes())
        .collect();
    let is_stdin = args.text.is_empty();
    let send = move || match is_stdin {
        true => copy(&mut io::stdin().lock(), sender, &report),
        false => copy(&mut text.as_slice(), sender, &report),
    };
    thread::spawn(send);
    // Whoever types may think for as long as they like: the time runs when all has been sent.
    let mut end = (!is_stdin).then(|| Instant::now() + common.timeout);
    let mut all_sent = None;
    let mut received_bytes = 0;
    let mut block = vec![0; MESSAGE_BYTES];
    loop {
        if all_sent.is_none() {
            all_sent = sent.try_recv().ok();
            if all_sent.is_some() {
                end.get_or_insert_with(|| Instant::now() + common.timeout);
            }
        }
        let left = end.map_or(common.timeout, |end| {
            end.saturating_duration_since(Instant::now())
        });
        // Whoever has something to say all the time would never be late.
        let read = match left.is_zero() {
            true => Err(ErrorKind::TimedOut.into()),
            false => receiver
                .set_timeout(Some(left))
                .and_then(|()| receiver.read(&mut block)),
        };
        let len = match read {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == ErrorKind::TimedOut => match all_sent {
                None if end.is_none() => continue,
                Some(Err(error)) if error.kind() != ErrorKind::TimedOut => {
                    return Err(failed()(error))
                }
                _ => return Err(late(args, common)),
            },
            result => result.map_err(failed())?,
        };
        if len == 0 {
            break;
        }
        received_bytes += len as u64;
        print(&block[..len])?;
    }
    let sent_bytes = match all_sent {
        Some(result) => result,
        None => sent.try_recv().unwrap_or(Ok(u64::MAX)),
    }
    .map_err(failed())?;
    if sent_bytes != received_bytes {
        let sent = match sent_bytes {
            u64::MAX => "and there was more to send".to_owned(),
            bytes => format!("of {} sent", plural(bytes, "byte")),
        };
        return Err(Failure::Differs(format!(
            "{}: the server ended after {} came back, {sent}: its log may say why",
            args.address,
            plural(received_bytes, "byte"),
        )));
    }
    Ok(())
}

/// Sends all, and says that it is all. Reports how many bytes that were before the server can hear of it.
fn copy(input: &mut dyn Read, mut sender: Sender, report: &mpsc::Sender<io::Result<u64>>) {
    let copied = io::copy(input, &mut sender);
    // Nobody listens if the server has ended first, or minds if it does now.
    let _ = report.send(copied);
    let _ = sender.finish();
}

/// One after another: they may get lost, and their order change.
fn messages(mut channel: Box<dyn Channel>, args: &Args, common: &super::Args) -> Result<()> {
    let failed = || Failure::io(args.address.to_string());
    let limit = Some(common.timeout);
    channel.set_timeouts(limit, limit).map_err(failed())?;
    let mut exchange = |text: &str| -> Result<()> {
        // Not even an empty one: an empty answer would look like the end.
        if text.is_empty() {
            return Ok(());
        }
        channel.write(text.as_bytes()).map_err(failed())?;
        let mut block = vec![0; MESSAGE_BYTES];
        let len = match channel.read(&mut block) {
            Err(error) if error.kind() == ErrorKind::TimedOut => return Err(late(args, common)),
            result => result.map_err(failed())?,
        };
        block.truncate(len);
        block.push(b'\n');
        print(&block)
    };
    if !args.text.is_empty() {
        return args.text.iter().try_for_each(|text| exchange(text));
    }
    for line in io::stdin().lock().lines() {
        exchange(&line.map_err(Failure::io("standard input"))?)?;
    }
    Ok(())
}

fn late(args: &Args, common: &super::Args) -> Failure {
    Failure::Differs(format!(
        "{}: no answer within {} s: the server is busy with others, or does not answer; --timeout waits longer",
        args.address,
        common.timeout.as_secs_f32()
    ))
}

fn print(bytes: &[u8]) -> Result<()> {
    let mut stdout = io::stdout();
    stdout
        .write_all(bytes)
        .and_then(|()| stdout.flush())
        .map_err(Failure::io("standard output"))
}

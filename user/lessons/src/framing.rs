// SPDX-License-Identifier: MIT

//! Row 12: a protocol is syntax and semantics. A stream of bytes does not keep what was written together apart,
//! so a frame says how long it is, in network byte order; a request has a number that its response repeats; and
//! a call fixes how its arguments are written. The protocol is that of docs/protocol.md.

use crate::over::Over;
use crate::stage::{until_queued, Call, Fork, PATIENCE, SLEEPS};
use crate::{Notes, Result};
use kpipe_protocol::demo::{self, Demo, Service};
use kpipe_protocol::rpc::{serve, Client};
use kpipe_protocol::{Frame, FrameReader, Kind, Limit};
use std::fs::File;

pub fn play(over: Over, notes: &mut Notes) -> Result<()> {
    a_stream_keeps_no_boundaries(over, notes)?;
    frames_do(over, notes)?;
    a_frame_that_promises_too_much(over, notes)?;
    a_typed_call(over, notes)
}

fn a_stream_keeps_no_boundaries(over: Over, notes: &mut Notes) -> Result<()> {
    notes.step("a stream: two writes may be one read, and one write two reads");
    let (client, server) = over.channel(notes)?;
    notes.write("client", client.tx(), b"one")?;
    notes.write("client", client.tx(), b"two")?;
    until_queued(server.rx(), 6)?;
    notes.read("server", server.rx(), 64)?;
    notes.write("client", client.tx(), b"three")?;
    until_queued(server.rx(), 5)?;
    notes.read("server", server.rx(), 4)?;
    notes.read("server", server.rx(), 4)?;
    Ok(())
}

fn frames_do(over: Over, notes: &mut Notes) -> Result<()> {
    notes.step("two frames; the first pause is in the middle of a header");
    let (client, server) = over.channel(notes)?;
    let mut bytes = Vec::new();
    for (number, body) in [(258, "hi"), (259, "there")] {
        let from = bytes.len();
        let frame = Frame {
            kind: Kind::Request,
            number,
            body: body.into(),
        };
        frame.encode(Limit::default(), &mut bytes)?;
        notes.saw("version kind flags length number body", hex(&bytes[from..]));
    }
    let mut reader = match notes.fork("server")? {
        Fork::Child(me) => me.play(|me| {
            drop(client);
            let carries = server.carries();
            let rx = File::from(server.rx().try_clone_to_owned()?);
            let mut frames = FrameReader::new(rx, carries, Limit::default());
            while let Some(frame) = frames.read_frame()? {
                let body = String::from_utf8_lossy(&frame.body);
                me.saw(format_args!("{:?} {}", frame.kind, frame.number), body);
            }
            Ok(())
        }),
        Fork::Parent(reader) => reader,
    };
    drop(server);
    let (first, rest) = bytes.split_at(5);
    reader.until_asleep_in(Call::READ, notes)?;
    let slept = reader.counter(SLEEPS)?;
    notes.write("client", client.tx(), first)?;
    // Five bytes are no frame, so it asks for more.
    reader.until_asleep_again(slept, Call::READ, notes)?;
    notes.write("client", client.tx(), rest)?;
    reader.hear(notes)?;
    reader.hear(notes)?;
    drop(client);
    reader.end(notes)
}

fn a_frame_that_promises_too_much(over: Over, notes: &mut Notes) -> Result<()> {
    notes.step("a header that promises 4 GiB");
    let (client, server) = over.channel(notes)?;
    let header = [1, 1, 0, 0, 0xff, 0xff, 0xff, 0xff];
    notes.saw("version kind flags length", hex(&header));
    notes.write("client", client.tx(), &header)?;
    let carries = server.carries();
    match FrameReader::new(server, carries, Limit::default()).read_frame() {
        Ok(frame) => notes.saw("the server got", format_args!("{frame:?}")),
        Err(error) => notes.saw("the server refuses", error),
    }
    Ok(())
}

fn a_typed_call(over: Over, notes: &mut Notes) -> Result<()> {
    notes.step("typed calls: the client waits for the response with its number");
    let (client, mut server) = over.channel(notes)?;
    let caller = match notes.fork("client")? {
        Fork::Child(me) => me.play(|me| {
            drop(server);
            let client: Client<Demo> = Client::new(client)?;
            for call in [demo::Call::Sum(2, 300), demo::Call::Sum(i64::MAX, 1)] {
                match client.call(&call, PATIENCE) {
                    Ok(reply) => me.saw(format_args!("{call:?}"), format_args!("{reply:?}")),
                    Err(error) => me.saw(format_args!("{call:?}"), error),
                }
            }
            Ok(())
        }),
        Fork::Parent(caller) => caller,
    };
    drop(client);
    let service = Service::new();
    let limit = Limit::default();
    // Until the client ends.
    serve(&mut *server, limit, |request| {
        notes.saw(
            format_args!("{:?} {}", request.kind, request.number),
            hex(&request.body),
        );
        let answer = service.answer(request, limit)?;
        let frame = &answer.frame;
        notes.saw(
            format_args!("{:?} {}", frame.kind, frame.number),
            shown(frame),
        );
        Ok(answer)
    })?;
    caller.end(notes)
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<Vec<_>>()
        .join(" ")
}

/// A fault has a code, and a text with its length; the rest is numbers.
fn shown(frame: &Frame) -> String {
    match frame.kind {
        Kind::Error => {
            let (numbers, text) = frame.body.split_at(2);
            format!("{} {:?}", hex(numbers), String::from_utf8_lossy(text))
        }
        _ => hex(&frame.body),
    }
}

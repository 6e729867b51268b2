// SPDX-License-Identifier: MIT

//! Transports as the tests set them, and a transfer that looks at every byte.

use std::time::Duration;

use kpipe::{BottomHalf, Carrier};
use kpipe_abi::uapi::{self, Transport};

use super::bytes::{Random, Stream};
use super::expect::{expect, expect_bytes};
use super::prelude::{End, Queue};
use super::process::Process;

/// A tick that nobody waits long for.
const SHORT_TICK: Duration = Duration::from_micros(50);

/// Largest piece of a [`transfer`].
const PIECE_BYTES: usize = 20_000;

/// This one, with a short tick; its bytes are waited for.
pub fn by(carrier: Carrier, bottom_half: BottomHalf) -> Transport {
    Transport {
        transport: carrier.number(),
        bottom_half: bottom_half.number(),
        tick_ns: SHORT_TICK.as_nanos() as u64,
        ..Transport::default()
    }
}

/// The same without waiting for them.
pub fn posted(transport: Transport) -> Transport {
    Transport {
        flags: uapi::TRANSPORT_POSTED,
        ..transport
    }
}

/// A posted timer that takes this long for each page.
pub fn slow(tick: Duration) -> Transport {
    Transport {
        tick_ns: tick.as_nanos() as u64,
        ..posted(by(Carrier::Timer, BottomHalf::Bh))
    }
}

/// Each carrier of `carriers` with each bottom half that it has.
pub fn each_of(carriers: &[Carrier]) -> Vec<Transport> {
    let halves = |&carrier| BottomHalf::ALL.map(|bottom_half| (carrier, bottom_half));
    let all = carriers.iter().flat_map(halves);
    let exist = all.filter(|&pair| pair != (Carrier::Timer, BottomHalf::Thread));
    exist.map(|(carrier, half)| by(carrier, half)).collect()
}

/// All that carry fast, each with each bottom half.
pub fn fast() -> Vec<Transport> {
    each_of(&[Carrier::Timer, Carrier::Doorbell])
}

/// For messages: `doorbell/work`.
pub fn name(transport: &Transport) -> String {
    let number = |number: u32| move |n: u32| n == number;
    let carrier = Carrier::ALL.map(Carrier::number);
    let carrier = { carrier }
        .into_iter()
        .position(number(transport.transport));
    let half = BottomHalf::ALL.map(BottomHalf::number);
    let half = { half }.into_iter().position(number(transport.bottom_half));
    let carrier = carrier.map_or("?".to_owned(), |n| Carrier::ALL[n].to_string());
    let half = half.map_or("?".to_owned(), |n| BottomHalf::ALL[n].to_string());
    format!("{carrier}/{half}")
}

/// Both ends of a queue with this transport.
#[track_caller]
pub fn pair(q: &Queue, transport: Transport) -> (End, End) {
    let (reader, writer) = q.pair();
    set(&writer, transport);
    (reader, writer)
}

/// Sets the transport, which has to succeed.
#[track_caller]
pub fn set(end: &End, transport: Transport) {
    let set = end.set_transport(transport);
    set.unwrap_or_else(|e| panic!("transport {}: {e}", name(&transport)));
}

/// Sends `total` bytes in pieces of every size from another process, compares each, and sees the end of
/// file behind them. Call it before any thread is started.
#[track_caller]
pub fn transfer(what: &str, reader: &End, writer: End, total: usize) {
    let inherited = writer.clone();
    let sender = Process::start("sender", move || send(&inherited, total));
    writer.close();
    let got = receive(what, reader);
    expect(&format!("{what}: bytes received"), got, total);
    sender.wait_success();
}

/// Writes `total` bytes of the stream.
#[track_caller]
pub fn send(writer: &End, total: usize) {
    let (stream, mut random, mut sent) = (Stream::new(), Random::new(7), 0);
    while sent < total {
        let len = random.up_to(PIECE_BYTES).min(total - sent);
        writer.write_all(stream.piece(sent, len));
        sent += len;
    }
}

/// Reads to the end of file, compares every byte with the stream, and returns how many there were.
#[track_caller]
pub fn receive(what: &str, reader: &End) -> usize {
    let (stream, mut random, mut received) = (Stream::new(), Random::new(9), 0);
    loop {
        let part = reader.read(random.up_to(PIECE_BYTES));
        let part = part.unwrap_or_else(|e| panic!("{what}: read after {received} bytes: {e}"));
        if part.is_empty() {
            return received;
        }
        let place = format!("{what}: bytes from {received} on");
        expect_bytes(&place, &part, stream.piece(received, part.len()));
        received += part.len();
    }
}

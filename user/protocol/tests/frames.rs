// SPDX-License-Identifier: MIT

//! Frames and bytes: what goes in comes out, however the bytes were cut, and nothing else comes out.

#[path = "../fuzz/src/check.rs"]
mod check;

use kpipe::channel::Carries;
use kpipe_protocol::demo::{Call, Reply};
use kpipe_protocol::rpc::{decode, encode, Fault, FaultCode};
use kpipe_protocol::{Broken, Decoder, Frame, FrameError, FrameReader, Kind, Limit};
use proptest::prelude::*;

/// The example of docs/protocol.md.
const SUM_OF_2_AND_MINUS_3: [u8; 19] = [1, 1, 0, 0, 0, 0, 0, 11, 0, 0, 0, 0, 0, 0, 0, 7, 1, 4, 5];

fn request(number: u64, call: &Call) -> Frame {
    Frame {
        kind: Kind::Request,
        number,
        body: encode(call),
    }
}

fn bytes_of(frames: &[Frame]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for frame in frames {
        frame.encode(Limit::default(), &mut bytes).unwrap();
    }
    bytes
}

/// The only frame, or why there is none.
fn one(bytes: &[u8], limit: Limit) -> Result<Frame, Broken> {
    let mut decoder = Decoder::new(limit);
    let mut rest = bytes;
    match decoder.decode(&mut rest)? {
        Some(frame) => Ok(frame),
        None => Err(decoder.end().unwrap_err()),
    }
}

#[test]
fn the_bytes_are_those_of_the_document() {
    let frame = request(7, &Call::Sum(2, -3));
    assert_eq!(bytes_of(&[frame.clone()]), SUM_OF_2_AND_MINUS_3);
    assert_eq!(one(&SUM_OF_2_AND_MINUS_3, Limit::default()), Ok(frame));
    let fault = Fault::new(FaultCode::Refused, "no");
    assert_eq!(encode(&fault), [2, 2, b'n', b'o']);
    assert_eq!(encode(&Reply::Echo(vec![9; 300]))[..3], [0, 0xac, 0x02]);
    assert_eq!(encode(&Call::Time), [6]);
}

#[test]
fn each_field_of_the_header_is_checked() {
    let with = |at: usize, byte: u8| {
        let mut bytes = SUM_OF_2_AND_MINUS_3;
        bytes[at] = byte;
        one(&bytes, Limit::bytes(1000)).unwrap_err()
    };
    assert_eq!(with(0, 2), Broken::Version(2));
    assert_eq!(with(1, 0), Broken::Kind(0));
    assert_eq!(with(1, 5), Broken::Kind(5));
    assert_eq!(with(2, 1), Broken::Flags(0x0100));
    assert_eq!(with(3, 1), Broken::Flags(0x0001));
    assert_eq!(with(7, 7), Broken::TooShort { length_bytes: 7 });
    let too_long = Broken::TooLong {
        length_bytes: 1035,
        limit_bytes: 1000,
    };
    assert_eq!(with(6, 4), too_long);
    assert_eq!(
        with(7, 12),
        Broken::Cut {
            got_bytes: 19,
            wanted_bytes: Some(20)
        }
    );
}

#[test]
fn a_frame_as_long_as_the_limit_passes_and_one_byte_more_does_not() {
    let limit = Limit::bytes(100);
    let frame = |body_bytes| Frame {
        kind: Kind::Response,
        number: 1,
        body: vec![1; body_bytes],
    };
    let mut bytes = Vec::new();
    frame(92).encode(limit, &mut bytes).unwrap();
    assert_eq!(one(&bytes, limit), Ok(frame(92)));
    let too_long = Broken::TooLong {
        length_bytes: 101,
        limit_bytes: 100,
    };
    assert_eq!(frame(93).encode(limit, &mut bytes), Err(too_long));
    assert_eq!(one(&bytes_of(&[frame(93)]), limit), Err(too_long));
}

#[test]
fn after_a_broken_frame_nothing_is_taken_any_more() {
    let mut decoder = Decoder::new(Limit::default());
    let broken = decoder.decode(&mut b"GET / HTTP/1.1\r\n".as_slice());
    assert_eq!(broken, Err(Broken::Version(b'G')));
    assert_eq!(decoder.decode(&mut SUM_OF_2_AND_MINUS_3.as_slice()), broken);
    assert_eq!(decoder.end(), Err(Broken::Version(b'G')));
}

#[test]
fn a_message_is_one_frame_and_the_next_message_is_judged_afresh() {
    /// Gives one message for each read.
    struct Messages(Vec<Vec<u8>>);
    impl std::io::Read for Messages {
        fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
            if self.0.is_empty() {
                return Ok(0);
            }
            let message = self.0.remove(0);
            let len = message.len().min(buf.len());
            buf[..len].copy_from_slice(&message[..len]);
            Ok(len)
        }
    }
    let good = SUM_OF_2_AND_MINUS_3.to_vec();
    let messages = vec![
        good[..10].to_vec(),
        [&good[..], b"xx"].concat(),
        b"garbage".to_vec(),
        bytes_of(&[Frame {
            kind: Kind::Error,
            number: 1,
            body: vec![0; 500],
        }]),
        good.clone(),
    ];
    let limit = Limit::bytes(100);
    let mut reader = FrameReader::new(Messages(messages), Carries::Messages, limit);
    let mut broken = || match reader.read_frame() {
        Err(FrameError::Broken(broken)) => broken,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        broken(),
        Broken::Cut {
            got_bytes: 10,
            wanted_bytes: Some(19)
        }
    );
    assert_eq!(broken(), Broken::Trailing(2));
    assert_eq!(broken(), Broken::Version(b'g'));
    assert_eq!(
        broken(),
        Broken::TooLong {
            length_bytes: 508,
            limit_bytes: 100
        }
    );
    assert_eq!(
        reader.read_frame().unwrap(),
        Some(request(7, &Call::Sum(2, -3)))
    );
    assert_eq!(reader.read_frame().unwrap(), None);
}

fn any_frame() -> impl Strategy<Value = Frame> {
    let kind = prop_oneof![
        Just(Kind::Request),
        Just(Kind::Response),
        Just(Kind::Error),
        Just(Kind::Relay)
    ];
    let body = prop::collection::vec(any::<u8>(), 0..300);
    (kind, any::<u64>(), body).prop_map(|(kind, number, body)| Frame { kind, number, body })
}

fn any_call() -> impl Strategy<Value = Call> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200).prop_map(Call::Echo),
        any::<(i64, i64)>().prop_map(|(left, right)| Call::Sum(left, right)),
        any::<String>().prop_map(Call::Upper),
        any::<u32>().prop_map(Call::Sleep),
        any::<String>().prop_map(Call::Fail),
        Just(Call::Stat),
        Just(Call::Time),
    ]
}

/// Frames of which some are slightly wrong, and then whatever: closer to the edges than random bytes are.
fn nearly_frames() -> impl Strategy<Value = Vec<u8>> {
    let damage = prop::option::of((any::<prop::sample::Index>(), any::<u8>()));
    let calls = prop::collection::vec((any::<u64>(), any_call()), 0..4);
    (
        any::<u8>(),
        calls,
        damage,
        prop::collection::vec(any::<u8>(), 0..20),
    )
        .prop_map(|(cut, calls, damage, tail)| {
            let frames: Vec<_> = calls
                .iter()
                .map(|(number, call)| request(*number, call))
                .collect();
            let mut bytes = vec![cut];
            bytes.extend(bytes_of(&frames));
            if let Some((at, byte)) = damage {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes.extend(tail);
            bytes
        })
}

proptest! {
    #[test]
    fn frames_come_out_as_they_went_in(
        frames in prop::collection::vec(any_frame(), 0..6),
        cuts in prop::collection::vec(1usize..40, 1..20),
    ) {
        let bytes = bytes_of(&frames);
        let mut decoder = Decoder::new(Limit::default());
        let mut decoded = Vec::new();
        let mut rest = bytes.as_slice();
        let mut cuts = cuts.iter().cycle();
        while !rest.is_empty() {
            let (mut piece, behind) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
            rest = behind;
            while let Some(frame) = decoder.decode(&mut piece).unwrap() {
                decoded.push(frame);
            }
        }
        prop_assert_eq!(decoded, frames);
        prop_assert_eq!(decoder.end(), Ok(()));
    }

    #[test]
    fn a_frame_cut_anywhere_is_incomplete_and_never_another(frame in any_frame(), at in any::<prop::sample::Index>()) {
        let bytes = bytes_of(&[frame]);
        let at = at.index(bytes.len());
        let mut decoder = Decoder::new(Limit::default());
        prop_assert_eq!(decoder.decode(&mut &bytes[..at]), Ok(None));
        prop_assert_eq!(decoder.is_inside_frame(), at > 0);
        prop_assert_eq!(decoder.end().is_ok(), at == 0);
    }

    #[test]
    fn calls_come_out_as_they_went_in(call in any_call()) {
        prop_assert_eq!(decode::<Call>(&encode(&call)), Ok(call));
    }

    #[test]
    fn a_call_with_something_behind_it_is_refused(call in any_call(), behind in 1usize..9) {
        let mut body = encode(&call);
        body.extend(vec![0; behind]);
        prop_assert!(decode::<Call>(&body).is_err());
    }

    #[test]
    fn whatever_a_peer_sends_is_survived(bytes in prop_oneof![nearly_frames(), prop::collection::vec(any::<u8>(), 0..100)]) {
        check::peer_sends(&bytes);
    }
}

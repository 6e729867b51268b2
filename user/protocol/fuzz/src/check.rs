// SPDX-License-Identifier: MIT

//! [`peer_sends`]: what must hold whatever a peer sends. Called by the fuzzer and by the property tests.

use kpipe_protocol::demo::{Call, Reply, Service};
use kpipe_protocol::rpc::{decode, Fault};
use kpipe_protocol::{Broken, Decoder, Frame, Limit};

/// Small, so that the fuzzer meets it.
const LIMIT_BYTES: u32 = 256;

/// Gives `bytes` to a decoder and what comes out to the layers above. The first byte says into which pieces the rest
/// is cut.
///
/// # Panics
/// If it is wrong: pieces give other frames than the whole, a frame is not what was sent, a limit is
/// not kept.
pub fn peer_sends(bytes: &[u8]) {
    let Some((&cut, bytes)) = bytes.split_first() else {
        return;
    };
    let limit = Limit::bytes(LIMIT_BYTES);
    let whole = decode_all([bytes], limit);
    let pieces = decode_all(bytes.chunks(usize::from(cut).max(1)), limit);
    assert_eq!(whole, pieces, "the cuts make a difference");

    let (frames, end) = whole;
    let mut again = Vec::new();
    for frame in &frames {
        frame
            .encode(limit, &mut again)
            .expect("it came within the limit");
    }
    assert!(bytes.starts_with(&again), "a frame is not what was sent");
    if end.is_ok() {
        assert_eq!(bytes, again, "bytes were lost");
    }
    for frame in &frames {
        answer(frame, limit);
        survive(frame);
    }
}

/// All frames, and how it ended.
fn decode_all<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
    limit: Limit,
) -> (Vec<Frame>, Result<(), Broken>) {
    let mut decoder = Decoder::new(limit);
    let mut frames = Vec::new();
    for mut piece in pieces {
        loop {
            match decoder.decode(&mut piece) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => {
                    assert!(piece.is_empty(), "it asks for more and has not taken all");
                    break;
                }
                Err(broken) => return (frames, Err(broken)),
            }
        }
    }
    (frames, decoder.end())
}

/// A server answers every request, and with its number.
fn answer(frame: &Frame, limit: Limit) {
    match Service::new().answer(frame, limit) {
        Ok(answer) => {
            assert_eq!(answer.frame.number, frame.number);
            answer
                .frame
                .encode(limit, &mut Vec::new())
                .expect("an answer keeps the limit");
        }
        Err(Broken::Unexpected { .. }) => {}
        Err(broken) => panic!("a whole frame is not {broken}"),
    }
}

/// A client may get these bytes as a body; what it understands means the same when it is sent again.
fn survive(frame: &Frame) {
    macro_rules! round_trip {
        ($type:ty) => {
            if let Ok(value) = decode::<$type>(&frame.body) {
                let body = kpipe_protocol::rpc::encode(&value);
                assert_eq!(decode::<$type>(&body), Ok(value));
            }
        };
    }
    round_trip!(Call);
    round_trip!(Reply);
    round_trip!(Fault);
}

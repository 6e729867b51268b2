// SPDX-License-Identifier: MIT

//! [`Rpc`]: answers the calls of [`kpipe_protocol::demo`], in the order in which they come.

use crate::{Handler, Next, Service, With};
use kpipe::channel::Carries;
use kpipe_protocol::rpc::{last_words, Fault, FaultCode};
use kpipe_protocol::{demo, Broken, Decoder, Limit};
use std::sync::Arc;

/// The service.
#[derive(Debug, Default)]
pub struct Rpc {
    calls: Arc<demo::Service>,
}

impl Service for Rpc {
    fn handler(&self, carries: Carries, with: With) -> Box<dyn Handler> {
        let limit = Limit::of(carries);
        Box::new(Conversation {
            calls: Arc::clone(&self.calls),
            carries,
            with,
            limit,
            decoder: Decoder::new(limit),
            rest: Vec::new(),
            late: Vec::new(),
        })
    }
}

struct Conversation {
    calls: Arc<demo::Service>,
    carries: Carries,
    with: With,
    limit: Limit,
    decoder: Decoder,
    /// What came behind a call whose answer is late. No more is read meanwhile.
    rest: Vec<u8>,
    /// The answer that is late.
    late: Vec<u8>,
}

impl Conversation {
    fn answer(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<Next, Broken> {
        let all = bytes.len();
        while let Some(request) = self.decoder.decode(&mut bytes)? {
            if self.carries == Carries::Messages && !bytes.is_empty() {
                return Err(Broken::Trailing(bytes.len()));
            }
            let answer = self.calls.answer(&request, self.limit)?;
            if answer.after.is_zero() {
                answer.frame.encode(self.limit, out)?;
            } else if self.with == With::All {
                self.calls.count_fault();
                let why = "it would hold up the other clients of this socket";
                let refused = Fault::new(FaultCode::Refused, why).frame(request.number, self.limit);
                refused.encode(self.limit, out)?;
            } else {
                answer.frame.encode(self.limit, &mut self.late)?;
                self.rest = bytes.to_vec();
                return Ok(Next::Pause(answer.after));
            }
        }
        if self.carries == Carries::Messages && self.decoder.is_inside_frame() {
            return Err(Broken::Cut {
                got_bytes: all,
                wanted_bytes: None,
            });
        }
        Ok(Next::Receive)
    }
}

impl Handler for Conversation {
    fn on_bytes(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Next {
        self.answer(bytes, out).unwrap_or_else(|broken| {
            if !(self.carries == Carries::Messages && broken.is_an_answer()) {
                let words = last_words(broken, self.limit);
                words.encode(self.limit, out).expect("last words are short");
            }
            if self.carries == Carries::Bytes {
                return Next::Close(Some(broken.to_string()));
            }
            // The next message may be good.
            self.decoder = Decoder::new(self.limit);
            Next::Receive
        })
    }

    fn on_sent(&mut self, out: &mut Vec<u8>) -> Next {
        out.append(&mut self.late);
        let rest = std::mem::take(&mut self.rest);
        self.on_bytes(&rest, out)
    }

    fn on_end(&mut self) -> Result<(), String> {
        self.decoder.end().map_err(|broken| broken.to_string())
    }

    fn on_timeout(&mut self, out: &mut Vec<u8>) {
        let words = last_words("no request, or not all of one, came in time", self.limit);
        words.encode(self.limit, out).expect("last words are short");
    }

    fn is_between_requests(&self) -> bool {
        !self.decoder.is_inside_frame() && self.late.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kpipe_protocol::demo::{Call, Reply};
    use kpipe_protocol::rpc::decode;
    use kpipe_protocol::{Frame, Kind};
    use std::time::Duration;

    fn handler(carries: Carries) -> Box<dyn Handler> {
        Rpc::default().handler(carries, With::One)
    }

    fn request(number: u64, call: &Call) -> Vec<u8> {
        let mut bytes = Vec::new();
        Frame {
            kind: Kind::Request,
            number,
            body: postcard::to_stdvec(call).unwrap(),
        }
        .encode(Limit::default(), &mut bytes)
        .unwrap();
        bytes
    }

    fn frames(mut bytes: &[u8]) -> Vec<Frame> {
        let mut decoder = Decoder::new(Limit::default());
        std::iter::from_fn(|| decoder.decode(&mut bytes).unwrap()).collect()
    }

    fn replies(bytes: &[u8]) -> Vec<(u64, Reply)> {
        let reply = |frame: Frame| {
            assert_eq!(frame.kind, Kind::Response);
            (frame.number, decode::<Reply>(&frame.body).unwrap())
        };
        frames(bytes).into_iter().map(reply).collect()
    }

    #[test]
    fn calls_are_answered_wherever_the_bytes_were_cut() {
        let calls = [
            request(1, &Call::Sum(2, 3)),
            request(2, &Call::Upper("x".into())),
        ]
        .concat();
        for piece in 1..calls.len() {
            let (mut handler, mut out) = (handler(Carries::Bytes), Vec::new());
            for bytes in calls.chunks(piece) {
                assert_eq!(handler.on_bytes(bytes, &mut out), Next::Receive);
            }
            assert!(handler.is_between_requests());
            let wanted = vec![(1, Reply::Sum(5)), (2, Reply::Upper("X".into()))];
            assert_eq!(replies(&out), wanted, "pieces of {piece}");
        }
    }

    #[test]
    fn a_late_answer_delays_those_behind_it_and_loses_none() {
        let calls = [request(1, &Call::Sleep(20)), request(2, &Call::Sum(1, 1))].concat();
        let (mut handler, mut out) = (handler(Carries::Bytes), Vec::new());
        let next = handler.on_bytes(&calls, &mut out);
        assert_eq!(next, Next::Pause(Duration::from_millis(20)));
        assert!(out.is_empty() && !handler.is_between_requests());
        assert_eq!(handler.on_sent(&mut out), Next::Receive);
        assert_eq!(replies(&out), [(1, Reply::Slept), (2, Reply::Sum(2))]);
    }

    #[test]
    fn with_all_clients_in_one_socket_nobody_sleeps() {
        let mut handler = Rpc::default().handler(Carries::Messages, With::All);
        let mut out = Vec::new();
        let next = handler.on_bytes(&request(7, &Call::Sleep(20)), &mut out);
        assert_eq!(next, Next::Receive);
        let said = &frames(&out)[0];
        assert_eq!((said.kind, said.number), (Kind::Error, 7));
        let fault: Fault = decode(&said.body).unwrap();
        assert_eq!(fault.code, FaultCode::Refused);
    }

    #[test]
    fn garbage_is_answered_with_an_error_and_the_end() {
        let (mut handler, mut out) = (handler(Carries::Bytes), Vec::new());
        let next = handler.on_bytes(b"GET / HTTP/1.1\r\n\r\n", &mut out);
        assert!(matches!(next, Next::Close(Some(why)) if why.contains("version 71")));
        let said = frames(&out);
        assert_eq!((said[0].kind, said[0].number), (Kind::Error, 0));
    }

    #[test]
    fn four_gib_are_refused_by_the_header() {
        let (mut handler, mut out) = (handler(Carries::Bytes), Vec::new());
        let next = handler.on_bytes(&[1, 1, 0, 0, 255, 255, 255, 255], &mut out);
        assert!(matches!(next, Next::Close(Some(why)) if why.contains("4294967295")));
    }

    #[test]
    fn half_a_frame_is_no_rest_and_a_bad_end() {
        let (mut handler, mut out) = (handler(Carries::Bytes), Vec::new());
        handler.on_bytes(&request(1, &Call::Stat)[..9], &mut out);
        assert!(!handler.is_between_requests());
        assert!(handler.on_end().unwrap_err().contains("9 bytes"));
    }

    #[test]
    fn a_message_that_is_an_answer_gets_none() {
        let mut handler = Rpc::default().handler(Carries::Messages, With::All);
        for (kind, number) in [(Kind::Error, 0), (Kind::Error, 7), (Kind::Response, 1)] {
            let (mut bytes, mut out) = (Vec::new(), Vec::new());
            let body = Vec::new();
            let answer = Frame { kind, number, body };
            answer.encode(Limit::default(), &mut bytes).unwrap();
            assert_eq!(handler.on_bytes(&bytes, &mut out), Next::Receive);
            assert_eq!(out, b"", "two servers would answer each other for ever");
        }
        let mut out = Vec::new();
        handler.on_bytes(&request(2, &Call::Sum(1, 2)), &mut out);
        assert_eq!(replies(&out), [(2, Reply::Sum(3))]);
    }

    #[test]
    fn after_a_bad_message_the_next_one_is_answered() {
        let (mut handler, mut out) = (handler(Carries::Messages), Vec::new());
        let mut long = request(1, &Call::Stat);
        long.push(0);
        for bad in [&long[..], &long[..10], b"garbage"] {
            out.clear();
            assert_eq!(handler.on_bytes(bad, &mut out), Next::Receive);
            assert_eq!(frames(&out)[0].kind, Kind::Error);
        }
        out.clear();
        handler.on_bytes(&request(2, &Call::Sum(1, 2)), &mut out);
        assert_eq!(replies(&out), [(2, Reply::Sum(3))]);
    }
}

// SPDX-License-Identifier: MIT

//! [`Dialogue`]: what a client of `kpipe load` asks, and when it has its answer: each byte is checked. It does
//! no I/O; a [`Client`](super::client::Client) drives it.

use clap::ValueEnum;
use kpipe::channel::Carries;
use kpipe_protocol::demo::{Call, Reply};
use kpipe_protocol::{rpc, Decoder, Frame, Kind, Limit};
use serde::Serialize;
use std::rc::Rc;

/// What the server serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Bytes that come back
    Echo,
    /// The call Echo (docs/protocol.md)
    Rpc,
    /// GET of a path, with keep-alive
    Http,
}

/// What all clients ask.
#[derive(Clone, Debug)]
pub struct Question {
    protocol: Protocol,
    /// The bytes to get back; a whole request for HTTP.
    bytes: Rc<[u8]>,
    limit: Limit,
}

/// One client's part.
pub struct Dialogue {
    question: Question,
    answer: Answer,
}

enum Answer {
    Echo {
        got_bytes: usize,
    },
    Rpc {
        number: u64,
        decoder: Decoder,
    },
    /// The head as far as it has come, or what is missing of the body.
    Http {
        head: Vec<u8>,
        left_bytes: Option<u64>,
    },
}

/// A server whose head is longer is not answering but talking.
const MAX_HEAD_BYTES: usize = 16 << 10;
/// More header fields than any server sends.
const MAX_FIELDS: usize = 64;

impl Question {
    /// Of `size` bytes to a server of echo or calls.
    pub fn of_bytes(protocol: Protocol, size: usize, carries: Carries) -> Result<Self, String> {
        let limit = Limit::of(carries);
        // The frame's body is the call's place, a length of up to five bytes, and the bytes.
        let most = match protocol {
            Protocol::Rpc => limit.body_bytes() - 6,
            _ if carries == Carries::Messages => kpipe::channel::MESSAGE_BYTES,
            _ => usize::MAX,
        };
        if size > most {
            return Err(format!(
                "{size} bytes do not fit into a message: at most {most}"
            ));
        }
        Ok(Self {
            protocol,
            // Neighbours differ, so that nothing can be lost or swapped unseen.
            bytes: (0..size).map(|place| (place % 251) as u8).collect(),
            limit,
        })
    }

    /// GET of `path` from `host`.
    pub fn of_http(host: &str, path: &str) -> Self {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: kpipe-load\r\n\r\n");
        Self {
            protocol: Protocol::Http,
            bytes: request.into_bytes().into(),
            limit: Limit::default(),
        }
    }
}

impl Dialogue {
    /// That asks nothing yet.
    pub fn new(question: &Question) -> Self {
        let answer = match question.protocol {
            Protocol::Echo => Answer::Echo { got_bytes: 0 },
            Protocol::Rpc => Answer::Rpc {
                number: 0,
                decoder: Decoder::new(question.limit),
            },
            Protocol::Http => Answer::Http {
                head: Vec::new(),
                left_bytes: None,
            },
        };
        Self {
            question: question.clone(),
            answer,
        }
    }

    /// The next request.
    pub fn ask(&mut self) -> Rc<[u8]> {
        let bytes = &self.question.bytes;
        match &mut self.answer {
            Answer::Echo { got_bytes } => *got_bytes = 0,
            Answer::Rpc { number, .. } => {
                *number += 1;
                let mut request = Vec::new();
                let call = Frame {
                    kind: Kind::Request,
                    number: *number,
                    body: rpc::encode(&Call::Echo(bytes.to_vec())),
                };
                call.encode(self.question.limit, &mut request)
                    .expect("its size was checked");
                return request.into();
            }
            Answer::Http { head, left_bytes } => {
                head.clear();
                *left_bytes = None;
            }
        }
        Rc::clone(bytes)
    }

    /// Takes what came. `true`: this was the end of the answer.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn on_bytes(&mut self, bytes: &[u8]) -> Result<bool, String> {
        let expected = &self.question.bytes;
        match &mut self.answer {
            Answer::Echo { got_bytes } => {
                let end = *got_bytes + bytes.len();
                if expected.get(*got_bytes..end) != Some(bytes) {
                    return Err("other bytes came back".to_owned());
                }
                *got_bytes = end;
                Ok(end == expected.len())
            }
            Answer::Rpc { number, decoder } => {
                let mut rest = bytes;
                let frame = decoder
                    .decode(&mut rest)
                    .map_err(|broken| broken.to_string())?;
                frame.map_or(Ok(false), |frame| is_reply(&frame, *number, expected, rest))
            }
            Answer::Http { head, left_bytes } => on_http(head, left_bytes, bytes),
        }
    }
}

fn is_reply(frame: &Frame, number: u64, expected: &[u8], rest: &[u8]) -> Result<bool, String> {
    if frame.kind == Kind::Error {
        let fault = rpc::decode::<rpc::Fault>(&frame.body).map_err(|error| error.to_string())?;
        return Err(fault.to_string());
    }
    let reply = rpc::decode::<Reply>(&frame.body).map_err(|error| error.to_string())?;
    let is_right = matches!(&reply, Reply::Echo(bytes) if bytes == expected);
    if !is_right || frame.number != number || !rest.is_empty() {
        return Err("another reply came".to_owned());
    }
    Ok(true)
}

/// Status 200 with a length, and then as many bytes.
fn on_http(
    head: &mut Vec<u8>,
    left_bytes: &mut Option<u64>,
    mut bytes: &[u8],
) -> Result<bool, String> {
    if left_bytes.is_none() {
        let before = head.len();
        head.extend_from_slice(bytes);
        let Some((head_bytes, body_bytes)) = parse_head(head)? else {
            return match head.len() {
                len if len > MAX_HEAD_BYTES => Err("the head of the answer has no end".to_owned()),
                _ => Ok(false),
            };
        };
        bytes = &bytes[head_bytes - before..];
        *left_bytes = Some(body_bytes);
    }
    let left = left_bytes.get_or_insert(0);
    *left = left
        .checked_sub(bytes.len() as u64)
        .ok_or("the answer is longer than it says")?;
    Ok(*left == 0)
}

/// The lengths of head and body, if all of the head is there.
fn parse_head(head: &[u8]) -> Result<Option<(usize, u64)>, String> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    let parsed = response
        .parse(head)
        .map_err(|error| format!("no HTTP: {error}"))?;
    let httparse::Status::Complete(head_bytes) = parsed else {
        return Ok(None);
    };
    match response.code {
        Some(200) => {}
        code => return Err(format!("HTTP status {}", code.unwrap_or(0))),
    }
    let length = response
        .headers
        .iter()
        .find(|field| field.name.eq_ignore_ascii_case("content-length"))
        .and_then(|field| std::str::from_utf8(field.value).ok()?.trim().parse().ok());
    length
        .map(|body_bytes| Some((head_bytes, body_bytes)))
        .ok_or_else(|| "an answer without Content-Length".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialogue(protocol: Protocol, size: usize) -> Dialogue {
        Dialogue::new(&Question::of_bytes(protocol, size, Carries::Bytes).unwrap())
    }

    /// Gives `answer` in pieces; all but the last are not the end.
    fn tell(dialogue: &mut Dialogue, answer: &[u8], piece: usize) -> Result<bool, String> {
        let mut is_complete = false;
        for piece in answer.chunks(piece) {
            assert!(!is_complete, "complete too early");
            is_complete = dialogue.on_bytes(piece)?;
        }
        Ok(is_complete)
    }

    #[test]
    fn an_echo_is_complete_with_its_last_byte_and_checked() {
        let mut dialogue = dialogue(Protocol::Echo, 1000);
        for piece in [1, 7, 1000] {
            let bytes = dialogue.ask();
            assert_eq!(bytes.len(), 1000);
            assert_eq!(tell(&mut dialogue, &bytes, piece), Ok(true));
        }
        let mut bytes = dialogue.ask().to_vec();
        bytes.swap(500, 501);
        assert!(tell(&mut dialogue, &bytes, 1000).is_err());
        let too_many = [&dialogue.ask()[..], b"x"].concat();
        assert!(tell(&mut dialogue, &too_many, 2000).is_err());
    }

    #[test]
    fn a_reply_is_taken_with_its_own_number_and_bytes_only() {
        let service = kpipe_protocol::demo::Service::new();
        let answer_to = |request: &[u8]| {
            let mut decoder = Decoder::new(Limit::default());
            let request = decoder.decode(&mut &*request).unwrap().unwrap();
            let mut answer = Vec::new();
            let frame = service.answer(&request, Limit::default()).unwrap().frame;
            frame.encode(Limit::default(), &mut answer).unwrap();
            answer
        };
        let mut dialogue = dialogue(Protocol::Rpc, 300);
        let first = answer_to(&dialogue.ask());
        assert_eq!(tell(&mut dialogue, &first, 10), Ok(true));
        let request = dialogue.ask();
        assert!(
            tell(&mut dialogue, &first, 10).is_err(),
            "the number is that of another"
        );
        let mut dialogue = self::dialogue(Protocol::Rpc, 300);
        dialogue.ask();
        let mut wrong = answer_to(&request);
        wrong[15] = 1;
        *wrong.last_mut().unwrap() ^= 1;
        assert!(tell(&mut dialogue, &wrong, 10).is_err());
    }

    #[test]
    fn an_http_answer_ends_where_its_length_says() {
        let mut dialogue = Dialogue::new(&Question::of_http("localhost", "/a"));
        let request = dialogue.ask();
        assert!(request.starts_with(b"GET /a HTTP/1.1\r\nHost: localhost\r\n"));
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
        for piece in [1, 3, 39, 100] {
            dialogue.ask();
            assert_eq!(tell(&mut dialogue, answer, piece), Ok(true), "{piece}");
        }
        dialogue.ask();
        let empty = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(tell(&mut dialogue, empty, 100), Ok(true));
        for (wrong, why) in [
            (
                "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
                "HTTP status 404",
            ),
            ("HTTP/1.1 200 OK\r\n\r\n", "without Content-Length"),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxx",
                "longer than it says",
            ),
            ("hello\r\n", "no HTTP"),
        ] {
            dialogue.ask();
            let error = tell(&mut dialogue, wrong.as_bytes(), 1000).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
        dialogue.ask();
        let endless = [b"HTTP/1.1 200 OK\r\nX: ".as_slice(), &[b'x'; 20_000]].concat();
        assert!(tell(&mut dialogue, &endless, 1000).is_err());
    }

    #[test]
    fn a_request_that_fits_into_no_message_is_refused() {
        let of_bytes = |protocol, size| Question::of_bytes(protocol, size, Carries::Messages);
        assert!(of_bytes(Protocol::Echo, 65_507).is_ok());
        assert!(of_bytes(Protocol::Echo, 65_508).is_err());
        let largest = of_bytes(Protocol::Rpc, 65_485).unwrap();
        Dialogue::new(&largest).ask();
        assert!(of_bytes(Protocol::Rpc, 65_486).is_err());
    }
}

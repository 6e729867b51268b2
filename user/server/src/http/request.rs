// SPDX-License-Identifier: MIT

//! [`Request`]: what a client asks for, from the bytes of its head.

use super::response::Status;
use percent_encoding::percent_decode;

/// A head may have so many bytes, and so many fields.
pub const HEAD_BYTES: usize = 16 * 1024;
const FIELDS: usize = 64;
/// A body, which nothing here needs, is read and thrown away up to this length.
const BODY_BYTES: u64 = 1 << 20;

/// A request that can be answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Without a body in the answer.
    pub is_head: bool,
    /// Another connection is wanted for the next request.
    pub is_last: bool,
    /// Decoded, below the root, without a slash at the beginning.
    pub path: Vec<u8>,
    /// The same as it was sent.
    pub raw_path: String,
    /// Fields that are understood.
    pub range: Option<String>,
    pub if_range: Option<String>,
    pub if_none_match: Option<String>,
    pub if_modified_since: Option<String>,
    /// Bytes that follow the head.
    pub body_bytes: u64,
}

/// Why there is no answer but a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: Status,
    pub why: String,
    /// It was asked for without a body.
    pub is_head: bool,
    /// Whether the next request can be found behind this one, and after how many bytes of a body.
    pub goes_on: Option<u64>,
}

impl Refusal {
    fn new(status: Status, why: impl ToString) -> Self {
        Self {
            status,
            why: why.to_string(),
            is_head: false,
            goes_on: None,
        }
    }
}

/// What the bytes so far are.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A part of a head.
    Partial,
    /// A head of so many bytes.
    Whole(usize, Result<Request, Refusal>),
}

/// Looks at the bytes of a connection between requests.
pub fn parse(bytes: &[u8]) -> Parsed {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut head = httparse::Request::new(&mut fields);
    let (len, asked) = match head.parse(bytes) {
        Ok(httparse::Status::Complete(len)) if len <= HEAD_BYTES => (len, understand(&head)),
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_BYTES => return Parsed::Partial,
        Ok(_) => {
            let status = if bytes[..HEAD_BYTES.min(bytes.len())].contains(&b'\n') {
                Status::FIELDS_TOO_LARGE
            } else {
                Status::URI_TOO_LONG
            };
            let why = format!("its head has more than {HEAD_BYTES} bytes");
            (bytes.len(), Err(Refusal::new(status, why)))
        }
        Err(error) => {
            let status = match error {
                httparse::Error::TooManyHeaders => Status::FIELDS_TOO_LARGE,
                httparse::Error::Version if names_a_version(bytes) => Status::VERSION,
                _ => Status::BAD_REQUEST,
            };
            (bytes.len(), Err(Refusal::new(status, error)))
        }
    };
    // As far as it was understood.
    let is_head = head.method == Some("HEAD");
    Parsed::Whole(len, asked.map_err(|refusal| Refusal { is_head, ..refusal }))
}

/// Whether the first line ends with `HTTP/` and a number: it is HTTP, but not one that is spoken here.
fn names_a_version(bytes: &[u8]) -> bool {
    let line = bytes
        .split(|byte| b"\r\n".contains(byte))
        .find(|line| !line.is_empty());
    let last = line.and_then(|line| line.rsplit(|byte| *byte == b' ').next());
    last.and_then(|word| word.strip_prefix(b"HTTP/"))
        .is_some_and(|version| version.first().is_some_and(u8::is_ascii_digit))
}

fn understand(head: &httparse::Request<'_, '_>) -> Result<Request, Refusal> {
    let bad = |why: &str| Refusal::new(Status::BAD_REQUEST, why);
    let is_new = head.version == Some(1);
    let hosts = head
        .headers
        .iter()
        .filter(|field| is(field, "Host"))
        .count();
    if hosts > 1 || (is_new && hosts == 0) {
        return Err(bad("it needs one Host field"));
    }
    let body_bytes = body_bytes(head)?;
    // Several fields are one list (RFC 9110 section 5.3).
    let connection = head.headers.iter().filter(|field| is(field, "Connection"));
    let connection: Vec<&[u8]> = connection.map(|field| field.value).collect();
    let asks = |word: &str| {
        let mut words = connection
            .iter()
            .flat_map(|value| value.split(|byte| *byte == b','));
        words.any(|other| other.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
    };
    let is_last = asks("close") || !(is_new || asks("keep-alive"));
    let method = head.method.unwrap_or_default();
    if !["GET", "HEAD"].contains(&method) {
        let known = [
            "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
        ];
        let status = match known.contains(&method) {
            true => Status::NOT_ALLOWED,
            false => Status::NOT_IMPLEMENTED,
        };
        return Err(Refusal {
            goes_on: (!is_last).then_some(body_bytes),
            ..Refusal::new(status, format_args!("the method {method} is not served"))
        });
    }
    let raw_path =
        raw_path(head.path.unwrap_or_default()).ok_or_else(|| bad("its target is no path"))?;
    Ok(Request {
        is_head: method == "HEAD",
        is_last,
        path: decode(raw_path).ok_or_else(|| bad("its path is not well encoded"))?,
        raw_path: raw_path.to_owned(),
        range: text(head, "Range"),
        if_range: text(head, "If-Range"),
        if_none_match: text(head, "If-None-Match"),
        if_modified_since: text(head, "If-Modified-Since"),
        body_bytes,
    })
}

/// How long the body is. A length that two readers could understand differently is refused: the rest of it
/// would be taken for a request by one of them (RFC 9112 section 11.2).
fn body_bytes(head: &httparse::Request<'_, '_>) -> Result<u64, Refusal> {
    let lengths: Vec<_> = head
        .headers
        .iter()
        .filter(|field| is(field, "Content-Length"))
        .collect();
    let bad = |why: &str| Err(Refusal::new(Status::BAD_REQUEST, why));
    if head
        .headers
        .iter()
        .any(|field| is(field, "Transfer-Encoding"))
    {
        return if lengths.is_empty() {
            let why = "its body is encoded for transfer";
            Err(Refusal::new(Status::NOT_IMPLEMENTED, why))
        } else {
            bad("its body has two lengths")
        };
    }
    let value = match lengths[..] {
        [] => return Ok(0),
        [field] => field.value,
        _ => return bad("its body has two lengths"),
    };
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return bad("its Content-Length is no number");
    }
    let length = std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.parse().ok());
    match length {
        Some(length) if length <= BODY_BYTES => Ok(length),
        _ => {
            let why = format!("its body has more than {BODY_BYTES} bytes");
            Err(Refusal::new(Status::TOO_LARGE, why))
        }
    }
}

fn is(field: &httparse::Header<'_>, name: &str) -> bool {
    field.name.eq_ignore_ascii_case(name)
}

fn text(head: &httparse::Request<'_, '_>, name: &str) -> Option<String> {
    let field = head.headers.iter().find(|field| is(field, name))?;
    Some(std::str::from_utf8(field.value).ok()?.trim().to_owned())
}

/// The path of a target, which may be a whole address (RFC 9112 section 3.2), without the query.
fn raw_path(target: &str) -> Option<&str> {
    let path = match target.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => {
            rest.find('/').map_or("/", |slash| &rest[slash..])
        }
        _ => target,
    };
    let path = path.split(['?', '#']).next()?;
    path.starts_with('/').then_some(path)
}

/// Percent-decoded, and without slashes at the beginning, which would make it absolute.
fn decode(path: &str) -> Option<Vec<u8>> {
    let is_encoded = path.split('%').skip(1).all(|rest| {
        let hex = rest.as_bytes().get(..2);
        hex.is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit))
    });
    let decoded: Vec<u8> = percent_decode(path.as_bytes()).collect();
    if !is_encoded || decoded.contains(&0) {
        return None;
    }
    let start = decoded.iter().position(|byte| *byte != b'/');
    Some(decoded[start.unwrap_or(decoded.len())..].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(head: &str) -> u16 {
        match parse(head.as_bytes()) {
            Parsed::Partial => 0,
            Parsed::Whole(_, Ok(_)) => 200,
            Parsed::Whole(_, Err(refusal)) => refusal.status.code,
        }
    }

    fn path(target: &str) -> String {
        match parse(format!("GET {target} HTTP/1.0\r\n\r\n").as_bytes()) {
            Parsed::Whole(_, Ok(request)) => String::from_utf8(request.path).unwrap(),
            other => panic!("{target}: {other:?}"),
        }
    }

    #[test]
    fn every_kind_of_bad_head_has_its_status() {
        let long = "x".repeat(HEAD_BYTES);
        let many = "F: x\r\n".repeat(100);
        for (head, wanted) in [
            ("GET / HTTP/1.1\r\nHost: h\r\n\r\n", 200),
            ("HEAD / HTTP/1.0\r\n\r\n", 200),
            ("GET / HTTP/1.1\r\nHost: h\r\n", 0),
            ("GET / HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
            ("\u{0}\u{1}\u{2}\r\n\r\n", 400),
            ("GET nowhere HTTP/1.0\r\n\r\n", 400),
            ("GET * HTTP/1.0\r\n\r\n", 400),
            ("GET /%zz HTTP/1.0\r\n\r\n", 400),
            ("GET /% HTTP/1.0\r\n\r\n", 400),
            ("GET /%00 HTTP/1.0\r\n\r\n", 400),
            ("GET / HTTP/1.0\r\nContent-Length: -1\r\n\r\n", 400),
            (
                "GET / HTTP/1.0\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
                400,
            ),
            (
                "GET / HTTP/1.0\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                400,
            ),
            ("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 501),
            (
                "GET / HTTP/1.0\r\nContent-Length: 99999999999999999999\r\n\r\n",
                413,
            ),
            ("GET / HTTP/1.0\r\nContent-Length: 2000000\r\n\r\n", 413),
            ("POST / HTTP/1.0\r\n\r\n", 405),
            ("BREW / HTTP/1.0\r\n\r\n", 501),
            ("GET / HTTP/2.0\r\n\r\n", 505),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
            ("GET / FTP/1.0\r\n\r\n", 400),
            (&format!("GET /{long} HTTP/1.0\r\n\r\n"), 414),
            (&format!("GET / HTTP/1.0\r\nF: {long}\r\n\r\n"), 431),
            (&format!("GET / HTTP/1.0\r\n{many}\r\n"), 431),
        ] {
            assert_eq!(status(head), wanted, "{}", &head[..head.len().min(60)]);
        }
    }

    #[test]
    fn paths_are_decoded_once_and_relative() {
        for (target, wanted) in [
            ("/", ""),
            ("/a/b.html?query=1", "a/b.html"),
            ("http://host:80/a", "a"),
            ("http://host", ""),
            ("//etc/passwd", "etc/passwd"),
            ("/%2Fetc/passwd", "etc/passwd"),
            ("/%2e%2e/secret", "../secret"),
            ("/%252e", "%2e"),
            ("/with%20blank", "with blank"),
        ] {
            assert_eq!(path(target), wanted, "{target}");
        }
    }

    #[test]
    fn a_connection_lasts_as_the_version_and_the_client_say() {
        let is_last = |head: &str| match parse(head.as_bytes()) {
            Parsed::Whole(_, Ok(request)) => request.is_last,
            other => panic!("{other:?}"),
        };
        assert!(!is_last("GET / HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert!(is_last(
            "GET / HTTP/1.1\r\nHost: h\r\nConnection: x, Close\r\n\r\n"
        ));
        assert!(is_last(
            "GET / HTTP/1.1\r\nHost: h\r\nConnection: x\r\nConnection: close\r\n\r\n"
        ));
        assert!(is_last("GET / HTTP/1.0\r\n\r\n"));
        assert!(!is_last("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"));
    }
}

// SPDX-License-Identifier: MIT

//! [`Status`] and [`Head`]: how a response begins.

use std::fmt::Display;
use std::io::Write;
use std::time::SystemTime;

/// A status code and its words (RFC 9110 section 15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    pub code: u16,
    pub words: &'static str,
}

impl Status {
    pub const OK: Self = Self::new(200, "OK");
    pub const PARTIAL: Self = Self::new(206, "Partial Content");
    pub const MOVED: Self = Self::new(301, "Moved Permanently");
    pub const NOT_MODIFIED: Self = Self::new(304, "Not Modified");
    pub const BAD_REQUEST: Self = Self::new(400, "Bad Request");
    pub const FORBIDDEN: Self = Self::new(403, "Forbidden");
    pub const NOT_FOUND: Self = Self::new(404, "Not Found");
    pub const NOT_ALLOWED: Self = Self::new(405, "Method Not Allowed");
    pub const TIMEOUT: Self = Self::new(408, "Request Timeout");
    pub const TOO_LARGE: Self = Self::new(413, "Content Too Large");
    pub const URI_TOO_LONG: Self = Self::new(414, "URI Too Long");
    pub const RANGE: Self = Self::new(416, "Range Not Satisfiable");
    pub const FIELDS_TOO_LARGE: Self = Self::new(431, "Request Header Fields Too Large");
    pub const NOT_IMPLEMENTED: Self = Self::new(501, "Not Implemented");
    pub const UNAVAILABLE: Self = Self::new(503, "Service Unavailable");
    pub const VERSION: Self = Self::new(505, "HTTP Version Not Supported");

    const fn new(code: u16, words: &'static str) -> Self {
        Self { code, words }
    }
}

/// A head being written. What comes after [`Head::end`] is the body.
pub struct Head<'a>(&'a mut Vec<u8>);

impl<'a> Head<'a> {
    /// The status line and what every response has.
    pub fn new(out: &'a mut Vec<u8>, status: Status, is_last: bool) -> Self {
        let mut head = Self(out);
        head.line(format_args!("HTTP/1.1 {} {}", status.code, status.words));
        head.field("Date", httpdate::fmt_http_date(SystemTime::now()));
        head.field("Server", "kpipe");
        // A client of HTTP/1.0 that asked for it has to be told (RFC 9112 appendix C.2.2); others know.
        head.field("Connection", if is_last { "close" } else { "keep-alive" });
        head
    }

    /// One field.
    pub fn field(&mut self, name: &str, value: impl Display) {
        self.line(format_args!("{name}: {value}"));
    }

    /// The empty line.
    pub fn end(mut self) {
        self.line("");
    }

    fn line(&mut self, line: impl Display) {
        write!(self.0, "{line}\r\n").expect("memory takes it");
    }
}

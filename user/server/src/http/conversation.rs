// SPDX-License-Identifier: MIT

//! [`Conversation`]: requests one after another on one connection. A file goes out a block at a time, so
//! its length costs no memory; a request that comes meanwhile waits.

use super::range::{part, Part};
use super::request::{parse, Parsed, Refusal, Request};
use super::response::{Head, Status};
use super::root::{Found, Place, Root};
use super::Current;
use crate::{Handler, Next, BLOCK_BYTES};
use std::ffi::OsStr;
use std::fs::File;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The handler.
pub struct Conversation {
    root: Current,
    /// What came and has not been looked at: at most a head and a block.
    input: Vec<u8>,
    /// So many bytes of input belong to a body that nobody wants.
    unwanted_bytes: u64,
    /// What is being sent.
    body: Option<(File, Range<u64>)>,
    /// The answer that is being sent is the last.
    is_last: bool,
}

impl Conversation {
    pub fn new(root: Current) -> Self {
        Self {
            root,
            input: Vec::new(),
            unwanted_bytes: 0,
            body: None,
            is_last: false,
        }
    }

    /// Answers what is there.
    fn go_on(&mut self, out: &mut Vec<u8>) -> Next {
        loop {
            if self.body.is_some() {
                match self.send_block(out) {
                    Ok(()) if self.body.is_some() => return Next::Send,
                    Ok(()) => {}
                    Err(why) => return Next::Close(Some(why)),
                }
            }
            if self.is_last {
                return Next::Close(None);
            }
            self.skip_unwanted();
            self.skip_empty_lines();
            if self.input.is_empty() {
                // Nothing is kept for a client that says nothing.
                self.input = Vec::new();
                return Next::Receive;
            }
            // The answers so far first, however many requests came at once.
            if out.len() >= BLOCK_BYTES {
                return Next::Send;
            }
            let (len, asked) = match parse(&self.input) {
                Parsed::Partial => return Next::Receive,
                Parsed::Whole(len, asked) => (len, asked),
            };
            self.input.drain(..len);
            match asked {
                Ok(request) => self.answer(&request, out),
                Err(refusal) => {
                    self.unwanted_bytes = refusal.goes_on.unwrap_or(0);
                    self.is_last = refusal.goes_on.is_none();
                    refuse(&refusal, out);
                    if self.is_last {
                        return Next::Close(Some(refusal.why));
                    }
                }
            }
        }
    }

    fn skip_unwanted(&mut self) {
        let len = usize::try_from(self.unwanted_bytes).unwrap_or(usize::MAX);
        let len = len.min(self.input.len());
        self.input.drain(..len);
        self.unwanted_bytes -= len as u64;
    }

    /// A client may send some before a request (RFC 9112 section 2.2); they begin none.
    fn skip_empty_lines(&mut self) {
        if self.unwanted_bytes == 0 {
            let start = self.input.iter().position(|byte| !b"\r\n".contains(byte));
            self.input.drain(..start.unwrap_or(self.input.len()));
        }
    }

    fn answer(&mut self, request: &Request, out: &mut Vec<u8>) {
        self.unwanted_bytes = request.body_bytes;
        self.is_last = request.is_last;
        let root = Arc::clone(&self.root.read().expect("nobody panics with it"));
        match find(&root, &request.path) {
            Ok(Place::File(found)) => self.send(request, found, out),
            Ok(Place::Folder) => {
                // Without the doubled slash that would make it the name of another host.
                let path = request.raw_path.trim_start_matches('/');
                let location = Some(("Location", format!("/{path}/")));
                short(request, Status::MOVED, location, out);
            }
            Err(status) => short(request, status, None, out),
        }
    }

    fn send(&mut self, request: &Request, found: Found, out: &mut Vec<u8>) {
        let len_bytes = found.len_bytes;
        let modified = http_date(found.modified);
        if is_known(request, &found) {
            let mut head = Head::new(out, Status::NOT_MODIFIED, request.is_last);
            head.field("ETag", &found.tag);
            if let Some(modified) = &modified {
                head.field("Last-Modified", modified);
            }
            return head.end();
        }
        let (status, range) = match wanted_part(request, &found, modified.as_deref()) {
            Part::Whole => (Status::OK, 0..len_bytes),
            Part::Bytes(range) => (Status::PARTIAL, range),
            Part::Unsatisfiable => {
                let length = Some(("Content-Range", format!("bytes */{len_bytes}")));
                return short(request, Status::RANGE, length, out);
            }
        };
        let mut head = Head::new(out, status, request.is_last);
        head.field("Content-Type", content_type(&request.path));
        head.field("Content-Length", range.end - range.start);
        if status == Status::PARTIAL {
            let last = range.end - 1;
            head.field(
                "Content-Range",
                format_args!("bytes {}-{last}/{len_bytes}", range.start),
            );
        }
        head.field("Accept-Ranges", "bytes");
        head.field("ETag", &found.tag);
        if let Some(modified) = &modified {
            head.field("Last-Modified", modified);
        }
        head.end();
        if !request.is_head && !range.is_empty() {
            self.body = Some((found.file, range));
        }
    }

    /// Appends a block of the body. The length has been promised, so a file that has become shorter
    /// ends the connection.
    fn send_block(&mut self, out: &mut Vec<u8>) -> Result<(), String> {
        let Some((file, range)) = &mut self.body else {
            return Ok(());
        };
        let left = range.end - range.start;
        let len = left.min(BLOCK_BYTES as u64) as usize;
        let start = out.len();
        out.resize(start + len, 0);
        let read = file.read_at(&mut out[start..], range.start);
        let got = *read.as_ref().unwrap_or(&0);
        out.truncate(start + got);
        if got == 0 {
            let why = read.map_or_else(
                |error| error.to_string(),
                |_| "it became shorter".to_owned(),
            );
            return Err(format!("a file could not be sent to its end: {why}"));
        }
        range.start += got as u64;
        if range.is_empty() {
            self.body = None;
        }
        Ok(())
    }
}

impl Handler for Conversation {
    fn on_bytes(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Next {
        self.input.extend_from_slice(bytes);
        self.go_on(out)
    }

    fn on_sent(&mut self, out: &mut Vec<u8>) -> Next {
        self.go_on(out)
    }

    fn on_end(&mut self) -> Result<(), String> {
        if self.is_between_requests() {
            return Ok(());
        }
        Err(format!(
            "it ended in the middle of a request, {} bytes of its head had come",
            self.input.len()
        ))
    }

    fn on_timeout(&mut self, out: &mut Vec<u8>) {
        if !self.is_between_requests() {
            let why = "the request did not come in time".to_owned();
            let status = Status::TIMEOUT;
            refuse(
                &Refusal {
                    status,
                    why,
                    is_head: self.input.starts_with(b"HEAD "),
                    goes_on: None,
                },
                out,
            );
        }
    }

    fn is_between_requests(&self) -> bool {
        self.input.is_empty() && self.unwanted_bytes == 0 && self.body.is_none()
    }
}

/// A folder's file is its index; without one it is not shown.
fn find(root: &Root, path: &[u8]) -> Result<Place, Status> {
    if !(path.is_empty() || path.ends_with(b"/")) {
        return root.find(path);
    }
    match root.find(&[path, b"index.html"].concat()) {
        Err(Status::NOT_FOUND) if matches!(root.find(path), Ok(Place::Folder)) => {
            Err(Status::FORBIDDEN)
        }
        Ok(Place::Folder) => Err(Status::FORBIDDEN),
        result => result,
    }
}

/// The time as a header has it, with four digits for the year; `None`: there are more.
fn http_date(time: SystemTime) -> Option<String> {
    let year_10000 = SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_800);
    (time < year_10000).then(|| httpdate::fmt_http_date(time))
}

/// Whether the client has this already (RFC 9110 section 13.2.2: a tag counts more than a time).
fn is_known(request: &Request, found: &Found) -> bool {
    if let Some(tags) = &request.if_none_match {
        let mut tags = tags
            .split(',')
            .map(|tag| tag.trim().trim_start_matches("W/"));
        return tags.any(|tag| tag == "*" || tag == found.tag);
    }
    let since = request.if_modified_since.as_deref();
    let since = since.and_then(|date| httpdate::parse_http_date(date).ok());
    // The header has no fractions of seconds.
    since.is_some_and(|since| found.modified < since + Duration::from_secs(1))
}

/// A part is of use only together with the parts of the same contents.
fn wanted_part(request: &Request, found: &Found, modified: Option<&str>) -> Part {
    let is_same =
        |condition: &String| *condition == found.tag || Some(condition.as_str()) == modified;
    match &request.range {
        Some(range) if !request.is_head && request.if_range.as_ref().is_none_or(is_same) => {
            part(range, found.len_bytes)
        }
        _ => Part::Whole,
    }
}

fn content_type(path: &[u8]) -> String {
    let is_index = path.is_empty() || path.ends_with(b"/");
    let path = if is_index { b"index.html" } else { path };
    let guess = mime_guess::from_path(Path::new(OsStr::from_bytes(path))).first_or_octet_stream();
    if guess.type_() == "text" {
        format!("{guess}; charset=utf-8")
    } else {
        guess.to_string()
    }
}

/// A response whose body says no more than its status.
fn short(request: &Request, status: Status, field: Option<(&str, String)>, out: &mut Vec<u8>) {
    let body = format!("{} {}\n", status.code, status.words);
    let mut head = Head::new(out, status, request.is_last);
    head.field("Content-Type", "text/plain; charset=utf-8");
    head.field("Content-Length", body.len());
    if let Some((name, value)) = field {
        head.field(name, value);
    }
    head.end();
    if !request.is_head {
        out.extend_from_slice(body.as_bytes());
    }
}

fn refuse(refusal: &Refusal, out: &mut Vec<u8>) {
    let Refusal { status, why, .. } = refusal;
    let body = format!("{} {}: {why}\n", status.code, status.words);
    let mut head = Head::new(out, *status, refusal.goes_on.is_none());
    if *status == Status::NOT_ALLOWED {
        head.field("Allow", "GET, HEAD");
    }
    head.field("Content-Type", "text/plain; charset=utf-8");
    head.field("Content-Length", body.len());
    head.end();
    if !refusal.is_head {
        out.extend_from_slice(body.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_year_of_five_digits_has_no_date() {
        let after = |seconds| http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        let last = after(253_402_300_799);
        assert_eq!(last.as_deref(), Some("Fri, 31 Dec 9999 23:59:59 GMT"));
        assert_eq!(after(253_402_300_800), None);
    }
}

// SPDX-License-Identifier: MIT

//! The HTTP handler without any I/O but files: requests in, responses out.

use kpipe::channel::Carries;
use kpipe_server::http::Http;
use kpipe_server::{Handler, Next, Service, With};
use std::collections::HashMap;

/// What is served: a page, a folder with an index, one without, and more than a block.
fn site() -> tempfile::TempDir {
    let site = tempfile::tempdir().unwrap();
    let path = |name: &str| site.path().join(name);
    std::fs::create_dir_all(path("folder")).unwrap();
    std::fs::create_dir_all(path("empty")).unwrap();
    std::fs::write(path("page.html"), "0123456789").unwrap();
    std::fs::write(path("none"), "").unwrap();
    std::fs::write(path("folder/index.html"), "index").unwrap();
    std::fs::write(path("much.bin"), much()).unwrap();
    site
}

fn much() -> Vec<u8> {
    (0..50_000_u32).flat_map(u32::to_le_bytes).collect()
}

struct Response {
    status: u16,
    fields: HashMap<String, String>,
    body: Vec<u8>,
}

/// Drives the handler as a connection does; returns all it said and its last wish.
fn drive(handler: &mut dyn Handler, bytes: &[u8]) -> (Vec<u8>, Next) {
    let mut out = Vec::new();
    let mut next = handler.on_bytes(bytes, &mut out);
    let mut said = std::mem::take(&mut out);
    while next == Next::Send {
        next = handler.on_sent(&mut out);
        assert!(
            out.len() <= kpipe_server::BLOCK_BYTES + 1024,
            "memory for a block"
        );
        said.append(&mut out);
    }
    (said, next)
}

/// Takes the first response off `bytes`.
fn response(bytes: &mut Vec<u8>, is_head: bool) -> Response {
    let end = bytes
        .windows(4)
        .position(|part| part == b"\r\n\r\n")
        .expect("a head");
    let head = String::from_utf8(bytes.drain(..end + 4).collect()).unwrap();
    let mut lines = head.lines();
    let status = lines
        .next()
        .unwrap()
        .split(' ')
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    let fields: HashMap<_, _> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let length = fields
        .get("Content-Length")
        .map_or(0, |length| length.parse().unwrap());
    let body = bytes.drain(..if is_head { 0 } else { length }).collect();
    Response {
        status,
        fields,
        body,
    }
}

fn ask(site: &tempfile::TempDir, method: &str, path: &str, fields: &str) -> Response {
    let http = Http::new(site.path().to_owned()).unwrap();
    let mut handler = http.handler(Carries::Bytes, With::One);
    let request = format!("{method} {path} HTTP/1.1\r\nHost: test\r\n{fields}\r\n");
    let (mut said, _) = drive(&mut *handler, request.as_bytes());
    let response = response(&mut said, method == "HEAD");
    assert!(said.is_empty(), "something follows the response");
    response
}

#[test]
fn a_file_comes_with_its_type_length_and_date() {
    let site = site();
    let page = ask(&site, "GET", "/page.html", "");
    assert_eq!((page.status, &page.body[..]), (200, &b"0123456789"[..]));
    assert_eq!(page.fields["Content-Type"], "text/html; charset=utf-8");
    assert!(page.fields["Last-Modified"].ends_with("GMT"));
    let head = ask(&site, "HEAD", "/page.html", "");
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.fields["Content-Length"], "10");
    assert_eq!(
        ask(&site, "GET", "/none", "").fields["Content-Type"],
        "application/octet-stream"
    );
    assert_eq!(ask(&site, "GET", "/much.bin", "").body, much());
}

#[test]
fn folders_have_an_index_or_nothing() {
    let site = site();
    assert_eq!(ask(&site, "GET", "/folder/", "").body, b"index");
    let moved = ask(&site, "GET", "/folder", "");
    assert_eq!(
        (moved.status, &moved.fields["Location"][..]),
        (301, "/folder/")
    );
    // Not `//folder/`, which would be a host.
    assert_eq!(
        ask(&site, "GET", "//folder", "").fields["Location"],
        "/folder/"
    );
    assert_eq!(ask(&site, "GET", "/empty/", "").status, 403);
    assert_eq!(ask(&site, "GET", "/", "").status, 403);
    assert_eq!(ask(&site, "GET", "/missing/", "").status, 404);
}

#[test]
fn no_spelling_of_a_path_leads_out() {
    let site = site();
    for path in [
        "/../etc/passwd",
        "/%2e%2e/etc/passwd",
        "/folder/../../etc/passwd",
        "/folder/%2e%2e%2f%2e%2e%2fetc/passwd",
        "/./../etc/passwd",
    ] {
        assert_eq!(ask(&site, "GET", path, "").status, 403, "{path}");
    }
    for path in [
        "//etc/passwd",
        "/%2fetc/passwd",
        "/....//etc/passwd",
        "/..%5cetc",
    ] {
        assert_eq!(ask(&site, "GET", path, "").status, 404, "{path}");
    }
}

#[test]
fn parts_are_sent_as_asked() {
    let site = site();
    let part = ask(&site, "GET", "/page.html", "Range: bytes=2-4\r\n");
    assert_eq!((part.status, &part.body[..]), (206, &b"234"[..]));
    assert_eq!(part.fields["Content-Range"], "bytes 2-4/10");
    let beyond = ask(&site, "GET", "/page.html", "Range: bytes=10-\r\n");
    assert_eq!(beyond.status, 416);
    assert_eq!(beyond.fields["Content-Range"], "bytes */10");
    let several = ask(&site, "GET", "/page.html", "Range: bytes=0-1,3-4\r\n");
    assert_eq!((several.status, several.body.len()), (200, 10));
    let changed = "Range: bytes=2-4\r\nIf-Range: \"other\"\r\n";
    assert_eq!(ask(&site, "GET", "/page.html", changed).status, 200);
    let same = format!("Range: bytes=2-4\r\nIf-Range: {}\r\n", part.fields["ETag"]);
    assert_eq!(ask(&site, "GET", "/page.html", &same).status, 206);
}

#[test]
fn what_the_client_has_is_not_sent_again() {
    let site = site();
    let page = ask(&site, "GET", "/page.html", "");
    for field in [
        format!("If-None-Match: {}", page.fields["ETag"]),
        "If-None-Match: *".to_owned(),
        format!("If-Modified-Since: {}", page.fields["Last-Modified"]),
    ] {
        let answer = ask(&site, "GET", "/page.html", &format!("{field}\r\n"));
        assert_eq!((answer.status, answer.body.len()), (304, 0), "{field}");
    }
    let old = "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
    assert_eq!(ask(&site, "GET", "/page.html", old).status, 200);
}

#[test]
fn requests_follow_each_other_in_any_pieces() {
    let site = site();
    let http = Http::new(site.path().to_owned()).unwrap();
    let requests = "GET /page.html HTTP/1.1\r\nHost: t\r\n\r\n\
        POST /page.html HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello\
        HEAD /much.bin HTTP/1.1\r\nHost: t\r\n\r\n\
        GET /missing HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n";
    for size in [1, 7, 64, requests.len()] {
        let mut handler = http.handler(Carries::Bytes, With::One);
        let (mut said, mut last) = (Vec::new(), Next::Receive);
        for piece in requests.as_bytes().chunks(size) {
            assert_eq!(last, Next::Receive, "pieces of {size}");
            let (bytes, next) = drive(&mut *handler, piece);
            said.extend(bytes);
            last = next;
        }
        assert_eq!(last, Next::Close(None));
        let statuses =
            [false, false, true, false].map(|is_head| response(&mut said, is_head).status);
        assert_eq!(statuses, [200, 405, 200, 404], "pieces of {size}");
        assert!(said.is_empty());
    }
}

#[test]
fn many_requests_at_once_need_no_memory_for_all_their_answers() {
    let site = site();
    let body = vec![b'x'; 60_000];
    std::fs::write(site.path().join("block"), &body).unwrap();
    let http = Http::new(site.path().to_owned()).unwrap();
    let mut handler = http.handler(Carries::Bytes, With::One);
    let requests = "GET /block HTTP/1.1\r\nHost: here\r\n\r\n".repeat(100);
    let (mut out, mut answers) = (Vec::new(), 0);
    let mut next = handler.on_bytes(requests.as_bytes(), &mut out);
    loop {
        assert!(out.len() < 2 * kpipe_server::BLOCK_BYTES, "{}", out.len());
        while !out.is_empty() {
            assert_eq!(response(&mut out, false).body, body);
            answers += 1;
        }
        if next != Next::Send {
            break;
        }
        next = handler.on_sent(&mut out);
    }
    assert_eq!((answers, next), (100, Next::Receive));
}

#[test]
fn a_kept_connection_of_an_old_client_is_said_to_be_kept() {
    let site = site();
    let http = Http::new(site.path().to_owned()).unwrap();
    let mut handler = http.handler(Carries::Bytes, With::One);
    let request = b"GET /page.html HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n";
    let (mut said, next) = drive(&mut *handler, request);
    assert_eq!(next, Next::Receive);
    assert_eq!(
        response(&mut said, false).fields["Connection"],
        "keep-alive"
    );
}

#[test]
fn a_bad_request_is_answered_and_the_last() {
    let site = site();
    let http = Http::new(site.path().to_owned()).unwrap();
    for (bytes, status) in [
        (&b"\x16\x03\x01\x02\x00\n"[..], 400),
        (b"GET / HTTP/3.0\r\n\r\n", 505),
    ] {
        let mut handler = http.handler(Carries::Bytes, With::One);
        let (mut said, next) = drive(&mut *handler, bytes);
        assert!(matches!(next, Next::Close(Some(_))));
        let answer = response(&mut said, false);
        assert_eq!(
            (answer.status, &answer.fields["Connection"][..]),
            (status, "close")
        );
    }
}

#[test]
fn no_answer_to_head_has_a_body() {
    let site = site();
    let http = Http::new(site.path().to_owned()).unwrap();
    for (request, status) in [
        ("HEAD /page.html HTTP/1.1\r\n\r\n", 400),
        ("HEAD /%zz HTTP/1.0\r\n\r\n", 400),
        ("HEAD / HTTP/3.0\r\n\r\n", 505),
        ("HEAD /missing HTTP/1.0\r\n\r\n", 404),
    ] {
        let mut handler = http.handler(Carries::Bytes, With::One);
        let (mut said, _) = drive(&mut *handler, request.as_bytes());
        let answer = response(&mut said, true);
        assert_eq!(answer.status, status, "{request}");
        assert_ne!(answer.fields["Content-Length"], "0", "{request}");
        assert_eq!(said, b"", "{request}");
    }
}

#[test]
fn an_empty_line_before_a_request_begins_none() {
    let site = site();
    let http = Http::new(site.path().to_owned()).unwrap();
    let mut handler = http.handler(Carries::Bytes, With::One);
    let request = b"GET /page.html HTTP/1.1\r\nHost: t\r\n\r\n\r";
    for piece in [&b"\r\n"[..], request, b"\n", request] {
        let (mut said, next) = drive(&mut *handler, piece);
        assert_eq!(next, Next::Receive);
        assert!(handler.is_between_requests(), "{piece:?}");
        if piece == request {
            assert_eq!(response(&mut said, false).status, 200);
        }
        assert_eq!(said, b"");
    }
}

#[test]
fn a_file_of_the_far_future_has_no_date() {
    let site = site();
    let far = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(300_000_000_000);
    let file = std::fs::File::options()
        .write(true)
        .open(site.path().join("page.html"))
        .unwrap();
    file.set_modified(far).unwrap();
    // Not every file system can keep it.
    let is_kept = file.metadata().unwrap().modified().unwrap() == far;
    let page = ask(&site, "GET", "/page.html", "");
    assert_eq!(page.status, 200);
    assert_eq!(page.fields.contains_key("Last-Modified"), !is_kept);
}

#[test]
fn half_a_request_that_takes_too_long_is_told_so() {
    let site = site();
    let http = Http::new(site.path().to_owned()).unwrap();
    let mut handler = http.handler(Carries::Bytes, With::One);
    let mut out = Vec::new();
    handler.on_timeout(&mut out);
    assert!(out.is_empty(), "nobody asked for anything");
    handler.on_bytes(b"GET / HT", &mut out);
    assert!(!handler.is_between_requests());
    handler.on_timeout(&mut out);
    assert_eq!(response(&mut out, false).status, 408);
    assert!(handler.on_end().is_err());
}

#[test]
fn a_reload_serves_what_now_has_the_name() {
    let site = site();
    let root = site.path().join("now");
    for name in ["one", "two"] {
        std::fs::create_dir(site.path().join(name)).unwrap();
        std::fs::write(site.path().join(name).join("file"), name).unwrap();
    }
    std::os::unix::fs::symlink("one", &root).unwrap();
    let http = Http::new(root.clone()).unwrap();
    let mut handler = http.handler(Carries::Bytes, With::One);
    let mut get = || {
        let request = b"GET /file HTTP/1.1\r\nHost: t\r\n\r\n";
        let (mut said, _) = drive(&mut *handler, request);
        String::from_utf8(response(&mut said, false).body).unwrap()
    };
    assert_eq!(get(), "one");
    std::fs::remove_file(&root).unwrap();
    std::os::unix::fs::symlink("two", &root).unwrap();
    assert_eq!(get(), "one");
    http.reload().unwrap();
    assert_eq!(get(), "two");
    std::fs::remove_file(&root).unwrap();
    assert!(http.reload().is_err());
    assert_eq!(get(), "two");
}

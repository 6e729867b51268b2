// SPDX-License-Identifier: MIT

//! Peers that send garbage, half a frame, a frame of 4 GiB or a byte now and then: what the reader says, how
//! long it takes, and how much memory, counted by the allocator.
//!
//! One test, as the count is of the whole process.

use kpipe::channel::{Address, Channel, Options};
use kpipe_protocol::demo::Service;
use kpipe_protocol::{Broken, Frame, FrameError, FrameReader, Kind, Limit, NUMBER_BYTES, VERSION};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

const LIMIT_BYTES: usize = 1 << 20;
/// What a reader has anyway, its buffer, and the page with which a payload begins. And a little more.
const BASE_BYTES: usize = (16 << 10) + 4096 + 2048;
/// How soon a frame has to be there, where it is not.
const SOON: Duration = Duration::from_millis(200);
/// Longer than any of this takes on a loaded machine.
const DEADLINE: Duration = Duration::from_secs(120);
/// The peers take no memory while it is counted.
static BYTES: [u8; LIMIT_BYTES] = [0; LIMIT_BYTES];

type Outcome = Result<Option<Frame>, FrameError>;

#[test]
fn a_hostile_frame_is_refused_and_costs_no_more_than_the_limit() {
    garbage();
    a_frame_of_4_gib();
    flags_kinds_and_lengths_that_do_not_exist();
    half_a_frame();
    a_frame_that_promises_much_and_delivers_little();
    a_frame_as_long_as_the_limit();
    a_byte_now_and_then();
    a_peer_that_falls_silent();
    a_list_of_4_gib_in_a_small_body();
}

fn garbage() {
    let (read, most) = sent(|peer| send(peer, b"GET / HTTP/1.1\r\nHost: kpipe\r\n\r\n"));
    let error = refused(read, Broken::Version(b'G'));
    assert!(error.contains("another protocol"), "{error}");
    assert_at_most(most, BASE_BYTES);
}

fn a_frame_of_4_gib() {
    let (read, most) = sent(|peer| {
        send(peer, &header(1, u32::MAX));
        // It goes on and nobody listens: the other end closes.
        while peer.write(&BYTES).is_ok() {}
    });
    let (length_bytes, limit_bytes) = (u32::MAX, LIMIT_BYTES as u32);
    let error = refused(
        read,
        Broken::TooLong {
            length_bytes,
            limit_bytes,
        },
    );
    assert_eq!(
        error,
        "a frame of 4294967295 bytes came, 1048576 are allowed"
    );
    assert_at_most(most, BASE_BYTES);
}

fn flags_kinds_and_lengths_that_do_not_exist() {
    let header = |kind| header(kind, 100);
    let mut flags = header(1);
    flags[3] = 0x80;
    for (bytes, broken) in [
        (flags, Broken::Flags(0x80)),
        (header(0), Broken::Kind(0)),
        (header(9), Broken::Kind(9)),
        (self::header(1, 7), Broken::TooShort { length_bytes: 7 }),
    ] {
        let (read, most) = sent(|peer| send(peer, &bytes));
        refused(read, broken);
        assert_at_most(most, BASE_BYTES);
    }
}

fn half_a_frame() {
    let (read, most) = sent_and_closed(|peer| {
        send(peer, &header(1, 1000));
        send(peer, &BYTES[..500]);
    });
    let (got_bytes, wanted_bytes) = (508, Some(1008));
    let error = refused(
        read,
        Broken::Cut {
            got_bytes,
            wanted_bytes,
        },
    );
    assert_eq!(error, "the peer ended after 508 bytes of a frame of 1008");
    assert_at_most(most, BASE_BYTES);

    let (read, _) = sent_and_closed(|peer| send(peer, &[VERSION]));
    let (got_bytes, wanted_bytes) = (1, None);
    refused(
        read,
        Broken::Cut {
            got_bytes,
            wanted_bytes,
        },
    );
}

fn a_frame_that_promises_much_and_delivers_little() {
    let (read, most) = sent_and_closed(|peer| {
        send(peer, &header(1, LIMIT_BYTES as u32));
        send(peer, &BYTES[..10]);
    });
    let (got_bytes, wanted_bytes) = (18, Some(8 + LIMIT_BYTES));
    refused(
        read,
        Broken::Cut {
            got_bytes,
            wanted_bytes,
        },
    );
    assert_at_most(most, BASE_BYTES);
}

/// Not hostile: the most that there is.
fn a_frame_as_long_as_the_limit() {
    let (read, most) = sent(|peer| {
        send(peer, &header(1, LIMIT_BYTES as u32));
        send(peer, &BYTES);
    });
    let frame = read.unwrap().unwrap();
    assert_eq!(frame.body.len(), LIMIT_BYTES - NUMBER_BYTES);
    assert_at_most(most, LIMIT_BYTES + BASE_BYTES);
    assert!(most >= LIMIT_BYTES, "{most} bytes: they are not counted");
}

fn a_byte_now_and_then() {
    let began = Instant::now();
    // The frame has begun before the reader waits for it, or it would be right to say that nothing came.
    let head = header(1, 1000);
    let (read, most) = exchange(SOON, &head, |peer, is_done| {
        for byte in &BYTES[..1000] {
            send(peer, &[*byte]);
            if is_done.recv_timeout(SOON / 20) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
        panic!("a frame came that took {:?}", began.elapsed());
    });
    assert_slow(read);
    assert_at_most(most, BASE_BYTES);
}

fn a_peer_that_falls_silent() {
    let (read, _) = exchange(SOON, &header(1, 1000), |_, is_done| wait_for(&is_done));
    assert_slow(read);
    // Between frames a peer may be silent: the reader's timeout says so, and the channel is still good.
    let (read, _) = exchange(SOON, &[], |_, is_done| wait_for(&is_done));
    let is_timeout = |error: &std::io::Error| error.kind() == std::io::ErrorKind::TimedOut;
    assert!(
        matches!(&read, Err(FrameError::Io(error)) if is_timeout(error)),
        "{read:?}"
    );
}

fn a_list_of_4_gib_in_a_small_body() {
    // Echo, and then a length of 2^32 - 1 as a varint.
    let request = Frame {
        kind: Kind::Request,
        number: 1,
        body: vec![0, 0xff, 0xff, 0xff, 0xff, 0x0f, 1, 2, 3],
    };
    let service = Service::new();
    let profiler = dhat::Profiler::builder().testing().build();
    let answer = service.answer(&request, Limit::default()).unwrap();
    let most = dhat::HeapStats::get().max_bytes;
    drop(profiler);
    assert_eq!(answer.frame.kind, Kind::Error);
    assert_at_most(most, 1024);
}

fn header(kind: u8, length: u32) -> Vec<u8> {
    [&[VERSION, kind, 0, 0], &length.to_be_bytes()[..]].concat()
}

fn send(peer: &mut dyn Channel, bytes: &[u8]) {
    // The reader may have had enough and be gone.
    let _ = peer.write_all(bytes);
}

/// What a reader makes of what `peer` sends, and the most memory that it took. The peer's end is closed
/// only when the reader is done.
fn sent(peer: impl FnOnce(&mut dyn Channel) + Send) -> (Outcome, usize) {
    exchange(DEADLINE, &[], |channel, is_done| {
        peer(channel);
        wait_for(&is_done);
    })
}

/// The peer's end is closed when all is sent.
fn sent_and_closed(peer: impl FnOnce(&mut dyn Channel) + Send) -> (Outcome, usize) {
    exchange(DEADLINE, &[], |channel, _| peer(channel))
}

fn wait_for(is_done: &mpsc::Receiver<()>) {
    let _ = is_done.recv_timeout(DEADLINE);
}

/// With a reader that wants a frame within that time. `head` is there before it begins.
fn exchange(
    within: Duration,
    head: &[u8],
    peer: impl FnOnce(&mut dyn Channel, mpsc::Receiver<()>) + Send,
) -> (Outcome, usize) {
    // Abstract names are those of all in the network namespace (unix(7)).
    let address = format!("unix:@kpipe-hostile-{}", std::process::id());
    let address: Address = address.parse().unwrap();
    let (mut theirs, mut ours) = address.pair(&Options::default()).unwrap();
    ours.set_timeouts(Some(within), None).unwrap();
    theirs.set_timeouts(None, Some(DEADLINE)).unwrap();
    send(&mut *theirs, head);
    thread::scope(|scope| {
        let (done, is_done) = mpsc::channel();
        let (begin, may_begin) = mpsc::channel();
        scope.spawn(move || {
            may_begin.recv_timeout(DEADLINE).unwrap();
            peer(&mut *theirs, is_done);
        });
        let carries = ours.carries();
        let profiler = dhat::Profiler::builder().testing().build();
        begin.send(()).unwrap();
        let outcome = FrameReader::new(&mut *ours, carries, Limit::bytes(LIMIT_BYTES as u32))
            .within(within)
            .read_frame();
        let most = dhat::HeapStats::get().max_bytes;
        drop((profiler, ours, done));
        (outcome, most)
    })
}

/// It is this error; gives its text.
fn refused(outcome: Outcome, expected: Broken) -> String {
    match outcome {
        Err(FrameError::Broken(broken)) if broken == expected => broken.to_string(),
        other => panic!("{expected:?} expected, {other:?} came"),
    }
}

fn assert_slow(outcome: Outcome) {
    match outcome {
        Err(error @ FrameError::Slow { .. }) => {
            let text = error.to_string();
            assert!(text.contains("too slow"), "{text}");
        }
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn assert_at_most(bytes: usize, allowed: usize) {
    assert!(
        bytes <= allowed,
        "{bytes} bytes were taken, {allowed} are allowed"
    );
}

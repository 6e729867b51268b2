// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The rules of open, read, write and poll, against a plain list of open ends and the words of
//! fifo(7), pipe(7) and poll(2).

use kpipe_model::ends::{
    is_writable, poll, poll_mask, read_state, write_state, Access, Closed, Ends, NoReader, Opened,
    Opening, PollView, ReadState, Wait, WriteState,
};
use kpipe_model::uapi::PIPE_BUF_BYTES;
use proptest::prelude::*;

fn access() -> impl Strategy<Value = Access> {
    prop_oneof![
        Just(Access::Read),
        Just(Access::Write),
        Just(Access::ReadWrite),
        Just(Access::Observe),
    ]
}

fn opening() -> impl Strategy<Value = Opening> {
    prop_oneof![
        Just(Opening::Named(Wait::Block)),
        Just(Opening::Named(Wait::Never)),
        Just(Opening::Anonymous),
    ]
}

#[derive(Clone, Debug)]
enum Step {
    Open(Access, Opening),
    /// Closes the open end with this number, modulo their number.
    Close(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (access(), opening()).prop_map(|(access, opening)| Step::Open(access, opening)),
        2 => any::<usize>().prop_map(Step::Close),
    ]
}

fn count(open: &[Access], side: fn(Access) -> bool) -> u32 {
    open.iter().filter(|&&access| side(access)).count() as u32
}

proptest! {
    #[test]
    fn ends_count_what_is_open(steps in prop::collection::vec(step(), 1..60)) {
        let mut ends = Ends::default();
        let mut open: Vec<Access> = Vec::new();
        let (mut reader_opens, mut writer_opens) = (0, 0);
        for step in steps {
            let (readers, writers) = (count(&open, Access::reads), count(&open, Access::writes));
            match step {
                Step::Open(access, opening) => {
                    let opened = ends.open(access, opening);
                    let is_nonblocking = opening == Opening::Named(Wait::Never);
                    if access == Access::Write && is_nonblocking && readers == 0 {
                        prop_assert_eq!(opened, Err(NoReader));
                        continue;
                    }
                    open.push(access);
                    reader_opens += access.reads() as u32;
                    writer_opens += access.writes() as u32;
                    let expected = match access {
                        _ if opening == Opening::Anonymous => Opened::Ready,
                        Access::Read if writers == 0 && !is_nonblocking => {
                            Opened::AwaitWriter(writer_opens)
                        }
                        Access::Read if writers == 0 => {
                            Opened::ReadyBeforeFirstWriter(writer_opens)
                        }
                        Access::Write if readers == 0 => Opened::AwaitReader(reader_opens),
                        _ => Opened::Ready,
                    };
                    prop_assert_eq!(opened, Ok(expected));
                }
                Step::Close(_) if open.is_empty() => {}
                Step::Close(which) => {
                    let access = open.swap_remove(which % open.len());
                    let closed = ends.close(access);
                    let left = (count(&open, Access::reads), count(&open, Access::writes));
                    let expected = match left {
                        _ if access == Access::Observe => Closed::Quiet,
                        (0, 0) => Closed::LastOfAll,
                        (0, _) | (_, 0) => Closed::LastOfItsSide,
                        _ => Closed::Quiet,
                    };
                    prop_assert_eq!(closed, expected);
                }
            }
            prop_assert_eq!(ends.readers, count(&open, Access::reads));
            prop_assert_eq!(ends.writers, count(&open, Access::writes));
            prop_assert_eq!(ends.reader_opens, reader_opens);
            prop_assert_eq!(ends.writer_opens, writer_opens);
            prop_assert_eq!(ends.is_unused(), ends.readers + ends.writers == 0);
        }
    }

    #[test]
    fn an_atomic_write_goes_in_whole_or_waits(
        room in 0usize..=65536,
        len in 1usize..=PIPE_BUF_BYTES,
    ) {
        match write_state(1, room, len, len) {
            WriteState::Room(now) => prop_assert!(now == len && room >= len),
            WriteState::Full => prop_assert!(room < len),
            WriteState::Broken => prop_assert!(false, "there is a reader"),
        }
    }

    #[test]
    fn a_long_write_takes_what_there_is(
        room in 0usize..=65536,
        len in PIPE_BUF_BYTES + 1..=200_000,
        done in 0usize..200_000,
    ) {
        let rest = len - done.min(len - 1);
        match write_state(1, room, len, rest) {
            WriteState::Room(now) => prop_assert_eq!(now, room.min(rest)),
            WriteState::Full => prop_assert_eq!(room, 0),
            WriteState::Broken => prop_assert!(false, "there is a reader"),
        }
    }

    #[test]
    fn what_poll_calls_writable_takes_any_write(
        room in 0usize..=65536,
        len in 1usize..=200_000,
    ) {
        // Who sleeps for room waits for just this, so it never wakes in vain.
        if is_writable(room) {
            prop_assert!(matches!(write_state(1, room, len, len), WriteState::Room(_)));
        }
    }

    #[test]
    fn without_readers_every_write_is_broken(room in 0usize..=65536, len in 1usize..=200_000) {
        prop_assert_eq!(write_state(0, room, len, len), WriteState::Broken);
    }
}

#[test]
fn end_of_file_is_no_data_and_no_writer() {
    assert_eq!(read_state(0, 0), ReadState::Eof);
    assert_eq!(read_state(1, 0), ReadState::Empty);
    assert_eq!(read_state(0, 1), ReadState::Data);
    assert_eq!(read_state(1, 1), ReadState::Data);
}

#[test]
fn poll_says_what_read_and_write_would_do() {
    let view = |queued_bytes, readers, writers, has_seen_writer| PollView {
        queued_bytes,
        room_bytes: 65536 - queued_bytes,
        readers,
        writers,
        has_seen_writer,
    };
    let input = poll::IN | poll::RDNORM;
    let output = poll::OUT | poll::WRNORM;
    for (access, view, expected) in [
        (Access::Read, view(0, 1, 1, true), 0),
        (Access::Read, view(1, 1, 1, true), input),
        (Access::Read, view(1, 1, 0, true), input | poll::HUP),
        (Access::Read, view(0, 1, 0, true), poll::HUP),
        (Access::Read, view(0, 1, 0, false), 0),
        (Access::Write, view(0, 1, 1, true), output),
        (Access::Write, view(65536 - 4096, 1, 1, true), output),
        (Access::Write, view(65536 - 4095, 1, 1, true), 0),
        (Access::Write, view(0, 0, 1, true), output | poll::ERR),
        (Access::Write, view(65536, 0, 1, true), poll::ERR),
        (Access::ReadWrite, view(7, 1, 1, true), input | output),
        (Access::Observe, view(7, 0, 0, true), 0),
    ] {
        assert_eq!(poll_mask(access, view), expected, "{access:?} {view:?}");
    }
}

// SPDX-License-Identifier: MIT

//! Flags of descriptions and descriptors. fcntl(2), pipe(2).

use nix::fcntl::{fcntl, FcntlArg, FdFlag};

use crate::tools::prelude::*;

/// The table.
pub const TESTS: &[Test] = &[
    section("Flags", "it has the flags of a socket"),
    says("F_GETFL shows the access mode, and no O_LARGEFILE where a pipe shows none."),
    each!(fresh_ends_show_their_access_mode_alone).differs(&[&differences::LARGEFILE]),
    each!(flags_that_may_be_set_later_show).and_socket(),
    each!(the_access_mode_cannot_be_changed),
    says("O_NONBLOCK on one end only, O_CLOEXEC per end."),
    each!(o_nonblock_of_one_end_is_not_of_the_other).and_socket(),
    each!(close_on_exec_of_one_end_is_not_of_the_other).and_socket(),
    each!(a_duplicate_shares_flags_but_not_close_on_exec).and_socket(),
    says("The call that makes a pipe takes O_CLOEXEC and O_NONBLOCK for both ends."),
    unnamed!(without_flags_both_ends_block_and_survive_exec).and_socket(),
    unnamed!(o_cloexec_is_for_both_ends).and_socket(),
    unnamed!(o_nonblock_is_for_both_ends).and_socket(),
    unnamed!(o_direct_is_for_the_write_end),
    unnamed!(other_flags_are_einval),
    says("open(2) does not take O_DIRECT, fcntl(2) does."),
    each!(open_with_o_direct_is_einval),
    each!(o_direct_may_be_set_and_cleared_later),
];

/// `FD_CLOEXEC`?
fn closes_on_exec(end: &End) -> bool {
    let flags = fcntl(end, FcntlArg::F_GETFD).expect("F_GETFD");
    FdFlag::from_bits_retain(flags).contains(FdFlag::FD_CLOEXEC)
}

fn is_nonblocking(end: &End) -> bool {
    end.flags().contains(OFlag::O_NONBLOCK)
}

fn fresh_ends_show_their_access_mode_alone(q: &Queue) {
    let (reader, writer) = q.first_pair();
    let more = if q.differs(&differences::LARGEFILE) {
        OFlag::from_bits_retain(0o100_000)
    } else {
        OFlag::empty()
    };
    expect("read end", reader.flags(), OFlag::O_RDONLY | more);
    expect("write end", writer.flags(), OFlag::O_WRONLY | more);
}

fn flags_that_may_be_set_later_show(q: &Queue) {
    let (reader, writer) = q.first_pair();
    for end in [&reader, &writer] {
        let before = end.flags();
        for flag in [OFlag::O_NONBLOCK, OFlag::O_APPEND, OFlag::O_NOATIME] {
            end.set_flags(flag).expect("F_SETFL");
            expect("F_GETFL", end.flags(), before | flag);
        }
        end.set_flags(OFlag::empty()).expect("F_SETFL");
        expect("F_GETFL after F_SETFL 0", end.flags(), before);
    }
}

fn the_access_mode_cannot_be_changed(q: &Queue) {
    let (reader, _writer) = q.first_pair();
    reader
        .set_flags(OFlag::O_RDWR | OFlag::O_TRUNC)
        .expect("F_SETFL");
    let access = reader.flags() & OFlag::O_ACCMODE;
    expect("access mode", access, OFlag::O_RDONLY);
    expect("write", reader.write(b"x"), Err(Errno::EBADF));
}

fn o_nonblock_of_one_end_is_not_of_the_other(q: &Queue) {
    let (reader, writer) = q.first_pair();
    writer.set_mode(Mode::Nonblocking);
    expect("read end", is_nonblocking(&reader), false);
    let end = reader.clone();
    let part = Actor::asleep_in(Call::Read, "reader", move || end.read(1));
    writer.write_all(b"x");
    expect("read", part.join(), Ok(b"x".to_vec()));
    writer.set_mode(Mode::Blocking);
    reader.set_mode(Mode::Nonblocking);
    expect("write end", is_nonblocking(&writer), false);
    expect("read", reader.read(1), Err(Errno::EAGAIN));
}

fn close_on_exec_of_one_end_is_not_of_the_other(q: &Queue) {
    let (reader, writer) = q.first_pair();
    fcntl(&reader, FcntlArg::F_SETFD(FdFlag::empty())).expect("F_SETFD");
    let both = (closes_on_exec(&reader), closes_on_exec(&writer));
    expect("read end, write end", both, (false, true));
}

fn a_duplicate_shares_flags_but_not_close_on_exec(q: &Queue) {
    let (reader, _writer) = q.first_pair();
    let duplicate = reader.duplicate();
    expect(
        "close-on-exec of the duplicate",
        closes_on_exec(&duplicate),
        false,
    );
    duplicate.set_mode(Mode::Nonblocking);
    expect("O_NONBLOCK of the first", is_nonblocking(&reader), true);
}

/// Close-on-exec, O_NONBLOCK and O_DIRECT of read end and write end.
type Seen = [(bool, bool, bool); 2];

fn made(q: &Queue, flags: OFlag) -> Seen {
    let (reader, writer) = q.make(flags).expect("a new queue");
    [&reader, &writer].map(|end| {
        let is_direct = end.flags().contains(OFlag::O_DIRECT);
        (closes_on_exec(end), is_nonblocking(end), is_direct)
    })
}

fn without_flags_both_ends_block_and_survive_exec(q: &Queue) {
    expect("flags", made(q, OFlag::empty()), [(false, false, false); 2]);
}

fn o_cloexec_is_for_both_ends(q: &Queue) {
    expect(
        "flags",
        made(q, OFlag::O_CLOEXEC),
        [(true, false, false); 2],
    );
}

fn o_nonblock_is_for_both_ends(q: &Queue) {
    expect(
        "flags",
        made(q, OFlag::O_NONBLOCK),
        [(false, true, false); 2],
    );
}

fn o_direct_is_for_the_write_end(q: &Queue) {
    let wanted = [(false, false, false), (false, false, true)];
    expect("flags", made(q, OFlag::O_DIRECT), wanted);
    let all = OFlag::O_DIRECT | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let wanted = [(true, true, false), (true, true, true)];
    expect("all flags", made(q, all), wanted);
}

fn other_flags_are_einval(q: &Queue) {
    let taken = OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_DIRECT | OFlag::O_EXCL;
    for bit in 0..32 {
        // O_EXCL is O_NOTIFICATION_PIPE to pipe2(2).
        let flag = OFlag::from_bits_retain(1 << bit);
        if !taken.contains(flag) {
            expect(
                &format!("flags {:#o}", flag.bits()),
                q.make(flag).err(),
                Some(Errno::EINVAL),
            );
        }
    }
}

fn open_with_o_direct_is_einval(q: &Queue) {
    let (reader, _writer) = q.first_pair();
    for flags in [OFlag::O_RDONLY, OFlag::O_WRONLY, OFlag::O_RDWR] {
        let opened = reader.reopen(flags | OFlag::O_DIRECT);
        expect("open", opened.err(), Some(Errno::EINVAL));
    }
}

fn o_direct_may_be_set_and_cleared_later(q: &Queue) {
    let (reader, writer) = q.first_pair();
    for end in [&reader, &writer] {
        let before = end.flags();
        expect("F_SETFL O_DIRECT", end.set_flags(OFlag::O_DIRECT), Ok(()));
        expect("F_GETFL", end.flags(), before | OFlag::O_DIRECT);
        expect("F_SETFL 0", end.set_flags(OFlag::empty()), Ok(()));
        expect("F_GETFL", end.flags(), before);
    }
}

// SPDX-License-Identifier: MIT

//! Opening a queue: who waits for whom, and what becomes of the data. fifo(7), open(2).

use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;

use crate::tools::actor::wait_until;
use crate::tools::prelude::*;
use crate::tools::process::{become_ordinary_user, Process};
use crate::tools::signals::{self, After, INTERRUPT};

/// The table.
pub const TESTS: &[Test] = &[
    section("Open", "a socketpair is not opened"),
    says("O_RDONLY waits for a writer; with O_NONBLOCK it succeeds at once."),
    named!(rdonly_waits_for_a_writer),
    each!(rdonly_nonblock_succeeds_without_a_writer),
    says("O_WRONLY waits for a reader; with O_NONBLOCK and no reader: ENXIO."),
    named!(wronly_waits_for_a_reader),
    named!(wronly_nonblock_without_a_reader_is_enxio),
    each!(wronly_nonblock_succeeds_with_a_reader),
    named!(wronly_nonblock_succeeds_while_a_reader_waits_in_open),
    says("O_RDWR never waits and counts as both ends."),
    each!(rdwr_does_not_wait_and_talks_to_itself),
    each!(rdwr_counts_as_a_reader_and_as_a_writer),
    named!(rdwr_releases_waiters_of_both_sides),
    says("The wait compares counters of opens: a partner that comes and goes at once releases it."),
    named!(a_writer_that_comes_and_goes_releases_a_waiting_reader),
    named!(a_reader_that_comes_and_goes_releases_a_waiting_writer),
    named!(one_writer_releases_all_waiting_readers),
    says("An observer is nobody's partner, and wakes no one."),
    device!(an_observer_does_not_wake_a_waiter),
    says("A signal during the wait undoes the count and restarts or gives EINTR."),
    named!(a_signal_ends_the_wait_for_a_writer_and_undoes_the_count),
    named!(a_signal_ends_the_wait_for_a_reader_and_undoes_the_count),
    named!(with_sa_restart_the_wait_in_open_goes_on),
    named!(a_killed_waiter_is_no_reader_any_more),
    says("No lock that another open needs is held while waiting."),
    named!(others_open_while_a_reader_waits_in_open),
    says("The node's mode decides who may open it."),
    each!(the_mode_of_the_node_decides_who_may_open_it),
    says("What else open(2) can be asked for."),
    named!(o_path_is_no_end),
    each!(access_mode_3_is_einval).differs(&[&differences::OBSERVER]),
    each!(creation_flags_make_no_difference),
];

fn rdonly_waits_for_a_writer(q: &Queue) {
    let queue = q.clone();
    let reader = Actor::asleep_in(Call::Open, "reader", move || queue.open(OFlag::O_RDONLY));
    let writer = q.must_open(OFlag::O_WRONLY);
    let reader = reader.join().expect("open of the reader");
    writer.write_all(b"hello");
    expect("what came through", reader.read(10), Ok(b"hello".to_vec()));
}

fn rdonly_nonblock_succeeds_without_a_writer(q: &Queue) {
    q.must_open(OFlag::O_RDONLY | OFlag::O_NONBLOCK);
}

fn wronly_waits_for_a_reader(q: &Queue) {
    let queue = q.clone();
    let writer = Actor::asleep_in(Call::Open, "writer", move || queue.open(OFlag::O_WRONLY));
    let reader = q.must_open(OFlag::O_RDONLY);
    let writer = writer.join().expect("open of the writer");
    writer.write_all(b"hello");
    expect("what came through", reader.read(10), Ok(b"hello".to_vec()));
}

fn wronly_nonblock_without_a_reader_is_enxio(q: &Queue) {
    let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK;
    expect("open", q.open(flags).err(), Some(Errno::ENXIO));
    // It did not count as a writer either: whoever reads next waits for one.
    let queue = q.clone();
    let reader = Actor::asleep_in(Call::Open, "reader", move || queue.open(OFlag::O_RDONLY));
    q.must_open(OFlag::O_WRONLY);
    reader.join().expect("open of the reader");
}

fn wronly_nonblock_succeeds_with_a_reader(q: &Queue) {
    let _reader = q.reader();
    q.must_open(OFlag::O_WRONLY | OFlag::O_NONBLOCK);
}

fn wronly_nonblock_succeeds_while_a_reader_waits_in_open(q: &Queue) {
    let queue = q.clone();
    let reader = Actor::asleep_in(Call::Open, "reader", move || queue.open(OFlag::O_RDONLY));
    q.must_open(OFlag::O_WRONLY | OFlag::O_NONBLOCK);
    reader.join().expect("open of the reader");
}

fn rdwr_does_not_wait_and_talks_to_itself(q: &Queue) {
    let both = q.must_open(OFlag::O_RDWR);
    both.write_all(b"to myself");
    expect("read", both.read(100), Ok(b"to myself".to_vec()));
}

fn rdwr_counts_as_a_reader_and_as_a_writer(q: &Queue) {
    let both = q.must_open(OFlag::O_RDWR);
    let writer = q.must_open(OFlag::O_WRONLY | OFlag::O_NONBLOCK);
    let reader = q.must_open(OFlag::O_RDONLY);
    writer.close();
    let reader = reader.nonblocking();
    expect(
        "read with a writer left",
        reader.read(1),
        Err(Errno::EAGAIN),
    );
    both.close();
    expect("read with no writer left", reader.read(1), Ok(vec![]));
}

fn rdwr_releases_waiters_of_both_sides(q: &Queue) {
    for flags in [OFlag::O_RDONLY, OFlag::O_WRONLY] {
        let queue = q.clone();
        let waiter = Actor::asleep_in(Call::Open, "waiter", move || queue.open(flags));
        let _both = q.must_open(OFlag::O_RDWR);
        waiter
            .join()
            .unwrap_or_else(|e| panic!("open with {flags:?}: {e}"));
    }
}

fn a_writer_that_comes_and_goes_releases_a_waiting_reader(q: &Queue) {
    for _ in 0..20 {
        let queue = q.clone();
        let reader = Actor::asleep_in(Call::Open, "reader", move || queue.open(OFlag::O_RDONLY));
        q.must_open(OFlag::O_WRONLY | OFlag::O_NONBLOCK).close();
        let reader = reader.join().expect("open of the reader");
        expect("read: the writer is gone", reader.read(1), Ok(vec![]));
    }
}

fn a_reader_that_comes_and_goes_releases_a_waiting_writer(q: &Queue) {
    for _ in 0..20 {
        let queue = q.clone();
        let writer = Actor::asleep_in(Call::Open, "writer", move || queue.open(OFlag::O_WRONLY));
        q.must_open(OFlag::O_RDONLY | OFlag::O_NONBLOCK).close();
        let writer = writer.join().expect("open of the writer");
        expect(
            "write: the reader is gone",
            writer.write(b"x"),
            Err(Errno::EPIPE),
        );
    }
}

fn one_writer_releases_all_waiting_readers(q: &Queue) {
    let readers: Vec<_> = (0..3)
        .map(|n| {
            let queue = q.clone();
            let part = move || queue.open(OFlag::O_RDONLY);
            Actor::asleep_in(Call::Open, &format!("reader {n}"), part)
        })
        .collect();
    let _writer = q.must_open(OFlag::O_WRONLY);
    for reader in readers {
        reader.join().expect("open of a reader");
    }
}

fn a_signal_ends_the_wait_for_a_writer_and_undoes_the_count(q: &Queue) {
    signals::handle(After::Fail);
    let queue = q.clone();
    let reader = Actor::asleep_in(Call::Open, "reader", move || queue.open(OFlag::O_RDONLY));
    reader.signal(INTERRUPT);
    expect(
        "open of the reader",
        reader.join().err(),
        Some(Errno::EINTR),
    );
    let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK;
    expect("open of a writer", q.open(flags).err(), Some(Errno::ENXIO));
}

fn a_signal_ends_the_wait_for_a_reader_and_undoes_the_count(q: &Queue) {
    signals::handle(After::Fail);
    let queue = q.clone();
    let writer = Actor::asleep_in(Call::Open, "writer", move || queue.open(OFlag::O_WRONLY));
    writer.signal(INTERRUPT);
    expect(
        "open of the writer",
        writer.join().err(),
        Some(Errno::EINTR),
    );
    let reader = q.reader().nonblocking();
    expect("read: no writer is left", reader.read(1), Ok(vec![]));
}

fn with_sa_restart_the_wait_in_open_goes_on(q: &Queue) {
    signals::handle(After::Restart);
    for (flags, partner) in [
        (OFlag::O_RDONLY, OFlag::O_WRONLY),
        (OFlag::O_WRONLY, OFlag::O_RDONLY),
    ] {
        let queue = q.clone();
        let waiter = Actor::asleep_in(Call::Open, "waiter", move || queue.open(flags));
        let handled = signals::handled();
        waiter.signal(INTERRUPT);
        wait_until("the signal handled", || signals::handled() == handled + 1);
        waiter.wait_asleep_in(Call::Open);
        let _partner = q.must_open(partner);
        waiter
            .join()
            .unwrap_or_else(|e| panic!("open with {flags:?}: {e}"));
    }
}

fn a_killed_waiter_is_no_reader_any_more(q: &Queue) {
    let queue = q.clone();
    let reader = Process::start("reader", move || drop(queue.open(OFlag::O_RDONLY)));
    reader.wait_asleep_in(Call::Open);
    reader.signal(Signal::SIGKILL);
    let status = reader.wait();
    assert!(
        matches!(status, WaitStatus::Signaled(_, Signal::SIGKILL, _)),
        "{status:?}"
    );
    let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK;
    expect("open of a writer", q.open(flags).err(), Some(Errno::ENXIO));
}

fn others_open_while_a_reader_waits_in_open(q: &Queue) {
    let queue = q.clone();
    let waiting = Actor::asleep_in(Call::Open, "reader", move || queue.open(OFlag::O_RDONLY));
    // Another queue, both ways.
    let (reader, writer) = q.another().pair();
    writer.write_all(b"x");
    expect("the other queue", reader.read(1), Ok(b"x".to_vec()));
    // The same queue: a reader that does not wait, and one that waits too.
    q.must_open(OFlag::O_RDONLY | OFlag::O_NONBLOCK).close();
    let queue = q.clone();
    let second = Actor::asleep_in(Call::Open, "reader 2", move || queue.open(OFlag::O_RDONLY));
    let _writer = q.must_open(OFlag::O_WRONLY);
    waiting.join().expect("open of the first reader");
    second.join().expect("open of the second reader");
}

fn the_mode_of_the_node_decides_who_may_open_it(q: &Queue) {
    use std::os::unix::fs::PermissionsExt;
    let _both = q.must_open(OFlag::O_RDWR);
    let set_mode = |mode| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(q.path(), permissions).expect("chmod");
    };
    let before = std::fs::metadata(q.path())
        .expect("stat")
        .permissions()
        .mode();
    for (mode, may_read, may_write) in [
        (0o600, Err(Errno::EACCES), Err(Errno::EACCES)),
        (0o604, Ok(()), Err(Errno::EACCES)),
        (0o602, Err(Errno::EACCES), Ok(())),
        (0o606, Ok(()), Ok(())),
    ] {
        set_mode(mode);
        Process::start("ordinary user", || {
            become_ordinary_user();
            for (flags, wanted) in [(OFlag::O_RDONLY, may_read), (OFlag::O_WRONLY, may_write)] {
                let got = q.open(flags).map(drop);
                expect(
                    &format!("open with {flags:?} of a node {mode:o}"),
                    got,
                    wanted,
                );
            }
        })
        .wait_success();
    }
    set_mode(before);
}

fn o_path_is_no_end(q: &Queue) {
    let path = q.must_open(OFlag::O_PATH);
    let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK;
    expect("open of a writer", q.open(flags).err(), Some(Errno::ENXIO));
    expect("read", path.read(1), Err(Errno::EBADF));
}

fn an_observer_does_not_wake_a_waiter(q: &Queue) {
    let queue = q.clone();
    let reader = Actor::asleep_in(Call::Open, "reader", move || queue.open(OFlag::O_RDONLY));
    let sleeps = reader.sleeps();
    q.must_open(OFlag::O_ACCMODE).close();
    reader.expect_not_woken_since(sleeps, Call::Open);
    q.must_open(OFlag::O_WRONLY);
    reader.join().expect("open of the reader");
}

fn access_mode_3_is_einval(q: &Queue) {
    let opened = q.open(OFlag::O_ACCMODE);
    if !q.differs(&differences::OBSERVER) {
        return expect("open", opened.err(), Some(Errno::EINVAL));
    }
    let observer = opened.expect("open");
    let ends = |end: &End| (end.info().readers, end.info().writers);
    expect("ends that it counts as", ends(&observer), (0, 0));
    expect("read", observer.read(1), Err(Errno::EBADF));
    expect("write", observer.write(b"x"), Err(Errno::EBADF));
    let reader = q.must_open(OFlag::O_RDONLY | OFlag::O_NONBLOCK);
    expect("ends with a reader", ends(&observer), (1, 0));
    expect("read without a writer", reader.read(1), Ok(vec![]));
}

fn creation_flags_make_no_difference(q: &Queue) {
    let (reader, _writer) = q.pair();
    let writer = q.must_open(OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_APPEND);
    writer.write_all(b"x");
    expect("read", reader.read(2), Ok(b"x".to_vec()));
    let excl = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL;
    expect("with O_EXCL", q.open(excl).err(), Some(Errno::EEXIST));
    expect(
        "as a directory",
        q.open(OFlag::O_DIRECTORY).err(),
        Some(Errno::ENOTDIR),
    );
}

// SPDX-License-Identifier: MIT

//! splice(2) and sendfile(2), into a queue and out of it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use kpipe_abi::uapi::Transport;
use nix::fcntl::{splice, tee, vmsplice, SpliceFFlags};
use nix::sys::sendfile::sendfile;

use crate::harness::amount;
use crate::tools::carry::{self, slow};
use crate::tools::memory::{Mapping, Page, Span, PAGE_BYTES};
use crate::tools::needs;
use crate::tools::page_fault::Trap;
use crate::tools::prelude::*;
use crate::tools::raw;
use crate::tools::signals::{self, After, SigpipeWatch, INTERRUPT};
use crate::tools::subject::scratch_path;

/// The table.
pub const TESTS: &[Test] = &[
    section("Splice and sendfile", "it splices by rules of its own"),
    says("splice works both ways."),
    each!(splice_moves_a_pipe_into_the_queue).and_socket(),
    each!(splice_moves_the_queue_into_a_pipe).and_socket(),
    each!(splice_moves_one_queue_into_another_by_way_of_a_pipe).and_socket(),
    each!(splice_out_waits_for_data).and_socket(),
    each!(splice_out_returns_0_at_the_end_of_file).and_socket(),
    each!(splice_out_of_an_empty_nonblocking_queue_is_eagain).and_socket(),
    each!(splice_f_nonblock_does_not_wait_for_data).and_socket(),
    each!(splice_in_waits_for_room).and_socket(),
    each!(splice_in_without_readers_is_epipe_and_sends_sigpipe).and_socket(),
    each!(splice_out_takes_no_more_than_the_pipe_holds),
    each!(a_signal_interrupts_a_waiting_splice).and_socket(),
    each!(a_waiting_splice_leaves_its_pipe_usable),
    each!(a_splice_that_waits_for_its_pipe_leaves_it_usable_when_the_queue_fills),
    each!(a_splice_in_that_moved_something_does_not_wait_for_more).and_socket(),
    ours!(a_splice_that_loses_its_data_to_a_reader_does_not_sleep_with_the_pipe)
        .needs(needs::userfaultfd),
    ours!(a_splice_that_waits_for_its_arrival_leaves_its_pipe_usable).sets_transport(),
    says("sendfile works both ways."),
    each!(sendfile_sends_a_file_into_the_queue),
    each!(sendfile_sends_more_than_the_capacity_while_a_reader_reads),
    each!(sendfile_out_of_the_queue_is_einval).differs(&[&differences::SPLICE]),
    each!(the_queue_reaches_a_file_and_a_socket_by_splice),
    says("What the kernel knows of pipes alone."),
    each!(offsets_are_espipe).differs(&[&differences::SPLICE]),
    each!(tee_and_vmsplice_work).differs(&[&differences::SPLICE]),
    each!(copy_file_range_is_einval),
];

/// A pipe of this process.
fn pipe() -> (OwnedFd, OwnedFd) {
    nix::unistd::pipe().expect("pipe")
}

/// Splices without offsets and flags.
fn splice_all(from: impl AsFd, to: impl AsFd, len: usize) -> nix::Result<usize> {
    splice(from, None, to, None, len, SpliceFFlags::empty())
}

fn read_exactly(from: OwnedFd, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    File::from(from).read_exact(&mut bytes).expect("read");
    bytes
}

fn splice_moves_a_pipe_into_the_queue(q: &Queue) {
    let (reader, writer) = q.pair();
    let (pipe_reader, pipe_writer) = pipe();
    let data = pattern(30_000);
    File::from(pipe_writer)
        .write_all(&data)
        .expect("write to the pipe");
    let mut moved = 0;
    while moved < data.len() {
        moved += splice_all(&pipe_reader, &writer, data.len()).expect("splice");
    }
    expect("bytes moved", moved, data.len());
    expect_bytes("data", &reader.read_all(data.len()), &data);
    expect(
        "at the end of the pipe",
        splice_all(&pipe_reader, &writer, 1),
        Ok(0),
    );
}

fn splice_moves_the_queue_into_a_pipe(q: &Queue) {
    let (reader, writer) = q.pair();
    let (pipe_reader, pipe_writer) = pipe();
    let data = pattern(30_000);
    writer.write_all(&data);
    let mut moved = 0;
    while moved < data.len() {
        moved += splice_all(&reader, &pipe_writer, data.len() - moved).expect("splice");
    }
    expect("bytes left", reader.queued(), 0);
    expect_bytes("data", &read_exactly(pipe_reader, data.len()), &data);
}

fn splice_moves_one_queue_into_another_by_way_of_a_pipe(q: &Queue) {
    let (reader, writer) = q.pair();
    let (other_reader, other_writer) = q.another().pair();
    let (pipe_reader, pipe_writer) = pipe();
    let data = pattern(10_001);
    writer.write_all(&data);
    let mut moved = 0;
    while moved < data.len() {
        let len = splice_all(&reader, &pipe_writer, 3000).expect("splice out");
        let mut rest = len;
        while rest > 0 {
            rest -= splice_all(&pipe_reader, &other_writer, rest).expect("splice in");
        }
        moved += len;
    }
    expect_bytes("data", &other_reader.read_all(data.len()), &data);
}

fn splice_out_waits_for_data(q: &Queue) {
    let (reader, writer) = q.pair();
    let (pipe_reader, pipe_writer) = pipe();
    let part = Actor::asleep_in(Call::Splice, "splicer", move || {
        splice_all(&reader, &pipe_writer, 100)
    });
    writer.write_all(b"now");
    expect("splice", part.join(), Ok(3));
    expect_bytes("data", &read_exactly(pipe_reader, 3), b"now");
}

fn splice_out_returns_0_at_the_end_of_file(q: &Queue) {
    let (reader, writer) = q.pair();
    let (_pipe_reader, pipe_writer) = pipe();
    writer.close();
    expect("splice", splice_all(&reader, &pipe_writer, 100), Ok(0));
}

fn splice_out_of_an_empty_nonblocking_queue_is_eagain(q: &Queue) {
    let (reader, _writer) = q.pair();
    let (_pipe_reader, pipe_writer) = pipe();
    let reader = reader.nonblocking();
    expect(
        "splice",
        splice_all(&reader, &pipe_writer, 100),
        Err(Errno::EAGAIN),
    );
}

fn splice_f_nonblock_does_not_wait_for_data(q: &Queue) {
    let (reader, _writer) = q.pair();
    let (_pipe_reader, pipe_writer) = pipe();
    let part = Actor::start("splicer", move || {
        let flags = SpliceFFlags::SPLICE_F_NONBLOCK;
        splice(&reader, None, &pipe_writer, None, 100, flags)
    });
    expect("splice", part.join(), Err(Errno::EAGAIN));
}

fn splice_in_waits_for_room(q: &Queue) {
    let (reader, writer) = q.pair();
    let capacity = writer.fill();
    let (pipe_reader, pipe_writer) = pipe();
    File::from(pipe_writer)
        .write_all(b"late")
        .expect("write to the pipe");
    let part = Actor::asleep_in(Call::Splice, "splicer", move || {
        splice_all(&pipe_reader, &writer, 100)
    });
    reader.read_all(capacity);
    expect("splice", part.join(), Ok(4));
    expect("read", reader.read(100), Ok(b"late".to_vec()));
}

fn splice_in_without_readers_is_epipe_and_sends_sigpipe(q: &Queue) {
    let (reader, writer) = q.pair();
    reader.close();
    let (pipe_reader, pipe_writer) = pipe();
    File::from(pipe_writer)
        .write_all(b"lost")
        .expect("write to the pipe");
    let sigpipe = SigpipeWatch::start();
    expect(
        "splice",
        splice_all(&pipe_reader, &writer, 100),
        Err(Errno::EPIPE),
    );
    expect("SIGPIPE", sigpipe.has_come(), true);
    expect_bytes(
        "what stays in the pipe",
        &read_exactly(pipe_reader, 4),
        b"lost",
    );
}

fn splice_out_takes_no_more_than_the_pipe_holds(q: &Queue) {
    let (reader, writer) = q.pair_of(1 << 18);
    let (pipe_reader, pipe_writer) = pipe();
    let data = pattern(1 << 18);
    writer.write_all(&data);
    let moved = splice_all(&reader, &pipe_writer, data.len()).expect("splice");
    assert!(
        (1..=65536).contains(&moved),
        "{moved} bytes moved into a pipe of 65536"
    );
    expect("bytes left", reader.queued(), data.len() - moved);
    expect_bytes("moved", &read_exactly(pipe_reader, moved), &data[..moved]);
    expect_bytes("left", &reader.read_all(data.len() - moved), &data[moved..]);
}

fn a_signal_interrupts_a_waiting_splice(q: &Queue) {
    signals::handle(After::Fail);
    let (reader, writer) = q.pair();
    let (_pipe_reader, pipe_writer) = pipe();
    let end = reader.clone();
    let part = Actor::asleep_in(Call::Splice, "splicer", move || {
        splice_all(&end, &pipe_writer, 100)
    });
    part.signal(INTERRUPT);
    expect("splice", part.join(), Err(Errno::EINTR));
    writer.write_all(b"x");
    expect("the next read", reader.read(2), Ok(b"x".to_vec()));
}

fn a_waiting_splice_leaves_its_pipe_usable(q: &Queue) {
    let (reader, writer) = q.pair();
    let (pipe_reader, pipe_writer) = pipe();
    let end = pipe_writer.try_clone().expect("dup");
    let splicer = Actor::asleep_in(Call::Splice, "splicer", move || {
        splice_all(&reader, &end, 100)
    });
    // Another user of the same pipe, meanwhile.
    let user = Actor::start("user of the pipe", move || {
        File::from(pipe_writer)
            .write_all(b"meanwhile")
            .expect("write");
        read_exactly(pipe_reader.try_clone().expect("dup"), 9)
    });
    expect_bytes("through the pipe", &user.join(), b"meanwhile");
    writer.write_all(b"now");
    expect("splice", splicer.join(), Err(Errno::EPIPE));
}

fn a_splice_that_waits_for_its_pipe_leaves_it_usable_when_the_queue_fills(q: &Queue) {
    let (reader, writer) = q.pair();
    let (pipe_reader, pipe_writer) = pipe();
    let end = writer.clone();
    let splicer = Actor::asleep_in(Call::Splice, "splicer", move || {
        splice_all(&pipe_reader, &end, 100)
    });
    let queued = writer.duplicate().nonblocking().fill();
    // The splicer has data now but no room. Writing to the pipe again must not hang behind it.
    let user = Actor::start("user of the pipe", move || {
        let mut pipe_writer = File::from(pipe_writer);
        pipe_writer.write_all(b"some").expect("write");
        pipe_writer.write_all(b"more").expect("write again");
        pipe_writer
    });
    let pipe_writer = user.join();
    reader.read_all(queued);
    expect("splice", splicer.join(), Ok(8));
    expect_bytes("data", &reader.read_all(8), b"somemore");
    drop(pipe_writer);
}

fn a_splice_in_that_moved_something_does_not_wait_for_more(q: &Queue) {
    let (reader, writer) = q.pair();
    let (pipe_reader, pipe_writer) = pipe();
    let mut pipe_writer = File::from(pipe_writer);
    let data = pattern(65536);
    // Often, because the reader must have made room just when the pipe has run dry.
    let rounds = amount(300);
    let len = data.len();
    let drain = Actor::start("reader", move || {
        (0..rounds)
            .map(|_| reader.read_all(len).len())
            .sum::<usize>()
    });
    for _ in 0..rounds {
        pipe_writer.write_all(&data).expect("fill the pipe");
        let mut moved = 0;
        while moved < len {
            // The pipe's writer is still there, so waiting for more would take for ever.
            moved += splice_all(&pipe_reader, &writer, 1 << 20).expect("splice");
        }
    }
    expect("bytes", drain.join(), rounds * len);
}

/// The reader is in the middle of its copy when the splice looks for data, and takes all.
fn a_splice_that_loses_its_data_to_a_reader_does_not_sleep_with_the_pipe(q: &Queue) {
    for flags in [SpliceFFlags::SPLICE_F_NONBLOCK, SpliceFFlags::empty()] {
        let (reader, writer) = q.pair();
        let (pipe_reader, pipe_writer) = pipe();
        writer.write_all(b"data");
        let memory = Mapping::of(&[Page::Open]);
        let mut trap = Trap::set(&memory, 0);
        let (end, span) = (reader.clone(), memory.all());
        let winner = Actor::start("reader", move || raw::read(end.as_fd(), span));
        trap.wait_for_fault();
        let splicer = Actor::start("splicer", move || {
            splice(&reader, None, &pipe_writer, None, 100, flags)
        });
        // Behind the reader, and with the pipe.
        splicer.wait_stuck_in(Call::Splice);
        trap.release(&[0; PAGE_BYTES]);
        expect("read", winner.join(), Ok(4));
        if flags.is_empty() {
            splicer.wait_asleep_in(Call::Splice);
            let queued = Actor::start("user of the pipe", move || {
                (
                    End::from(pipe_reader.try_clone().expect("dup")).queued(),
                    pipe_reader,
                )
            });
            let (queued, _pipe_reader) = queued.join();
            expect("queued in the pipe", queued, 0);
            writer.write_all(b"more");
            expect("splice", splicer.join(), Ok(4));
        } else {
            expect("splice", splicer.join(), Err(Errno::EAGAIN));
        }
    }
}

fn a_splice_that_waits_for_its_arrival_leaves_its_pipe_usable(q: &Queue) {
    signals::handle(After::Fail);
    let never = Transport {
        flags: 0,
        ..slow(Duration::from_secs(60))
    };
    let (_reader, writer) = carry::pair(q, never);
    let (pipe_reader, pipe_writer) = pipe();
    let mut pipe_writer = File::from(pipe_writer);
    pipe_writer.write_all(b"some").expect("write");
    let splicer = Actor::asleep_in(Call::Splice, "splicer", move || {
        splice_all(&pipe_reader, &writer, 100)
    });
    let user = Actor::start("user of the pipe", move || {
        pipe_writer.write_all(b"more").expect("write");
        pipe_writer
    });
    let _pipe_writer = user.join();
    // The bytes are on their way whatever becomes of the wait.
    splicer.signal(INTERRUPT);
    expect("splice", splicer.join(), Ok(4));
}

/// A file with these bytes, at its start.
fn file_with(data: &[u8]) -> File {
    let path = scratch_path("data");
    std::fs::write(&path, data).expect("write the file");
    File::open(path).expect("open the file")
}

fn sendfile_sends_a_file_into_the_queue(q: &Queue) {
    let (reader, writer) = q.pair();
    let data = pattern(50_000);
    let file = file_with(&data);
    let mut sent = 0;
    while sent < data.len() {
        sent += sendfile(&writer, &file, None, data.len()).expect("sendfile");
    }
    expect_bytes("data", &reader.read_all(data.len()), &data);
}

fn sendfile_sends_more_than_the_capacity_while_a_reader_reads(q: &Queue) {
    let (reader, writer) = q.pair_of(8192);
    let data = pattern(300_000);
    let file = file_with(&data);
    let len = data.len();
    let part = Actor::start("sender", move || {
        let mut sent = 0;
        while sent < len {
            sent += sendfile(&writer, &file, None, len - sent).expect("sendfile");
        }
    });
    expect_bytes("data", &reader.read_all(len), &data);
    part.join();
}

fn sendfile_out_of_the_queue_is_einval(q: &Queue) {
    let (reader, writer) = q.pair();
    writer.write_all(b"abc");
    let file = File::create(scratch_path("copy")).expect("create a file");
    // To anything but a pipe the source must be able to seek (splice_direct_to_actor()).
    expect(
        "to a file",
        sendfile(&file, &reader, None, 10),
        Err(Errno::EINVAL),
    );
    expect("bytes queued", reader.queued(), 3);
    let (pipe_reader, pipe_writer) = pipe();
    let sent = sendfile(&pipe_writer, &reader, None, 10);
    if q.differs(&differences::SPLICE) {
        expect("to a pipe", sent, Ok(3));
        expect_bytes("data", &read_exactly(pipe_reader, 3), b"abc");
    } else {
        // sendfile(2) wants `splice_read`, which a pipe lacks: splice(2) treats pipes by themselves.
        expect("to a pipe", sent, Err(Errno::EINVAL));
    }
}

fn the_queue_reaches_a_file_and_a_socket_by_splice(q: &Queue) {
    let (reader, writer) = q.pair();
    let (pipe_reader, pipe_writer) = pipe();
    let path = scratch_path("copy");
    let file = File::create(&path).expect("create a file");
    let (near, mut far) = UnixStream::pair().expect("socketpair");
    for to in [file.as_fd(), near.as_fd()] {
        writer.write_all(b"through and through");
        expect("splice out", splice_all(&reader, &pipe_writer, 100), Ok(19));
        expect("splice on", splice_all(&pipe_reader, to, 100), Ok(19));
    }
    let wanted = b"through and through";
    expect_bytes("file", &std::fs::read(path).expect("read the file"), wanted);
    let mut got = [0; 19];
    far.read_exact(&mut got).expect("read from the socket");
    expect_bytes("socket", &got, wanted);
}

fn offsets_are_espipe(q: &Queue) {
    let (reader, writer) = q.pair();
    let (pipe_reader, pipe_writer) = pipe();
    writer.write_all(b"x");
    let (_, wrong) = Span::wrong(8)[1];
    let mut offset = 0;
    let result = sendfile(&pipe_writer, &reader, Some(&mut offset), 1);
    expect("sendfile with an offset", result, Err(Errno::ESPIPE));
    // do_splice() says ESPIPE for an offset into a pipe, EINVAL for one into what cannot seek.
    // It looks at the number only where there may be one.
    let (wanted, if_wrong) = if q.differs(&differences::SPLICE) {
        (Errno::EINVAL, Errno::EFAULT)
    } else {
        (Errno::ESPIPE, Errno::ESPIPE)
    };
    let memory = Mapping::of(&[Page::Open]);
    for (offset, at, wanted) in [
        ("an", memory.span(0, 8), wanted),
        ("a wrong", wrong, if_wrong),
    ] {
        let out = raw::splice_at((reader.as_fd(), at), (pipe_writer.as_fd(), Span::NULL), 1);
        expect(
            &format!("splice out with {offset} offset"),
            out,
            Err(wanted),
        );
        let into = raw::splice_at((pipe_reader.as_fd(), Span::NULL), (writer.as_fd(), at), 1);
        expect(
            &format!("splice in with {offset} offset"),
            into,
            Err(wanted),
        );
    }
    expect("bytes queued", reader.queued(), 1);
}

fn tee_and_vmsplice_work(q: &Queue) {
    let (reader, writer) = q.pair();
    let (_pipe_reader, pipe_writer) = pipe();
    writer.write_all(b"abc");
    let teed = tee(&reader, &pipe_writer, 10, SpliceFFlags::empty());
    let bytes = [std::io::IoSlice::new(b"de")];
    let vmspliced = vmsplice(&writer, &bytes, SpliceFFlags::empty());
    let (wanted_tee, wanted_vmsplice, queued) = if q.differs(&differences::SPLICE) {
        (Err(Errno::EINVAL), Err(Errno::EBADF), 3)
    } else {
        (Ok(3), Ok(2), 5)
    };
    expect("tee", teed, wanted_tee);
    expect("vmsplice", vmspliced, wanted_vmsplice);
    expect("bytes queued", reader.queued(), queued);
}

fn copy_file_range_is_einval(q: &Queue) {
    let (reader, writer) = q.pair();
    writer.write_all(b"abc");
    let file = file_with(b"data");
    let copy = File::create(scratch_path("copy")).expect("create a file");
    let into = nix::fcntl::copy_file_range(&file, None, &writer, None, 4);
    expect("into the queue", into, Err(Errno::EINVAL));
    let out = nix::fcntl::copy_file_range(&reader, None, &copy, None, 3);
    expect("out of the queue", out, Err(Errno::EINVAL));
    expect("bytes queued", reader.queued(), 3);
}

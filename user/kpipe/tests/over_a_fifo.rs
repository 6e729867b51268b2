// SPDX-License-Identifier: MIT

//! The library over a named FIFO, which is what a queue imitates: everything but the driver's own
//! calls can be tried on any machine. A call that blocks for good fails its test by a deadline.

use kpipe::{Control, Error, Queue, Reader, Wait, Writer};
use nix::fcntl::{fcntl, FcntlArg, FdFlag, OFlag};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::sync::mpsc::{channel, RecvTimeoutError};
use std::time::Duration;
use tempfile::TempDir;

/// Runs a test in a thread of its own, which is left behind if it hangs.
fn in_time(test: fn()) {
    let (done, is_done) = channel();
    let thread = std::thread::spawn(move || {
        test();
        let _ = done.send(());
    });
    match is_done.recv_timeout(Duration::from_secs(30)) {
        Err(RecvTimeoutError::Timeout) => panic!("the test hangs"),
        // Done, or the thread is at its end without having sent: it panicked.
        _ => thread.join().unwrap(),
    }
}

struct Fifo {
    _dir: TempDir,
    queue: Queue,
}

fn fifo() -> Fifo {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fifo");
    mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    Fifo {
        _dir: dir,
        queue: Queue::at(path),
    }
}

/// Both ends, opened without waiting; the reader is non-blocking.
fn ends(queue: &Queue) -> (Reader, Writer) {
    let reader = queue.reader(Wait::Never).unwrap();
    (reader, queue.writer(Wait::Block).unwrap())
}

#[test]
fn blocking_opens_meet_and_bytes_arrive_until_end_of_file() {
    in_time(|| {
        let fifo = fifo();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                fifo.queue
                    .writer(Wait::Block)
                    .unwrap()
                    .write_all(b"over the queue")
                    .unwrap()
            });
            let mut text = String::new();
            fifo.queue
                .reader(Wait::Block)
                .unwrap()
                .read_to_string(&mut text)
                .unwrap();
            assert_eq!(text, "over the queue");
        });
    });
}

#[test]
fn nonblocking_open_for_writing_without_a_reader_is_no_reader() {
    in_time(|| {
        let fifo = fifo();
        let error = fifo.queue.writer(Wait::Never).unwrap_err();
        assert_eq!(
            error,
            Error::NoReader {
                queue: fifo.queue.clone()
            }
        );
    });
}

#[test]
fn nonblocking_read_of_an_empty_queue_would_block() {
    in_time(|| {
        let fifo = fifo();
        let (mut reader, _writer) = ends(&fifo.queue);
        assert_eq!(
            reader.read(&mut [0; 8]).unwrap_err().kind(),
            ErrorKind::WouldBlock
        );
    });
}

#[test]
fn write_without_a_reader_is_a_broken_pipe() {
    in_time(|| {
        let fifo = fifo();
        let (reader, mut writer) = ends(&fifo.queue);
        drop(reader);
        assert_eq!(
            writer.write(b"x").unwrap_err().kind(),
            ErrorKind::BrokenPipe
        );
    });
}

#[test]
fn queued_bytes_counts_what_was_written_and_not_read() {
    in_time(|| {
        let fifo = fifo();
        let (mut reader, mut writer) = ends(&fifo.queue);
        writer.write_all(&[7; 1000]).unwrap();
        reader.read_exact(&mut [0; 300]).unwrap();
        assert_eq!(reader.queued_bytes().unwrap(), 700);
        assert_eq!(writer.queued_bytes().unwrap(), 700);
    });
}

#[test]
fn descriptors_are_close_on_exec_and_block_as_asked() {
    in_time(|| {
        let fifo = fifo();
        let (reader, writer) = ends(&fifo.queue);
        for (fd, is_nonblocking) in [(reader.as_fd(), true), (writer.as_fd(), false)] {
            assert_eq!(
                fcntl(fd, FcntlArg::F_GETFD).unwrap(),
                FdFlag::FD_CLOEXEC.bits()
            );
            let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL).unwrap());
            assert_eq!(flags.contains(OFlag::O_NONBLOCK), is_nonblocking);
        }
    });
}

#[test]
fn the_drivers_own_calls_say_that_a_fifo_is_not_a_queue() {
    in_time(|| {
        let fifo = fifo();
        let (reader, _writer) = ends(&fifo.queue);
        let not_a_queue = Error::NotAQueue {
            queue: fifo.queue.clone(),
        };
        assert_eq!(reader.info().unwrap_err(), not_a_queue);
        assert_eq!(reader.resize(8192).unwrap_err(), not_a_queue);
        assert_eq!(reader.reset_counters().unwrap_err(), not_a_queue);
        assert_eq!(fifo.queue.monitor().unwrap_err(), not_a_queue);
    });
}

#[test]
fn a_missing_path_is_not_found() {
    in_time(|| {
        let queue = Queue::at("/nonexistent/queue");
        assert_eq!(
            queue.reader(Wait::Never).unwrap_err(),
            Error::NotFound { queue }
        );
    });
}

#[test]
fn a_regular_file_is_refused_before_anything_is_written() {
    in_time(|| {
        let file = tempfile::NamedTempFile::new().unwrap();
        let queue = Queue::at(file.path());
        let error = queue.writer(Wait::Block).unwrap_err();
        assert_eq!(error, Error::NotAQueue { queue });
    });
}

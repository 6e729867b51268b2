// SPDX-License-Identifier: MIT

//! Lessons: one idea of a lecture on I/O, pipes and sockets each, as a program short enough to read beside
//! what it prints. `kpipe lesson` runs them.
//!
//! A [`Lesson`] plays on a [`Notes`] stage: it makes real system calls, starts real processes, and notes what
//! each call returned and where each process sleeps. Nothing is noted that was not seen. Beside the file of
//! a lesson stands what it prints, `NAME.txt`: [`proof`] compares, on the host and in the VM.

mod error;
mod over;
pub mod proof;
mod stage;

// The lessons.
mod bounded;
mod buffered;
mod checks;
mod connections;
mod daemon;
mod duplex;
mod echo;
mod ends;
mod family;
mod file;
mod framing;
mod inherit;
mod names;
mod servers;
mod signals;
mod sockets;
mod web;
mod workers;

pub use error::{Error, Result};
pub use over::Over;
pub use stage::{Fact, Notes};

/// One idea, and the program that shows it.
#[derive(Clone, Copy)]
pub struct Lesson {
    /// Row of docs/concepts.md.
    pub row: u8,
    /// What one types.
    pub name: &'static str,
    /// The idea, as a slide has it.
    pub idea: &'static str,
    /// What it can be played on.
    pub over: &'static [Over],
    /// Its own source.
    pub source: &'static str,
    /// Where to read what happens below it, in this project and in the kernel's source.
    pub below: &'static str,
    play: fn(Over, &mut Notes) -> Result<()>,
    transcript: &'static str,
}

/// A row of the table below.
macro_rules! lesson {
    ($row:literal, $module:ident, $idea:literal, $over:expr, $below:literal) => {
        Lesson {
            row: $row,
            name: stringify!($module),
            idea: $idea,
            over: $over,
            source: concat!("user/lessons/src/", stringify!($module), ".rs"),
            below: $below,
            play: $module::play,
            transcript: include_str!(concat!(stringify!($module), ".txt")),
        }
    };
}

const QUEUES: &[Over] = &[Over::Device, Over::Pipe];

const STREAMS: &[Over] = &[Over::Device, Over::Pipe, Over::Unix, Over::Tcp];

/// All lessons, by row.
pub const LESSONS: &[Lesson] = &[
    lesson!(
        1,
        buffered,
        "each small read enters the kernel; a buffered stream enters it once for many",
        QUEUES,
        "driver/file.rs, and in the kernel fs/read_write.c (ksys_read)"
    ),
    lesson!(
        2,
        checks,
        "descriptor, description, inode; what vfs_read() checks before a driver sees the call, and what it counts",
        QUEUES,
        "driver/sys/fops.rs, and in the kernel fs/read_write.c (vfs_read)"
    ),
    lesson!(
        7,
        inherit,
        "fork copies descriptors and shares descriptions; redirection is a descriptor with another number",
        QUEUES,
        "driver/model/ends.rs, and in the kernel kernel/fork.c (copy_files), fs/file.c (do_dup2)"
    ),
    lesson!(
        8,
        file,
        "communication through a file is wasteful, through a queue in memory it is not",
        QUEUES,
        "driver/pipe.rs, and in the kernel mm/filemap.c (generic_perform_write)"
    ),
    lesson!(
        9,
        bounded,
        "a pipe is a bounded queue: a full one blocks the writer, an empty one the reader",
        QUEUES,
        "driver/pipe/read.rs (take_or_wait), driver/pipe/write.rs (put_or_wait), and in the kernel fs/pipe.c"
    ),
    lesson!(
        10,
        family,
        "one process; parent to child; child to parent: who closes which end",
        QUEUES,
        "driver/model/ends.rs, and in the kernel fs/pipe.c (pipe_release)"
    ),
    lesson!(
        11,
        ends,
        "end of file after the last writer, SIGPIPE or EPIPE after the last reader, and an end forgotten open",
        QUEUES,
        "driver/model/ends.rs, and in the kernel fs/pipe.c (anon_pipe_read, anon_pipe_write)"
    ),
    lesson!(
        12,
        framing,
        "a protocol is syntax and semantics: frames in a stream, requests and responses, typed calls",
        STREAMS,
        "user/protocol/src/decoder.rs, user/protocol/src/rpc/mod.rs, docs/protocol.md"
    ),
    lesson!(
        13,
        duplex,
        "a connection is two bounded queues, one each way",
        STREAMS,
        "user/kpipe/src/channel/queues.rs, and in the kernel net/unix/af_unix.c (unix_stream_sendmsg)"
    ),
    lesson!(
        14,
        sockets,
        "a socket is an endpoint that looks like a file: families, options, backlog, no lseek",
        &[Over::Device, Over::Unix, Over::Tcp, Over::Tcp6, Over::Udp],
        "user/kpipe/src/channel/socket.rs, and in the kernel net/socket.c"
    ),
    lesson!(
        15,
        names,
        "names: host names, addresses, ports, getaddrinfo, passive addresses",
        &[Over::Tcp, Over::Udp],
        "user/kpipe/src/channel/resolve.rs, and in the kernel net/ipv4/inet_connection_sock.c (inet_csk_get_port)"
    ),
    lesson!(
        16,
        connections,
        "listen and accept make a socket for each client; the 5-tuple tells connections apart",
        &[Over::Device, Over::Unix, Over::Tcp, Over::Tcp6],
        "user/kpipe/src/channel/listen.rs (Streams), and in the kernel net/ipv4/inet_hashtables.c"
    ),
    lesson!(
        17,
        echo,
        "an echo server and its client; when is a message complete?",
        &[Over::Device, Over::Pipe, Over::Unix, Over::Tcp, Over::Udp],
        "user/kpipe/src/channel/mod.rs (Carries)"
    ),
    lesson!(
        18,
        servers,
        "five servers: one client at a time; processes, with and without waiting; threads; a pool",
        &[Over::Device, Over::Tcp],
        "user/server/src/models/; `kpipe compare servers` puts them under load"
    ),
    lesson!(
        19,
        workers,
        "the queue of a pool: take an item or sleep",
        QUEUES,
        "user/server/src/models/pool.rs, driver/sys/wait.rs, and in the kernel kernel/sched/wait.c (exclusive waits)"
    ),
    lesson!(
        20,
        web,
        "a web server: packet in, interrupt, socket buffer, read, parse, file read, reply",
        &[Over::Device, Over::Tcp],
        "user/server/src/http/mod.rs, and in the kernel net/ipv4/tcp_input.c (tcp_data_queue)"
    ),
    lesson!(
        21,
        signals,
        "signals: pending once per kind, a handler runs, the interrupted call fails or restarts",
        STREAMS,
        "driver/pipe/read.rs (take_or_wait), and in the kernel kernel/signal.c (get_signal)"
    ),
    lesson!(
        22,
        daemon,
        "a daemon: detaches, pid file, log, reload, clean stop",
        &[Over::Device, Over::Tcp],
        "user/server/src/daemon.rs, user/server/src/signals.rs, and daemon(7)"
    ),
];

impl Lesson {
    /// The lesson with this name or row.
    pub fn find(name_or_row: &str) -> Option<&'static Self> {
        LESSONS
            .iter()
            .find(|lesson| lesson.name == name_or_row || lesson.row.to_string() == name_or_row)
    }

    /// Plays it; `seen` gets each fact when it is noted. Processes are forked, so this one must have a
    /// single thread.
    ///
    /// # Errors
    /// [`Error`], if something does not happen as the lesson needs it.
    pub fn play(&self, over: Over, seen: impl FnMut(&Fact) + 'static) -> Result<()> {
        let mut notes = Notes::of_director("parent", seen);
        (self.play)(over, &mut notes)
    }
}

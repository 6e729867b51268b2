// SPDX-License-Identifier: MIT

//! Row 20: a web server, and the way of one request: packets come in and are taken by a soft interrupt, which puts
//! the bytes into the socket's buffer, all while the server does something else (here: it is stopped); then
//! the server reads, parses, reads the file, and answers. Over queues there are no packets: write(2)
//! itself puts the bytes where the server reads them.

use crate::over::Over;
use crate::stage::{tcp, until, Call, IO_READS, IO_READ_BYTES};
use crate::{Notes, Result};
use kpipe::channel::Channel;
use kpipe::{Control, Queue};
use nix::sys::signal::Signal;
use std::fs;
use std::io::Read;
use std::net::SocketAddr;

/// What the server has to give, and how one asks for it.
const FILE: &str = "a file of the web server\n";
const REQUEST: &[u8] = b"GET /lesson.txt HTTP/1.1\r\nHost: lesson\r\nConnection: close\r\n\r\n";

pub fn play(over: Over, notes: &mut Notes) -> Result<()> {
    let root = std::env::temp_dir().join(format!("kpipe-lesson-{}", std::process::id()));
    fs::create_dir(&root)?;
    let result = fs::write(root.join("lesson.txt"), FILE)
        .map_err(Into::into)
        .and_then(|()| one_request(over, &root.to_string_lossy(), notes));
    fs::remove_dir_all(&root)?;
    result
}

fn one_request(over: Over, root: &str, notes: &mut Notes) -> Result<()> {
    notes.step("a server, and a client that says nothing yet");
    let listen = over.listen_address();
    let arguments = [
        "http",
        "--root",
        root,
        "--listen",
        &listen,
        "--model",
        "sequential",
    ];
    let server = notes.serve(&arguments)?;
    let mut client = server.connect()?;
    notes.saw("a channel", client.names());
    until("the server waits for the client", || {
        server.is_asleep_in(Call::POLL)
    })?;
    notes.saw_of("server", "asleep in", Call::POLL.name);

    notes.step("the request comes while the server is stopped");
    server.signal(Signal::SIGSTOP, notes)?;
    until("the server has stopped", || server.is_stopped())?;
    let packets = packets_in()?;
    let before = [server.counter(IO_READS)?, server.counter(IO_READ_BYTES)?];
    notes.write("client", client.tx(), REQUEST)?;
    match over {
        Over::Device => {
            let queue = Queue::number(0).monitor()?;
            notes.saw("bytes in the queue /dev/kpipe0", queue.queued_bytes()?);
        }
        _ => {
            notes.saw("packets that lo has taken in", packets_in()? - packets);
            let port = local_port(&*client);
            notes.saw(
                "bytes in the server's socket buffer",
                tcp::received(server.address(), port)?,
            );
        }
    }
    let calls = server.counter(IO_READS)? - before[0];
    notes.saw("reads of the server meanwhile", calls);

    notes.step("the server goes on: read, parse, read the file, answer");
    server.signal(Signal::SIGCONT, notes)?;
    let mut answer = Vec::new();
    loop {
        let mut block = vec![0; 4096];
        match client.read(&mut block)? {
            0 => break,
            len => answer.extend(&block[..len]),
        }
    }
    let text = String::from_utf8_lossy(&answer);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    for line in head.lines() {
        notes.saw("head", line);
    }
    notes.saw("body", format_args!("{body:?}"));
    let bytes = server.counter(IO_READ_BYTES)? - before[1];
    // It takes what a socket has by recv(2), which is not counted there.
    notes.saw("bytes that read(2) gave to the server", bytes);
    drop(client);
    server.signal(Signal::SIGTERM, notes)?;
    server.end(notes)
}

/// Packets that the loopback interface has received: proc_pid_net(5), `dev`.
fn packets_in() -> Result<u64> {
    let text = fs::read_to_string("/proc/net/dev")?;
    let line = text
        .lines()
        .find_map(|line| line.trim_start().strip_prefix("lo:"));
    let packets = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    Ok(packets.unwrap_or(0))
}

fn local_port(channel: &dyn Channel) -> u16 {
    let address = channel.names().local.parse::<SocketAddr>();
    address.map_or(0, |address| address.port())
}

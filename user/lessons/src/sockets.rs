// SPDX-License-Identifier: MIT

//! Row 14: a socket is an endpoint that looks like a file: fstat(2), read(2) and write(2) take it, and seeking
//! is refused, as of a queue. What is beyond files has calls of its own: families, types, options, a backlog.

use crate::over::Over;
use crate::stage::{errno, tcp, until};
use crate::{Notes, Result};
use nix::sys::socket::{getsockopt, sockopt};
use nix::sys::stat::{fstat, SFlag};
use nix::unistd::{lseek, Whence};
use socket2::{Domain, Socket, Type};
use std::os::fd::OwnedFd;

pub fn play(over: Over, notes: &mut Notes) -> Result<()> {
    if over == Over::Device {
        let (rx, tx) = over.queue(notes)?;
        like_a_file(&rx, notes)?;
        notes.write("tx", &tx, b"hello")?;
        notes.read("rx", &rx, 64)?;
        return Ok(());
    }
    let kind = if over == Over::Udp {
        Type::DGRAM
    } else {
        Type::STREAM
    };
    let domain = over.socket_address()?.domain();
    let what = format!(
        "socket({}, {})",
        name_of(domain),
        if over == Over::Udp {
            "SOCK_DGRAM"
        } else {
            "SOCK_STREAM"
        }
    );
    let socket: OwnedFd = notes.call(what, || {
        Socket::new(domain, kind, None)
            .map(Into::into)
            .map_err(errno)
    })?;
    like_a_file(&socket, notes)?;
    let socket = Socket::from(socket);
    options(&socket, notes)?;
    backlog(over, &socket, notes)
}

fn name_of(domain: Domain) -> &'static str {
    match domain {
        Domain::UNIX => "AF_UNIX",
        Domain::IPV4 => "AF_INET",
        _ => "AF_INET6",
    }
}

fn like_a_file(fd: &OwnedFd, notes: &mut Notes) -> Result<()> {
    notes.step("what it is to calls that take any file");
    let mode = SFlag::from_bits_truncate(fstat(fd)?.st_mode);
    let kind = match mode & SFlag::S_IFMT {
        SFlag::S_IFSOCK => "socket",
        SFlag::S_IFCHR => "character device",
        SFlag::S_IFIFO => "pipe",
        _ => "something else",
    };
    notes.saw("fstat says", kind);
    // These may fail: that is the point.
    let _ = notes.call("lseek(fd, 0, SEEK_CUR)", || lseek(fd, 0, Whence::SeekCur));
    let _ = notes.call("getsockopt(fd, SO_TYPE)", || {
        getsockopt(fd, sockopt::SockType).map(|kind| format!("{kind:?}"))
    });
    Ok(())
}

fn options(socket: &Socket, notes: &mut Notes) -> Result<()> {
    notes.step("options, before and after");
    let set = |on: nix::Result<bool>| on.map(i32::from);
    // The kernel keeps room for its own notes too, so it doubles what is asked for (socket(7)).
    notes.call("setsockopt(SO_RCVBUF, 10000)", || {
        socket.set_recv_buffer_size(10_000).map_err(errno)
    })?;
    notes.call("getsockopt(SO_RCVBUF)", || {
        socket.recv_buffer_size().map_err(errno)
    })?;
    notes.call("getsockopt(SO_REUSEADDR)", || {
        set(socket.reuse_address().map_err(errno))
    })?;
    notes.call("setsockopt(SO_REUSEADDR, 1)", || {
        socket.set_reuse_address(true).map_err(errno)
    })?;
    notes.call("getsockopt(SO_REUSEADDR)", || {
        set(socket.reuse_address().map_err(errno))
    })?;
    notes.call("setsockopt(SO_KEEPALIVE, 1)", || {
        socket.set_keepalive(true).map_err(errno)
    })?;
    notes.call("getsockopt(SO_KEEPALIVE)", || {
        set(socket.keepalive().map_err(errno))
    })?;
    // One of TCP, which others do not know.
    let _ = notes.call("setsockopt(TCP_NODELAY, 1)", || {
        socket.set_tcp_nodelay(true).map_err(errno)
    });
    let _ = notes.call("getsockopt(TCP_NODELAY)", || {
        set(socket.tcp_nodelay().map_err(errno))
    });
    Ok(())
}

/// Connections that may wait to be accepted: one more than listen(2) is told.
fn backlog(over: Over, listener: &Socket, notes: &mut Notes) -> Result<()> {
    notes.step("a backlog of one, and three clients that nobody accepts");
    let address = over.socket_address()?;
    notes.call("bind(listener)", || listener.bind(&address).map_err(errno))?;
    let listened = notes.call("listen(listener, 1)", || listener.listen(1).map_err(errno));
    if listened.is_err() {
        // Datagrams need no connection.
        return Ok(());
    }
    let address = listener.local_addr()?;
    let mut clients = Vec::new();
    for number in 1..=3 {
        let client = Socket::new(address.domain(), Type::STREAM, None)?;
        client.set_nonblocking(true)?;
        let _ = notes.call(format_args!("connect(client {number}), O_NONBLOCK"), || {
            client.connect(&address).map_err(errno)
        });
        clients.push(client);
    }
    for (number, client) in (1..).zip(&clients) {
        // The first two come to be connected in a moment; the third stays as it is.
        if number < 3 {
            until("a client is connected", || Ok(client.peer_addr().is_ok()))?;
        }
        let _ = notes.call(format_args!("getpeername(client {number})"), || {
            client.peer_addr().map(|_| ()).map_err(errno)
        });
    }
    if address.domain() != Domain::UNIX {
        notes.saw(
            "state of client 3 in /proc/net/tcp",
            tcp::state_of(&clients[2])?,
        );
    }
    Ok(())
}

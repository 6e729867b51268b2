// SPDX-License-Identifier: MIT

//! What the kernel says about TCP sockets of this machine, whosever they are: proc_net_tcp(5), a line each.

use crate::Result;
use kpipe::channel::Address;
use std::fs;
use std::os::fd::AsFd;

/// The kernel's number of a socket's state; 01 is established, 02: the SYN was sent.
pub fn state_of(socket: impl AsFd) -> Result<String> {
    let inode = nix::sys::stat::fstat(socket)?.st_ino.to_string();
    let found = sockets()?.into_iter().find(|socket| socket.inode == inode);
    Ok(found.map_or("not there".to_owned(), |socket| socket.state))
}

/// Connections to a server that wait to be accepted.
pub fn backlog(address: &Address) -> Result<u64> {
    let port = port_of(address);
    let is_it = |socket: &Socket| socket.local_port == port && socket.state == "0A";
    Ok(sockets()?
        .iter()
        .find(|socket| is_it(socket))
        .map_or(0, |socket| socket.queued))
}

/// Bytes in the receive queue of the server's socket for this client, which it has not read.
pub fn received(server: &Address, client_port: u16) -> Result<u64> {
    let port = port_of(server);
    let is_it = |socket: &Socket| socket.local_port == port && socket.peer_port == client_port;
    Ok(sockets()?
        .iter()
        .find(|socket| is_it(socket))
        .map_or(0, |socket| socket.queued))
}

struct Socket {
    local_port: u16,
    peer_port: u16,
    state: String,
    /// Bytes to be read; of a listening socket, connections to be accepted.
    queued: u64,
    inode: String,
}

fn sockets() -> Result<Vec<Socket>> {
    let mut sockets = Vec::new();
    for file in ["/proc/net/tcp", "/proc/net/tcp6"] {
        // Without IPv6 there is no second one.
        let text = fs::read_to_string(file).unwrap_or_default();
        sockets.extend(text.lines().filter_map(socket_of));
    }
    Ok(sockets)
}

fn socket_of(line: &str) -> Option<Socket> {
    let fields: Vec<_> = line.split_whitespace().collect();
    let port = |field: &str| u16::from_str_radix(field.split_once(':')?.1, 16).ok();
    Some(Socket {
        local_port: port(fields.get(1)?)?,
        peer_port: port(fields.get(2)?)?,
        state: fields.get(3)?.to_string(),
        queued: u64::from_str_radix(fields.get(4)?.split_once(':')?.1, 16).ok()?,
        inode: fields.get(9)?.to_string(),
    })
}

fn port_of(address: &Address) -> u16 {
    match address {
        Address::Tcp { port, .. } => port.parse().unwrap_or(0),
        _ => 0,
    }
}

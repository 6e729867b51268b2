// SPDX-License-Identifier: MIT

//! Channels of sockets: AF_UNIX and, over IPv4 and IPv6, TCP and UDP. The client's side, and what the
//! server's side in `listen.rs` needs too.

use super::duplex::Duplex;
use super::half::{Is, Partner};
use super::listen::{bound, listen};
use super::resolve::{resolve, Purpose};
use super::{Address, Channel, Error, Names, Options, Receiver, Result, Sender, UnixStyle};
use nix::errno::Errno;
use socket2::{SockAddr, Socket, Type};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

pub(super) fn connect(address: &Address, options: &Options) -> Result<Box<dyn Channel>> {
    first(address, Purpose::Connect, options, |candidate| {
        options.tell(|| format!("connecting to {}", show(candidate)));
        let channel = connect_to(address, candidate, options)?;
        options.tell(|| format!("connected: {}", channel.names()));
        Ok(channel)
    })
}

/// What `attempt` makes of the first candidate that can be had, or the last error.
pub(super) fn first<T>(
    address: &Address,
    purpose: Purpose,
    options: &Options,
    attempt: impl Fn(&SockAddr) -> Result<T>,
) -> Result<T> {
    let mut last = None;
    for candidate in candidates(address, purpose, options)? {
        match attempt(&candidate) {
            Ok(made) => return Ok(made),
            Err(error) => {
                options.tell(|| format!("{}: {error}", show(&candidate)));
                // Another one may be free, but clients would find who has this one.
                if purpose == Purpose::Listen && matches!(error, Error::InUse { .. }) {
                    return Err(error);
                }
                last = Some(error);
            }
        }
    }
    Err(last.expect("there is a candidate"))
}

fn connect_to(
    address: &Address,
    candidate: &SockAddr,
    options: &Options,
) -> Result<Box<dyn Channel>> {
    let socket = new_client(address, candidate, options)?;
    let connected = if candidate.is_unix() {
        connect_unix(&socket, candidate, options.connect_timeout)
    } else {
        socket.connect_timeout(candidate, options.connect_timeout)
    };
    match connected {
        Err(error) if error.kind() == io::ErrorKind::TimedOut => Err(Error::TimedOut {
            address: Box::new(address.clone()),
            seconds: options.connect_timeout.as_secs_f32(),
        }),
        result => result.map_err(Error::io(address, "connect")),
    }?;
    into_channel(socket, address).map_err(Error::io(address, "getsockname"))
}

/// A full backlog makes it wait, for as long as a write may (unix(7)).
fn connect_unix(socket: &Socket, name: &SockAddr, limit: Duration) -> io::Result<()> {
    // 0 would be for ever (SO_SNDTIMEO, socket(7)).
    socket.set_write_timeout(Some(limit.max(Duration::from_millis(1))))?;
    match socket.connect(name) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            return Err(io::ErrorKind::TimedOut.into())
        }
        result => result?,
    }
    socket.set_write_timeout(None)
}

/// See [`Address::begin_connect`].
pub(super) fn begin(address: &Address, options: &Options) -> Result<Box<dyn Channel>> {
    let candidates = candidates(address, Purpose::Connect, options)?;
    let candidate = candidates.first().expect("there is a candidate");
    let socket = new_client(address, candidate, options)?;
    socket
        .set_nonblocking(true)
        .map_err(Error::io(address, "fcntl"))?;
    match socket.connect(candidate) {
        Err(error) if error.raw_os_error() == Some(Errno::EINPROGRESS as i32) => {}
        result => result.map_err(Error::io(address, "connect"))?,
    }
    into_channel(socket, address).map_err(Error::io(address, "getsockname"))
}

/// A socket that can be answered.
fn new_client(address: &Address, candidate: &SockAddr, options: &Options) -> Result<Socket> {
    let socket = new_socket(address, candidate, options)?;
    if let Address::Unix {
        style: UnixStyle::Datagram,
        ..
    } = address
    {
        // The answer needs somewhere to go. Without a name the kernel chooses one (autobind, unix(7)).
        let unnamed = SockAddr::unix("").map_err(Error::io(address, "bind"))?;
        socket.bind(&unnamed).map_err(Error::io(address, "bind"))?;
    }
    Ok(socket)
}

/// A listener and a client of it, in one process.
pub(super) fn pair(
    address: &Address,
    options: &Options,
) -> Result<(Box<dyn Channel>, Box<dyn Channel>)> {
    if let Address::Unix {
        style: UnixStyle::Datagram,
        ..
    }
    | Address::Udp { .. } = address
    {
        // Both sides know each other, so the server's is connected too.
        let (server, _file) = bound(address, options)?;
        let local = server
            .local_addr()
            .map_err(Error::io(address, "getsockname"))?;
        let client = connect_to(address, &local, options)?;
        let peer = client_address(&*client).map_err(Error::io(address, "getsockname"))?;
        server
            .connect(&peer)
            .map_err(Error::io(address, "connect"))?;
        let server = into_channel(server, address).map_err(Error::io(address, "getsockname"))?;
        return Ok((client, server));
    }
    let mut listener = listen(address, options)?;
    let client = listener.address().connect(options)?;
    let server = listener
        .accept()?
        .expect("a connected client is in the backlog");
    Ok((client, server))
}

fn client_address(channel: &dyn Channel) -> io::Result<SockAddr> {
    socket2::SockRef::from(&channel.tx()).local_addr()
}

/// The socket addresses to try, in order.
fn candidates(address: &Address, purpose: Purpose, options: &Options) -> Result<Vec<SockAddr>> {
    let Address::Unix { path, .. } = address else {
        return Ok(resolve(address, purpose, options)?
            .into_iter()
            .map(SockAddr::from)
            .collect());
    };
    let mut name = path.as_os_str().as_bytes().to_vec();
    if is_abstract(path) {
        name[0] = 0;
    }
    let name = SockAddr::unix(Path::new(std::ffi::OsStr::from_bytes(&name)));
    Ok(vec![name.map_err(Error::io(address, "socket path"))?])
}

pub(super) fn is_abstract(path: &Path) -> bool {
    path.as_os_str().as_bytes().starts_with(b"@")
}

pub(super) fn new_socket(
    address: &Address,
    candidate: &SockAddr,
    options: &Options,
) -> Result<Socket> {
    let kind = match address {
        Address::Unix {
            style: UnixStyle::Seqpacket,
            ..
        } => Type::SEQPACKET,
        Address::Unix {
            style: UnixStyle::Datagram,
            ..
        }
        | Address::Udp { .. } => Type::DGRAM,
        _ => Type::STREAM,
    };
    let socket =
        Socket::new(candidate.domain(), kind, None).map_err(Error::io(address, "socket"))?;
    let is_tcp = matches!(address, Address::Tcp { .. });
    let mut set = Vec::new();
    if !candidate.is_unix() {
        // On a passive IPv6 socket IPv4 clients come as ::ffff:a.b.c.d (ipv6(7)).
        if candidate.is_ipv6() {
            socket
                .set_only_v6(false)
                .map_err(Error::io(address, "IPV6_V6ONLY"))?;
        }
        // Two sockets of UDP would both have the address, and one of them all datagrams.
        if options.reuse_address && is_tcp {
            socket
                .set_reuse_address(true)
                .map_err(Error::io(address, "SO_REUSEADDR"))?;
            set.push("SO_REUSEADDR");
        }
        if options.reuse_port {
            socket
                .set_reuse_port(true)
                .map_err(Error::io(address, "SO_REUSEPORT"))?;
            set.push("SO_REUSEPORT");
        }
    }
    set_connection_options(&socket, address, options)?;
    if is_tcp {
        set.extend(options.keep_alive.then_some("SO_KEEPALIVE"));
        set.extend(options.no_delay.then_some("TCP_NODELAY"));
    }
    options.tell(|| {
        let set = set.iter().map(|option| format!(" {option}"));
        let set = set.collect::<String>();
        format!("socket {:?} {kind:?}{set}", candidate.domain())
    });
    Ok(socket)
}

/// What belongs to a connection, at both ends. An accepted socket is set again: not every option is inherited.
pub(super) fn set_connection_options(
    socket: &Socket,
    address: &Address,
    options: &Options,
) -> Result<()> {
    if let Address::Tcp { .. } = address {
        socket
            .set_keepalive(options.keep_alive)
            .map_err(Error::io(address, "SO_KEEPALIVE"))?;
        socket
            .set_tcp_nodelay(options.no_delay)
            .map_err(Error::io(address, "TCP_NODELAY"))?;
    }
    Ok(())
}

pub(super) fn show(name: &SockAddr) -> String {
    if let Some(socket) = name.as_socket() {
        return socket.to_string();
    }
    match (name.as_pathname(), name.as_abstract_namespace()) {
        (Some(path), _) => path.display().to_string(),
        (None, Some(name)) => format!("@{}", String::from_utf8_lossy(name)),
        (None, None) => "unnamed".to_owned(),
    }
}

pub(super) fn names_of(socket: &Socket, address: &Address) -> io::Result<Names> {
    Ok(Names {
        protocol: match address {
            Address::Tcp { .. } => "tcp",
            Address::Udp { .. } => "udp",
            _ => "unix",
        },
        local: show(&socket.local_addr()?),
        // A server of datagrams has no peer.
        peer: socket
            .peer_addr()
            .map_or_else(|_| "anybody".to_owned(), |name| show(&name)),
    })
}

fn into_channel(socket: Socket, address: &Address) -> io::Result<Box<dyn Channel>> {
    let names = names_of(&socket, address)?;
    with_names(socket, names, address)
}

/// A connected socket, or a client's of datagrams, as a channel.
pub(super) fn with_names(
    socket: Socket,
    names: Names,
    address: &Address,
) -> io::Result<Box<dyn Channel>> {
    let rx = OwnedFd::from(socket.try_clone()?);
    let receiver = Receiver::new(rx, Is::Socket, Partner::Known);
    let sender = Sender::new(socket.into(), Is::Socket);
    Duplex::boxed(receiver, sender, names, address.carries())
}

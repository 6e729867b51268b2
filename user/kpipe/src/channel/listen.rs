// SPDX-License-Identifier: MIT

//! The server's side of sockets.

use super::datagram::Datagrams;
use super::resolve::Purpose;
use super::socket::{
    first, is_abstract, names_of, new_socket, set_connection_options, show, with_names,
};
use super::{Address, Channel, Error, Listener, Names, Options, Result};
use socket2::{Domain, SockAddr, Socket, Type};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

pub(super) fn listen(address: &Address, options: &Options) -> Result<Box<dyn Listener>> {
    let (socket, file) = bound(address, options)?;
    let local = socket
        .local_addr()
        .map_err(Error::io(address, "getsockname"))?;
    let address = with_port(address, &local);
    socket
        .set_nonblocking(true)
        .map_err(Error::io(&address, "fcntl"))?;
    if socket.r#type().map_err(Error::io(&address, "SO_TYPE"))? == Type::DGRAM {
        options.tell(|| format!("receiving at {}", show(&local)));
        return Ok(Box::new(Datagrams::new(address, socket, file)));
    }
    socket
        .listen(options.backlog.into())
        .map_err(Error::io(&address, "listen"))?;
    options.tell(|| format!("listening at {}, backlog {}", show(&local), options.backlog));
    Ok(Box::new(Streams {
        address,
        socket,
        _file: file,
        options: options.clone(),
    }))
}

/// One socket for each client.
#[derive(Debug)]
struct Streams {
    address: Address,
    // Dropped before the socket: as long as that answers, nobody else takes the name.
    _file: Option<SocketFile>,
    socket: Socket,
    options: Options,
}

impl Listener for Streams {
    fn accept(&mut self) -> Result<Option<Box<dyn Channel>>> {
        let (socket, peer) = match self.socket.accept() {
            Ok(accepted) => accepted,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::ConnectionAborted
                ) =>
            {
                return Ok(None)
            }
            Err(error) => return Err(Error::io(&self.address, "accept")(error)),
        };
        set_connection_options(&socket, &self.address, &self.options)?;
        // The peer as accept(2) names it: by now it may have gone, and then the socket has none.
        let names = names_of(&socket, &self.address).map(|names| Names {
            peer: show(&peer),
            ..names
        });
        let channel = names
            .and_then(|names| with_names(socket, names, &self.address))
            .map_err(Error::io(&self.address, "accept"))?;
        self.options
            .tell(|| format!("accepted: {}", channel.names()));
        Ok(Some(channel))
    }

    fn ready(&self) -> Option<BorrowedFd<'_>> {
        Some(self.socket.as_fd())
    }

    fn release(&mut self) -> Result<()> {
        Ok(())
    }

    fn address(&self) -> Address {
        self.address.clone()
    }
}

/// The file of a listening AF_UNIX socket; it is removed by the process that made it, not by its children.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    owner: u32,
    /// Device and inode: somebody else may put another file there later.
    identity: (u64, u64),
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            owner: std::process::id(),
            identity: identity(path)?,
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = identity(&self.path).is_ok_and(|identity| identity == self.identity);
        if is_ours && self.owner == std::process::id() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = std::fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// A socket with a name of its own, bound to the first candidate that can be had.
pub(super) fn bound(address: &Address, options: &Options) -> Result<(Socket, Option<SocketFile>)> {
    first(address, Purpose::Listen, options, |candidate| {
        bind(address, candidate, options)
    })
}

fn bind(
    address: &Address,
    candidate: &SockAddr,
    options: &Options,
) -> Result<(Socket, Option<SocketFile>)> {
    let socket = new_socket(address, candidate, options)?;
    let file = match address {
        Address::Unix { path, .. } if !is_abstract(path) => Some(path),
        _ => None,
    };
    if let Some(path) = file {
        let kind = socket.r#type().map_err(Error::io(address, "SO_TYPE"))?;
        remove_stale(path, candidate, kind);
    }
    socket.bind(candidate).map_err(Error::io(address, "bind"))?;
    // Without one, if somebody was so quick as to remove it.
    let file = file.and_then(|path| SocketFile::new(path).ok());
    Ok((socket, file))
}

/// A server that was killed leaves its file: nobody answers there.
fn remove_stale(path: &Path, name: &SockAddr, kind: Type) {
    let is_socket =
        std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    let answers = || {
        let socket = Socket::new(Domain::UNIX, kind, None)?;
        // One that answers may have a full backlog, which would be waited for.
        socket.set_nonblocking(true)?;
        socket.connect(name)
    };
    if is_socket && answers().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
        let _ = std::fs::remove_file(path);
    }
}

/// The address with the port that the kernel chose.
fn with_port(address: &Address, local: &SockAddr) -> Address {
    let mut address = address.clone();
    if let (Address::Tcp { port, .. } | Address::Udp { port, .. }, Some(socket)) =
        (&mut address, local.as_socket())
    {
        *port = socket.port().to_string();
    }
    address
}

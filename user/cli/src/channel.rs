// SPDX-License-Identifier: MIT

//! [`Channel`]: the ways from one process to another that `demo` and `bench` compare, each as a pair
//! of descriptors made before the fork, so that the processes are laid out alike on all of them.

use crate::failure::{Failure, Result};
use kpipe::{Control, Error, Queue, Wait};
use nix::fcntl::{fcntl, FcntlArg, OFlag};
use nix::unistd::pipe;
use serde::Serialize;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// A byte stream between two processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Channel {
    /// A queue of this module.
    #[serde(rename = "kpipe")]
    Kpipe,
    /// pipe(2).
    #[serde(rename = "pipe")]
    Pipe,
    /// A connected pair of AF_UNIX stream sockets.
    #[serde(rename = "unix")]
    Unix,
    /// A TCP connection over the loopback interface.
    #[serde(rename = "tcp")]
    Tcp,
}

/// A one-way stream.
pub struct Stream {
    /// Bytes go in here.
    pub tx: OwnedFd,
    /// And come out here.
    pub rx: OwnedFd,
}

/// One side of a two-way connection.
pub struct Side {
    /// Where this side sends.
    pub tx: OwnedFd,
    /// Where it receives; for a socket another descriptor of the same one.
    pub rx: OwnedFd,
}

impl Channel {
    /// All of them, the device first and the reference second.
    pub const ALL: [Self; 4] = [Self::Kpipe, Self::Pipe, Self::Unix, Self::Tcp];

    /// The name in tables.
    pub fn label(self) -> &'static str {
        match self {
            Self::Kpipe => "kpipe",
            Self::Pipe => "pipe(2)",
            Self::Unix => "AF_UNIX",
            Self::Tcp => "TCP",
        }
    }

    /// Opens a one-way stream. `queue` is used by [`Channel::Kpipe`].
    pub fn stream(self, queue: &Queue) -> Result<Stream> {
        match self {
            Self::Kpipe => open_queue(queue),
            Self::Pipe => {
                let (rx, tx) = pipe().map_err(Failure::io("pipe(2)"))?;
                Ok(Stream { tx, rx })
            }
            Self::Unix => {
                let (tx, rx) = UnixStream::pair().map_err(Failure::io("AF_UNIX"))?;
                Ok(Stream {
                    tx: tx.into(),
                    rx: rx.into(),
                })
            }
            Self::Tcp => {
                let (tx, rx) = tcp_pair()?;
                Ok(Stream {
                    tx: tx.into(),
                    rx: rx.into(),
                })
            }
        }
    }

    /// Opens a two-way connection: two one-way streams where there is no other way.
    pub fn duplex(self, queues: &[Queue; 2]) -> Result<(Side, Side)> {
        match self {
            Self::Kpipe | Self::Pipe => {
                let there = self.stream(&queues[0])?;
                let back = self.stream(&queues[1])?;
                Ok((
                    Side {
                        tx: there.tx,
                        rx: back.rx,
                    },
                    Side {
                        tx: back.tx,
                        rx: there.rx,
                    },
                ))
            }
            Self::Unix => {
                let (near, far) = UnixStream::pair().map_err(Failure::io("AF_UNIX"))?;
                Ok((Side::of_socket(near)?, Side::of_socket(far)?))
            }
            Self::Tcp => {
                let (near, far) = tcp_pair()?;
                // A lone byte would wait for more to come (Nagle's algorithm, tcp(7)).
                for socket in [&near, &far] {
                    socket
                        .set_nodelay(true)
                        .map_err(Failure::io("TCP_NODELAY"))?;
                }
                Ok((Side::of_socket(near)?, Side::of_socket(far)?))
            }
        }
    }
}

impl Side {
    fn of_socket(socket: impl Into<OwnedFd>) -> Result<Self> {
        let tx = socket.into();
        let rx = tx.try_clone().map_err(Failure::io("socket"))?;
        Ok(Self { tx, rx })
    }
}

/// Opens both ends of a queue in one process. The read end comes first and without waiting, since
/// nobody is there who could open the other; then both are made to block.
fn open_queue(queue: &Queue) -> Result<Stream> {
    let rx = queue.reader(Wait::Never)?;
    let tx = queue.writer(Wait::Block)?;
    block(&rx, queue)?;
    Ok(Stream {
        tx: tx.into(),
        rx: rx.into(),
    })
}

/// Takes `O_NONBLOCK` away from an open end.
pub fn block(end: impl AsFd, queue: &Queue) -> Result<()> {
    let cleared = fcntl(&end, FcntlArg::F_GETFL).and_then(|flags| {
        let flags = OFlag::from_bits_retain(flags) - OFlag::O_NONBLOCK;
        fcntl(&end, FcntlArg::F_SETFL(flags))
    });
    cleared.map(drop).map_err(Failure::io(queue))
}

/// Fails if somebody else has the queue open: their bytes and ours would mix. `option` is how the
/// user chooses another.
pub fn check_unused(queue: &Queue, option: &'static str) -> Result<()> {
    let info = match queue.monitor() {
        Ok(monitor) => monitor.info()?,
        // A FIFO cannot tell; the checks of what arrives would notice.
        Err(Error::NotAQueue { .. }) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if info.readers == 0 && info.writers == 0 {
        return Ok(());
    }
    Err(Failure::InUse {
        queue: queue.clone(),
        readers: info.readers.into(),
        writers: info.writers.into(),
        option,
    })
}

fn tcp_pair() -> Result<(TcpStream, TcpStream)> {
    let connect = || {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let near = TcpStream::connect(listener.local_addr()?)?;
        let (far, _) = listener.accept()?;
        Ok((near, far))
    };
    connect().map_err(Failure::io::<std::io::Error>(
        "TCP over 127.0.0.1 (is the loopback interface up? `ip link set lo up`)",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Read, Write};

    #[test]
    fn bytes_go_through_every_stream_until_end_of_file() {
        let nowhere = Queue::at("/nonexistent");
        for channel in [Channel::Pipe, Channel::Unix, Channel::Tcp] {
            let Stream { tx, rx } = channel.stream(&nowhere).unwrap();
            File::from(tx).write_all(b"there").unwrap();
            let mut text = String::new();
            File::from(rx).read_to_string(&mut text).unwrap();
            assert_eq!(text, "there", "{channel:?}");
        }
    }

    #[test]
    fn bytes_go_both_ways_through_every_duplex() {
        let nowhere = [Queue::at("/nonexistent"), Queue::at("/nonexistent")];
        for channel in [Channel::Pipe, Channel::Unix, Channel::Tcp] {
            let (near, far) = channel.duplex(&nowhere).unwrap();
            for (from, to) in [(near.tx, far.rx), (far.tx, near.rx)] {
                File::from(from).write_all(b"ab").unwrap();
                let mut text = [0; 2];
                File::from(to).read_exact(&mut text).unwrap();
                assert_eq!(text, *b"ab", "{channel:?}");
            }
        }
    }
}

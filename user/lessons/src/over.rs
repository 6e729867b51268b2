// SPDX-License-Identifier: MIT

//! [`Over`]: what a lesson is played on, so that one program shows the device and what it stands beside.

use crate::stage::errno;
use crate::{Notes, Result};
use kpipe::channel::{Address, Channel, Options};
use kpipe::PairOptions;
use kpipe_abi::uapi::{Info, Pair, MODE_PACKET, MODE_STREAM};
use nix::fcntl::{fcntl, open, FcntlArg, OFlag};
use nix::sys::socket::{socketpair, AddressFamily, SockFlag, SockType};
use nix::sys::stat::Mode;
use nix::unistd::pipe2;
use socket2::SockAddr;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::str::FromStr;

/// A client's side of a channel and its server's.
pub(crate) type Sides = (Box<dyn Channel>, Box<dyn Channel>);

/// What a lesson is played on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// Private queues of `/dev/kpipe`.
    Device,
    /// pipe(2).
    Pipe,
    /// A stream of AF_UNIX.
    Unix,
    /// TCP over IPv4, to this machine.
    Tcp,
    /// TCP over IPv6.
    Tcp6,
    /// UDP over IPv4.
    Udp,
}

const ALL: [Over; 6] = [
    Over::Device,
    Over::Pipe,
    Over::Unix,
    Over::Tcp,
    Over::Tcp6,
    Over::Udp,
];

impl Over {
    /// What one types.
    pub fn name(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Pipe => "pipe",
            Self::Unix => "unix",
            Self::Tcp => "tcp",
            Self::Tcp6 => "tcp6",
            Self::Udp => "udp",
        }
    }

    /// The same for a person.
    pub fn explained(self) -> &'static str {
        match self {
            Self::Device => "the device: private queues of /dev/kpipe",
            Self::Pipe => "pipes: pipe(2)",
            Self::Unix => "a stream socket of AF_UNIX",
            Self::Tcp => "TCP over IPv4",
            Self::Tcp6 => "TCP over IPv6",
            Self::Udp => "UDP over IPv4",
        }
    }

    /// Whether this machine has it; why not.
    ///
    /// # Errors
    /// The module is not loaded, or there is no IPv6.
    pub fn check(self) -> Result<()> {
        match self {
            Self::Device => drop(PairOptions::default().open()?),
            Self::Tcp6 => drop(self.address().listen(&Default::default())?),
            _ => {}
        }
        Ok(())
    }

    /// A queue: its read end and its write end, in this order, as pipe(2) has it.
    pub(crate) fn queue(self, notes: &mut Notes) -> Result<(OwnedFd, OwnedFd)> {
        match self {
            Self::Device => device_queue(MODE_STREAM, notes),
            Self::Pipe => Ok(notes.call("pipe2(O_CLOEXEC)", || pipe2(OFlag::O_CLOEXEC))?),
            Self::Unix => Ok(notes.call("socketpair(AF_UNIX, SOCK_STREAM)", || {
                let (stream, cloexec) = (SockType::Stream, SockFlag::SOCK_CLOEXEC);
                socketpair(AddressFamily::Unix, stream, None, cloexec)
            })?),
            Self::Tcp | Self::Tcp6 | Self::Udp => tcp_queue(notes),
        }
    }

    /// A channel: its client's side and its server's.
    pub(crate) fn channel(self, notes: &mut Notes) -> Result<Sides> {
        let (client, server) = self.address().pair(&Options::default())?;
        notes.saw("a channel", client.names());
        Ok((client, server))
    }

    /// Where a lesson's server listens.
    pub(crate) fn listen_address(self) -> String {
        match self {
            Self::Device => "kpipe:0,1".to_owned(),
            _ => self.address().to_string(),
        }
    }

    /// A queue of packets: what one write puts in, one read takes out.
    pub(crate) fn packet_queue(self, notes: &mut Notes) -> Result<(OwnedFd, OwnedFd)> {
        match self {
            Self::Device => device_queue(MODE_PACKET, notes),
            _ => {
                let flags = OFlag::O_CLOEXEC | OFlag::O_DIRECT;
                Ok(notes.call("pipe2(O_CLOEXEC | O_DIRECT)", || pipe2(flags))?)
            }
        }
    }

    /// Where a lesson's own socket is bound.
    pub(crate) fn socket_address(self) -> Result<SockAddr> {
        Ok(match self {
            Self::Tcp6 => SocketAddr::from((Ipv6Addr::LOCALHOST, 0)).into(),
            Self::Tcp | Self::Udp => SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into(),
            // In the abstract namespace, which its first byte says (unix(7)).
            _ => SockAddr::unix(format!("\0kpipe-lesson-{}", std::process::id()))?,
        })
    }

    /// A channel's address, of which both sides can be had at once.
    pub(crate) fn address(self) -> Address {
        let text = match self {
            Self::Device => "kpipe:new".to_owned(),
            Self::Pipe => "pipe:".to_owned(),
            // In the abstract namespace, so that no file is left, and nobody else's.
            Self::Unix => format!("unix:@kpipe-lesson-{}", std::process::id()),
            Self::Tcp => "tcp:127.0.0.1:0".to_owned(),
            Self::Tcp6 => "tcp:[::1]:0".to_owned(),
            Self::Udp => "udp:127.0.0.1:0".to_owned(),
        };
        text.parse().expect("an address of ours")
    }
}

fn device_queue(mode: u32, notes: &mut Notes) -> Result<(OwnedFd, OwnedFd)> {
    let flags = OFlag::O_ACCMODE | OFlag::O_CLOEXEC;
    let node = notes.call("open(/dev/kpipe, O_ACCMODE)", || {
        open("/dev/kpipe", flags, Mode::empty())
    })?;
    let wanted = Pair {
        flags: OFlag::O_CLOEXEC.bits() as u32,
        mode,
        ..Pair::default()
    };
    let what = match mode {
        MODE_PACKET => "ioctl(/dev/kpipe, KPIPE_IOC_PAIR, KPIPE_MODE_PACKET)",
        _ => "ioctl(/dev/kpipe, KPIPE_IOC_PAIR)",
    };
    Ok(notes.call(what, || {
        kpipe_abi::pair(&node, wanted).map(|(ends, _)| ends)
    })?)
}

/// One direction of a connection to this machine.
fn tcp_queue(notes: &mut Notes) -> Result<(OwnedFd, OwnedFd)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let tx = TcpStream::connect(address)?;
    notes
        .call("connect(tx), accept()", || {
            let (rx, _) = listener.accept().map_err(errno)?;
            Ok((rx.into(), tx.into()))
        })
        .map_err(Into::into)
}

/// How many bytes fit into a queue: asked of the driver, or of the pipe.
pub(crate) fn capacity_bytes(end: impl AsFd) -> Result<usize> {
    match info(&end) {
        Some(info) => Ok(info.capacity_bytes as usize),
        None => Ok(fcntl(end.as_fd(), FcntlArg::F_GETPIPE_SZ)? as usize),
    }
}

/// The driver's counters; nothing for a pipe, which has none.
pub(crate) fn info(end: impl AsFd) -> Option<Info> {
    kpipe_abi::info(end).ok()
}

impl FromStr for Over {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        ALL.into_iter()
            .find(|over| over.name() == text)
            .ok_or_else(|| format!("one of: {}", ALL.map(Self::name).join(", ")))
    }
}

impl fmt::Display for Over {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

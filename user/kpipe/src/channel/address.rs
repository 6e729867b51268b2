// SPDX-License-Identifier: MIT

//! [`Address`]: where a channel leads, as a person types it.

use super::{Carries, Error, Result};
use crate::Queue;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where a channel leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// Two queues with names, or FIFOs; the first goes to the server.
    Queues {
        /// What the client writes and the server reads.
        there: Queue,
        /// What the server writes and the client reads.
        back: Queue,
        /// `kpipe` or `fifo`: what the queues are.
        kind: QueueKind,
    },
    /// Two private queues of the device.
    NewQueues,
    /// Two pipes.
    Pipes,
    /// A socket of AF_UNIX.
    Unix {
        /// The socket's file; `@name` is in the abstract namespace (unix(7)).
        path: PathBuf,
        /// What it carries.
        style: UnixStyle,
    },
    /// TCP over IPv4 or IPv6.
    Tcp {
        /// Name or number.
        host: String,
        /// Name or number of the port (services(5)).
        port: String,
    },
    /// UDP over IPv4 or IPv6.
    Udp {
        /// Name or number.
        host: String,
        /// Name or number of the port.
        port: String,
    },
}

/// What queues with names are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueKind {
    /// Of the device.
    Kpipe,
    /// FIFOs (fifo(7)).
    Fifo,
}

/// The kinds of AF_UNIX sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnixStyle {
    /// A stream of bytes.
    Stream,
    /// Messages over a connection.
    Seqpacket,
    /// Messages without one.
    Datagram,
}

/// All forms, for messages and help.
pub const FORMS: &str = "kpipe:0,1  kpipe:new  pipe:  fifo:/path,/path  unix:/path  \
    unix-seqpacket:/path  unix-dgram:/path  tcp:host:port  udp:host:port  ([v6]:port for IPv6)";

impl Address {
    /// What goes through such a channel.
    pub fn carries(&self) -> Carries {
        match self {
            Self::Unix { style, .. } if *style != UnixStyle::Stream => Carries::Messages,
            Self::Udp { .. } => Carries::Messages,
            _ => Carries::Bytes,
        }
    }
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = |why: &'static str| Error::Syntax {
            text: text.to_owned(),
            why,
        };
        let (kind, rest) = text
            .split_once(':')
            .ok_or_else(|| wrong("no kind before a colon"))?;
        let unix = |style| {
            if rest.is_empty() || rest == "@" {
                return Err(wrong("no path"));
            }
            let path = PathBuf::from(rest);
            Ok(Self::Unix { path, style })
        };
        match kind {
            "kpipe" if rest == "new" => Ok(Self::NewQueues),
            "kpipe" | "fifo" => {
                let (there, back) = rest
                    .split_once(',')
                    .filter(|(there, back)| {
                        !there.is_empty() && !back.is_empty() && !back.contains(',')
                    })
                    .ok_or_else(|| {
                        wrong("two queues are needed, one each way, with a comma between them")
                    })?;
                let (queue, kind): (fn(&str) -> Queue, _) = match kind {
                    "kpipe" => (
                        |name| name.parse().unwrap_or_else(|never| match never {}),
                        QueueKind::Kpipe,
                    ),
                    _ => (|path| Queue::at(path), QueueKind::Fifo),
                };
                let (there, back) = (queue(there), queue(back));
                if there == back {
                    return Err(wrong(
                        "both ways through one queue: each side would read what it wrote itself",
                    ));
                }
                Ok(Self::Queues { there, back, kind })
            }
            "pipe" if rest.is_empty() => Ok(Self::Pipes),
            "pipe" => Err(wrong("pipes have no names, so nothing follows the colon")),
            "unix" => unix(UnixStyle::Stream),
            "unix-seqpacket" => unix(UnixStyle::Seqpacket),
            "unix-dgram" => unix(UnixStyle::Datagram),
            "tcp" | "udp" => {
                let (host, port) = host_and_port(rest).map_err(wrong)?;
                Ok(if kind == "tcp" {
                    Self::Tcp { host, port }
                } else {
                    Self::Udp { host, port }
                })
            }
            _ => Err(wrong("unknown kind of channel")),
        }
    }
}

/// `host:port` or `[v6]:port`. An empty host is for listening: all addresses of the machine.
fn host_and_port(text: &str) -> std::result::Result<(String, String), &'static str> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => rest
            .split_once("]:")
            .ok_or("no ]: after the IPv6 address")?,
        None => text.rsplit_once(':').ok_or("no port; host:port")?,
    };
    if !text.starts_with('[') && host.contains(':') {
        return Err("an IPv6 address stands in brackets: [::1]:port");
    }
    if port.is_empty() {
        return Err("no port after the colon");
    }
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
    if is_number && port.parse::<u16>().is_err() {
        return Err("a port is at most 65535");
    }
    let is_name = port
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphabetic())
        && port
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if !is_number && !is_name {
        return Err("a port is a number, or a name of /etc/services");
    }
    Ok((host.to_owned(), port.to_owned()))
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queues { there, back, kind } => {
                let kind = match kind {
                    QueueKind::Kpipe => "kpipe",
                    QueueKind::Fifo => "fifo",
                };
                write!(f, "{kind}:{there},{back}")
            }
            Self::NewQueues => f.write_str("kpipe:new"),
            Self::Pipes => f.write_str("pipe:"),
            Self::Unix { path, style } => {
                let style = match style {
                    UnixStyle::Stream => "unix",
                    UnixStyle::Seqpacket => "unix-seqpacket",
                    UnixStyle::Datagram => "unix-dgram",
                };
                write!(f, "{style}:{}", path.display())
            }
            Self::Tcp { host, port } => write!(f, "tcp:{}:{port}", bracketed(host)),
            Self::Udp { host, port } => write!(f, "udp:{}:{port}", bracketed(host)),
        }
    }
}

fn bracketed(host: &str) -> String {
    if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_printed_alike() {
        for text in [
            "kpipe:/dev/kpipe0,/dev/kpipe1",
            "kpipe:new",
            "pipe:",
            "fifo:/tmp/a,/tmp/b",
            "unix:/tmp/s",
            "unix:@name",
            "unix-seqpacket:/tmp/s",
            "unix-dgram:/tmp/s",
            "tcp:localhost:http",
            "tcp::0",
            "tcp:[::1]:65535",
            "udp:127.0.0.1:53",
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        let short: Address = "kpipe:0,kpipe1".parse().unwrap();
        assert_eq!(short.to_string(), "kpipe:/dev/kpipe0,/dev/kpipe1");
    }

    #[test]
    fn every_malformed_form_is_refused_with_its_text_and_the_forms() {
        for text in [
            "",
            "kpipe",
            "kpipe:",
            "kpipe:0",
            "kpipe:0,",
            "kpipe:,1",
            "kpipe:0,0",
            "kpipe:0,1,2",
            "kpipe:0,kpipe0",
            "pipe",
            "pipe:x",
            "fifo:",
            "fifo:/a",
            "fifo:/a,/a",
            "unix:",
            "unix:@",
            "unix-seqpacket:",
            "unix-dgram:",
            "tcp:",
            "tcp:host",
            "tcp:host:",
            "tcp:host:65536",
            "tcp:host:8 0",
            "tcp:::1:80",
            "tcp:[::1]80",
            "tcp:[::1:80",
            "udp:host:-1",
            "http://x",
            "icmp:x",
        ] {
            let said = text.parse::<Address>().expect_err(text).to_string();
            assert!(
                said.contains(&format!("{text:?}")) && said.contains("unix-seqpacket:/path"),
                "{said}"
            );
        }
    }
}

// SPDX-License-Identifier: MIT

//! From a host's and a port's name to socket addresses: getaddrinfo(3), and each step told.

use super::{Address, Error, Options, Result};
use dns_lookup::{getaddrinfo, AddrInfoHints};
use nix::libc::{AI_PASSIVE, SOCK_DGRAM, SOCK_STREAM};
use std::net::SocketAddr;

/// What the address is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// An address of somebody else.
    Connect,
    /// One of this machine's (`AI_PASSIVE`); without a host all of them.
    Listen,
}

/// All candidates, in the order in which they shall be tried (RFC 6724).
pub(super) fn resolve(
    address: &Address,
    purpose: Purpose,
    options: &Options,
) -> Result<Vec<SocketAddr>> {
    let (host, port, socktype) = match address {
        Address::Tcp { host, port } => (host, port, SOCK_STREAM),
        Address::Udp { host, port } => (host, port, SOCK_DGRAM),
        other => unreachable!("{other} has no host"),
    };
    let hints = AddrInfoHints {
        socktype,
        flags: if purpose == Purpose::Listen {
            AI_PASSIVE
        } else {
            0
        },
        ..AddrInfoHints::default()
    };
    let unknown = |why: String| Error::Resolve {
        address: Box::new(address.clone()),
        why,
    };
    // glibc gives "Servname not supported" for an empty host, and asks the resolver for one with blanks.
    let host = Some(host.as_str()).filter(|host| !host.is_empty());
    let answers = getaddrinfo(host, Some(port), Some(hints)).map_err(|error| {
        unknown(match error.kind() {
            dns_lookup::LookupErrorKind::System => std::io::Error::from(error).to_string(),
            kind => format!("{} (getaddrinfo: {kind:?})", std::io::Error::from(error)),
        })
    })?;
    let mut candidates = Vec::new();
    for answer in answers {
        let candidate = answer.map_err(Error::io(address, "getaddrinfo"))?.sockaddr;
        if !candidates.contains(&candidate) {
            candidates.push(candidate);
        }
    }
    if candidates.is_empty() {
        return Err(unknown("no address".to_owned()));
    }
    if host.is_none() && purpose == Purpose::Listen {
        // `::` is for clients of IPv4 too (ipv6(7)), and 0.0.0.0 only for these.
        candidates.sort_by_key(SocketAddr::is_ipv4);
    }
    options.tell(|| {
        let list: Vec<_> = candidates.iter().map(ToString::to_string).collect();
        format!("{address} is {}", list.join(", "))
    });
    Ok(candidates)
}

// SPDX-License-Identifier: MIT

//! Row 15: names. getaddrinfo(3) makes a list of socket addresses from a host's and a port's name; a program
//! tries them in order. Ports: the well-known ones need a privilege, ephemeral ones are chosen by the kernel
//! for who asks for port 0, and each protocol has ports of its own.

use crate::over::Over;
use crate::stage::{errno, Fork};
use crate::{Notes, Result};
use dns_lookup::{getaddrinfo, AddrInfoHints};
use nix::libc::{AI_NUMERICHOST, AI_PASSIVE};
use nix::unistd::{setresuid, Uid};
use socket2::{Domain, SockAddr, Socket, Type};
use std::net::{Ipv4Addr, SocketAddr};

pub fn play(over: Over, notes: &mut Notes) -> Result<()> {
    let kind = if over == Over::Udp {
        Type::DGRAM
    } else {
        Type::STREAM
    };
    from_names_to_addresses(kind, notes);
    a_well_known_port(kind, notes)?;
    an_ephemeral_port(kind, notes)
}

fn from_names_to_addresses(kind: Type, notes: &mut Notes) {
    notes.step("getaddrinfo: from names to addresses");
    let mut look_up = |host: Option<&str>, port, flags, said: &str| {
        let hints = AddrInfoHints {
            socktype: kind.into(),
            flags,
            ..AddrInfoHints::default()
        };
        let candidates = match getaddrinfo(host, Some(port), Some(hints)) {
            Ok(all) => {
                let all = all.filter_map(|one| Some(one.ok()?.sockaddr.to_string()));
                all.collect::<Vec<_>>().join(", ")
            }
            Err(error) => format!("{:?}", error.kind()),
        };
        notes.saw(
            format_args!("getaddrinfo({}, {port}{said})", host.unwrap_or("NULL")),
            candidates,
        );
    };
    look_up(Some("localhost"), "7", 0, "");
    // To connect to oneself, and to listen at all addresses.
    look_up(None, "7", 0, "");
    look_up(None, "7", AI_PASSIVE, ", AI_PASSIVE");
    // A name where only numbers are taken: refused without asking anybody.
    look_up(Some("127.0.0.1"), "7", AI_NUMERICHOST, ", AI_NUMERICHOST");
    look_up(Some("localhost"), "7", AI_NUMERICHOST, ", AI_NUMERICHOST");
}

fn a_well_known_port(kind: Type, notes: &mut Notes) -> Result<()> {
    notes.step("a well-known port, asked for by an ordinary user");
    let first = setting("ip_unprivileged_port_start")?;
    notes.saw("the first port that needs no privilege", &first);
    let user = match notes.fork("user")? {
        Fork::Child(me) => me.play(|me| {
            let nobody = Uid::from_raw(65534);
            let _ = me.call("setresuid(65534)", || setresuid(nobody, nobody, nobody));
            let socket = Socket::new(Domain::IPV4, kind, None)?;
            let _ = me.call("bind(port 7)", || socket.bind(&local(7)).map_err(errno));
            Ok(())
        }),
        Fork::Parent(user) => user,
    };
    user.end(notes)
}

fn an_ephemeral_port(kind: Type, notes: &mut Notes) -> Result<()> {
    notes.step("port 0: the kernel chooses one");
    let one = Socket::new(Domain::IPV4, kind, None)?;
    notes.call("bind(one, port 0)", || one.bind(&local(0)).map_err(errno))?;
    let port = one
        .local_addr()?
        .as_socket()
        .map_or(0, |address| address.port());
    notes.saw("getsockname(one): port", port);
    let range = setting("ip_local_port_range")?;
    let bounds: Vec<u16> = range
        .split_whitespace()
        .filter_map(|port| port.parse().ok())
        .collect();
    notes.saw("the kernel chooses from", &range);
    notes.saw(
        "the port is one of them",
        bounds.len() == 2 && (bounds[0]..=bounds[1]).contains(&port),
    );

    let two = Socket::new(Domain::IPV4, kind, None)?;
    let _ = notes.call("bind(two, the same port)", || {
        two.bind(&local(port)).map_err(errno)
    });
    let other = if kind == Type::STREAM {
        Type::DGRAM
    } else {
        Type::STREAM
    };
    let three = Socket::new(Domain::IPV4, other, None)?;
    // Another protocol, so another port of the same number; it is free unless somebody has just taken it.
    let _ = notes.call("bind(the other protocol, the same port)", || {
        three.bind(&local(port)).map_err(errno)
    });
    Ok(())
}

fn local(port: u16) -> SockAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into()
}

/// A setting of the kernel: ip_sysctl in its documentation.
fn setting(name: &str) -> Result<String> {
    let text = std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}"))?;
    Ok(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

// SPDX-License-Identifier: MIT

//! Row 16: accept(2) makes a socket for each client; the listening one stays as it is. What tells TCP connections
//! apart is the 5-tuple: protocol, both addresses, both ports. A client over AF_UNIX has no name: there the
//! sockets themselves know each other. Two queues with names know no connections: they take one client.

use crate::over::Over;
use crate::stage::{errno, Call, Fork};
use crate::{Notes, Result};
use kpipe::channel::{Address, Options};
use socket2::{SockAddr, Socket, Type};
use std::time::Duration;

pub fn play(over: Over, notes: &mut Notes) -> Result<()> {
    match over {
        Over::Device => one_client_of_two_queues(notes),
        _ => two_clients_of_one_server(over, notes),
    }
}

fn two_clients_of_one_server(over: Over, notes: &mut Notes) -> Result<()> {
    notes.step("two clients of one server");
    let address = over.socket_address()?;
    let listener = Socket::new(address.domain(), Type::STREAM, None)?;
    notes.call("bind(listener)", || listener.bind(&address).map_err(errno))?;
    notes.call("listen(listener, 8)", || listener.listen(8).map_err(errno))?;
    let address = listener.local_addr()?;
    notes.saw("listening at", name_of(&address));
    let mut server = match notes.fork("server")? {
        Fork::Child(me) => me.play(|me| {
            let a = accept(me, &listener)?;
            let b = accept(me, &listener)?;
            for (name, socket) in [("listener", &listener), ("for a", &a), ("for b", &b)] {
                me.call(format_args!("getsockopt({name}, SO_ACCEPTCONN)"), || {
                    socket.is_listener().map(i32::from).map_err(errno)
                })?;
            }
            me.await_cue()?;
            // Each has its own queues, so the order of the clients does not matter.
            me.read("for b", &b, 64)?;
            me.read("for a", &a, 64)?;
            Ok(())
        }),
        Fork::Parent(server) => server,
    };
    let mut connect = |name: &str| -> Result<Socket> {
        server.until_asleep_in(Call::ACCEPT, notes)?;
        let client = Socket::new(address.domain(), Type::STREAM, None)?;
        notes.call(format_args!("connect({name})"), || {
            client.connect(&address).map_err(errno)
        })?;
        notes.saw(format_args!("{name} is"), tuple_of(&client)?);
        server.hear(notes)?;
        server.hear(notes)?;
        Ok(client)
    };
    let a = connect("a")?;
    let b = connect("b")?;
    notes.write("a", &a, b"I am a")?;
    notes.write("b", &b, b"I am b")?;
    server.cue()?;
    server.end(notes)
}

fn accept(me: &mut Notes, listener: &Socket) -> Result<Socket> {
    let mut accepted = None;
    me.call("accept(listener)", || {
        accepted = Some(listener.accept().map_err(errno)?.0);
        Ok("a new socket".to_owned())
    })?;
    let accepted = accepted.expect("the call above succeeded");
    me.saw("the new socket is", tuple_of(&accepted)?);
    Ok(accepted)
}

/// Both names of a socket: getsockname(2), getpeername(2).
fn tuple_of(socket: &Socket) -> Result<String> {
    let (local, peer) = (socket.local_addr()?, socket.peer_addr()?);
    Ok(format!("{} to {}", name_of(&local), name_of(&peer)))
}

fn name_of(address: &SockAddr) -> String {
    match (address.as_socket(), address.as_abstract_namespace()) {
        (Some(address), _) => address.to_string(),
        (None, Some(name)) => format!("@{}", String::from_utf8_lossy(name)),
        (None, None) => "unnamed".to_owned(),
    }
}

fn one_client_of_two_queues(notes: &mut Notes) -> Result<()> {
    notes.step("two queues with names, and two clients");
    let address: Address = "kpipe:0,1".parse()?;
    // A second client is refused after this time.
    let options = Options {
        connect_timeout: Duration::from_millis(50),
        ..Options::default()
    };
    let mut listener = address.listen(&options)?;
    let a = address.connect(&options)?;
    notes.saw("a is", a.names());
    let server = listener.accept()?.expect("a has opened the queues");
    notes.saw("the server's side is", server.names());
    notes.write("a", a.tx(), b"I am a")?;
    notes.read("for a", server.rx(), 64)?;
    match address.connect(&options) {
        Ok(b) => notes.saw("b is", b.names()),
        Err(error) => notes.saw("b is refused", error),
    }
    drop((a, server));
    listener.release()?;
    let b = address.connect(&options)?;
    notes.saw("after a, b is", b.names());
    let server = listener.accept()?.expect("b has opened the queues");
    notes.write("b", b.tx(), b"I am b")?;
    notes.read("for b", server.rx(), 64)?;
    Ok(())
}

// SPDX-License-Identifier: MIT

//! Row 13: a connection is two bounded queues, one each way. One may be full while the other is empty, and one may
//! have ended while the other goes on.

use crate::stage::{Call, Fork};
use crate::{Notes, Over, Result};
use nix::sys::signal::Signal;

/// More than any queue of this lesson holds.
const MUCH_BYTES: usize = 16 << 20;

pub fn play(over: Over, notes: &mut Notes) -> Result<()> {
    one_way_is_full(over, notes)?;
    one_way_has_ended(over, notes)
}

fn one_way_is_full(over: Over, notes: &mut Notes) -> Result<()> {
    notes.step("one way is full, the other carries");
    let (client, server) = over.channel(notes)?;
    let writer = match notes.fork("writer")? {
        Fork::Child(me) => me.play(|me| {
            me.write("client", client.tx(), &vec![0; MUCH_BYTES])?;
            Ok(())
        }),
        Fork::Parent(writer) => writer,
    };
    writer.until_asleep_in(Call::WRITE, notes)?;
    notes.call("ioctl(client, FIONREAD)", || {
        kpipe_abi::queued_bytes(client.rx())
    })?;
    notes.write("server", server.tx(), b"the other way")?;
    notes.read("client", client.rx(), 64)?;
    // Nobody has read what it waits for.
    writer.until_asleep_in(Call::WRITE, notes)?;
    writer.signal(Signal::SIGTERM, notes)?;
    writer.end(notes)
}

fn one_way_has_ended(over: Over, notes: &mut Notes) -> Result<()> {
    notes.step("the client has said all, and still hears");
    let (client, server) = over.channel(notes)?;
    let (receiver, sender) = client.split()?;
    notes.write("client", &sender, b"what is the time?")?;
    // shutdown(SHUT_WR) of a socket, close(2) of a queue's write end.
    sender.finish()?;
    notes.read("server", server.rx(), 64)?;
    notes.read("server", server.rx(), 64)?;
    notes.write("server", server.tx(), b"late")?;
    notes.read("client", &receiver, 64)?;
    drop(server);
    notes.read("client", &receiver, 64)?;
    Ok(())
}

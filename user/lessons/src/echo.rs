// SPDX-License-Identifier: MIT

//! Row 17: an echo server and its client. What is written to a stream may come in pieces, so a client that
//! knows how much it awaits reads until it has that much; of messages, each read takes one, and what does
//! not fit into the buffer is lost.

use crate::stage::{Call, Fork};
use crate::{Notes, Over, Result};
use kpipe::channel::Carries;

/// What the client says.
const MESSAGE: &[u8] = b"hello world";
/// The server's buffer, too small on purpose.
const BUFFER_BYTES: usize = 4;

pub fn play(over: Over, notes: &mut Notes) -> Result<()> {
    notes.step("eleven bytes, and a server with a buffer of four");
    let (client, server) = over.channel(notes)?;
    let carries = client.carries();
    notes.saw("the channel carries", format_args!("{carries:?}"));
    let mut server_part = match notes.fork("server")? {
        Fork::Child(me) => me.play(|me| {
            drop(client);
            loop {
                let bytes = me.read("server", server.rx(), BUFFER_BYTES)?;
                if bytes.is_empty() {
                    // End of file: only this says that no more will come.
                    return Ok(());
                }
                me.write("server", server.tx(), &bytes)?;
            }
        }),
        Fork::Parent(part) => part,
    };
    drop(server);
    server_part.until_asleep_in(Call::READ, notes)?;
    notes.write("client", client.tx(), MESSAGE)?;
    let mut answer = Vec::new();
    while answer.len() < MESSAGE.len() {
        let room = BUFFER_BYTES.min(MESSAGE.len() - answer.len());
        answer.extend(notes.read("client", client.rx(), room)?);
        if carries == Carries::Messages {
            // The rest of the message is nowhere, so there is nothing to wait for.
            break;
        }
    }
    notes.saw("the whole answer", String::from_utf8_lossy(&answer));
    for _ in 0..2 * answer.len().div_ceil(BUFFER_BYTES) {
        server_part.hear(notes)?;
    }
    server_part.until_asleep_in(Call::READ, notes)?;
    if carries == Carries::Bytes {
        drop(client);
        return server_part.end(notes);
    }
    // Without connections nobody is told that the client is gone.
    drop(client);
    server_part.until_asleep_in(Call::READ, notes)
}

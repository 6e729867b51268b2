// SPDX-License-Identifier: MIT

//! Row 18: the same server, five ways to run its handlers. What tells them apart: what a client that says nothing
//! does to the next one, how many processes and threads there are, and what is left when a handler crashes.
//! `kpipe compare servers` has the numbers, with up to 10,000 connections. Over two queues, which take one client
//! at a time, all five are alike.

use crate::over::Over;
use crate::stage::{tcp, until, Call, Server, THREADS};
use crate::{Notes, Result};
use kpipe::channel::Channel;
use nix::sys::signal::Signal;

/// The versions of the lecture, as `kpipe serve --model` has them.
const MODELS: [&str; 5] = ["sequential", "fork-wait", "fork", "thread", "pool"];

pub fn play(over: Over, notes: &mut Notes) -> Result<()> {
    for (model, version) in MODELS.iter().zip(1..) {
        notes.step(&format!("v{version}: kpipe serve echo --model {model}"));
        let listen = over.listen_address();
        let server = notes.serve(&[
            "echo",
            "--listen",
            &listen,
            "--model",
            model,
            "--workers",
            "2",
            "--crash-on",
            "die",
        ])?;
        match over {
            Over::Device => a_second_client_of_queues(&server, notes)?,
            _ => {
                a_client_that_stalls(&server, notes)?;
                a_handler_that_crashes(&server, notes)?;
            }
        }
        let _ = server.signal(Signal::SIGTERM, notes);
        server.end(notes)?;
    }
    Ok(())
}

fn a_client_that_stalls(server: &Server, notes: &mut Notes) -> Result<()> {
    let mut one = server.connect()?;
    say("client 1", &mut *one, b"one", notes)?;
    // From here on it says nothing.
    let two = server.connect()?;
    notes.write("client 2", two.tx(), b"two")?;
    // Either it is answered, or it stays in the backlog while the server sleeps.
    until("it is clear what becomes of client 2", || {
        let is_left = tcp::backlog(server.address())? > 0 && server.is_asleep_in(Call::POLL)?;
        Ok(is_left || kpipe_abi::queued_bytes(two.rx())? > 0)
    })?;
    let left = tcp::backlog(server.address())?;
    notes.saw("clients in the backlog that nobody has accepted", left);
    notes.saw("threads of the server", server.counter(THREADS)?);
    notes.saw("processes that it has started", server.children()?);
    notes.call("close(client 1)", || {
        drop(one);
        Ok(())
    })?;
    notes.read("client 2", two.rx(), 64)?;
    drop(two);
    // Who has ended is still in the table of processes until the server asks how it ended.
    until("the server has collected its children", || {
        Ok(server.children()? == 0)
    })
}

fn a_handler_that_crashes(server: &Server, notes: &mut Notes) -> Result<()> {
    let three = server.connect()?;
    notes.write("client 3", three.tx(), b"die")?;
    let _ = notes.read("client 3", three.rx(), 64);
    until("the server has ended, or goes on", || {
        let goes_on = server.children()? == 0 && server.is_asleep_in(Call::POLL)?;
        Ok(server.has_ended()? || goes_on)
    })?;
    notes.saw("the server has ended", server.has_ended()?);
    match server.connect() {
        Ok(mut four) => say("client 4", &mut *four, b"four", notes)?,
        Err(error) => notes.saw("client 4 is refused", error),
    }
    Ok(())
}

fn a_second_client_of_queues(server: &Server, notes: &mut Notes) -> Result<()> {
    let mut one = server.connect()?;
    say("client 1", &mut *one, b"one", notes)?;
    match server.connect() {
        Ok(mut two) => say("client 2", &mut *two, b"two", notes)?,
        Err(error) => notes.saw("client 2 is refused", error),
    }
    Ok(())
}

fn say(name: &str, client: &mut dyn Channel, bytes: &[u8], notes: &mut Notes) -> Result<()> {
    notes.write(name, client.tx(), bytes)?;
    notes.receive(name, client, 64)?;
    Ok(())
}

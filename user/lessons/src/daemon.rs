// SPDX-License-Identifier: MIT

//! Row 22: a daemon: a server that goes on when its terminal is gone (daemon(7)). It has no terminal and
//! leads no session, stands in the folder `/`, is found by its pid file, talks to a log file, opens
//! that again on SIGHUP, and on SIGTERM ends with nothing left behind.

use crate::over::Over;
use crate::stage::until;
use crate::{Notes, Result};
use nix::sys::signal::Signal;
use nix::unistd::{getsid, Pid};
use std::fs;
use std::path::Path;

pub fn play(over: Over, notes: &mut Notes) -> Result<()> {
    let folder = std::env::temp_dir().join(format!("kpipe-lesson-{}", std::process::id()));
    fs::create_dir(&folder)?;
    let result = a_life(over, &folder, notes);
    fs::remove_dir_all(&folder)?;
    result
}

fn a_life(over: Over, folder: &Path, notes: &mut Notes) -> Result<()> {
    notes.step("kpipe serve echo --daemon: whoever starts it goes on when it is ready");
    let (pid_file, log) = (folder.join("pid"), folder.join("log"));
    let server = notes.serve_detached(&over.listen_address(), &pid_file, &log)?;

    notes.step("what a daemon is");
    let status = process_status(server.pid())?;
    notes.saw_of("server", "has a terminal", status.terminal != 0);
    notes.saw_of(
        "server",
        "is in our session",
        status.session == getsid(None)?.as_raw(),
    );
    notes.saw_of(
        "server",
        "leads its session",
        status.session == server.pid().as_raw(),
    );
    for name in ["cwd", "fd/0", "fd/1"] {
        let place = fs::read_link(format!("/proc/{}/{name}", server.pid()))?;
        notes.saw_of("server", name, place.display());
    }
    let stderr = fs::read_link(format!("/proc/{}/fd/2", server.pid()))?;
    notes.saw_of("server", "fd/2 is the log file", stderr == log);

    notes.step("it serves");
    let mut client = server.connect()?;
    notes.write("client", client.tx(), b"hello")?;
    notes.receive("client", &mut *client, 64)?;

    notes.step("the log file is taken away, and SIGHUP");
    fs::rename(&log, folder.join("log.1"))?;
    server.signal(Signal::SIGHUP, notes)?;
    until("it has told of the reload", || {
        Ok(fs::read_to_string(&log).is_ok_and(|text| text.contains("reloaded")))
    })?;
    notes.saw("there is a new log file", log.exists());
    notes.write("client", client.tx(), b"still there?")?;
    notes.receive("client", &mut *client, 64)?;

    notes.step("SIGTERM: it ends with whom it serves, then itself");
    server.signal(Signal::SIGTERM, notes)?;
    // A client that asks for nothing more.
    notes.receive("client", &mut *client, 64)?;
    drop(client);
    until("its process is gone", || Ok(!is_alive(server.pid())))?;
    notes.saw("there is a pid file", pid_file.exists());
    match server.connect() {
        Ok(client) => notes.saw("somebody listens", client.names()),
        Err(error) => notes.saw("a client is refused", error),
    }
    Ok(())
}

/// A line of proc_pid_stat(5), as far as this lesson needs it.
struct Status {
    state: char,
    session: i32,
    terminal: i32,
}

fn process_status(pid: Pid) -> Result<Status> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is the program's name, in parentheses and with whatever it contains.
    let fields: Vec<_> = text
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let number = |at: usize| {
        fields
            .get(at)
            .and_then(|field| field.parse().ok())
            .unwrap_or(-1)
    };
    Ok(Status {
        state: fields
            .first()
            .and_then(|state| state.chars().next())
            .unwrap_or('?'),
        session: number(3),
        terminal: number(4),
    })
}

/// Not gone, and no zombie that process 1 has not asked about yet.
fn is_alive(pid: Pid) -> bool {
    process_status(pid).is_ok_and(|status| status.state != 'Z')
}

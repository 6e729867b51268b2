// SPDX-License-Identifier: MIT

//! v2 and v3: a process for each client. Whatever a handler does to its memory, it does to a copy: a crash
//! ends one connection.
//!
//! v2 waits for the process, so it isolates clients and still serves one at a time. v3 does not wait; but a
//! process that has ended stays in the table of processes until its parent has asked how (wait(2)), so it
//! asks when `SIGCHLD` says that some have ended: the signal comes once for any number of them. If the parent itself
//! is killed, nobody is left to ask, or to tell them to stop; so the kernel does (`PR_SET_PDEATHSIG`).

use crate::server::{Error, Result, Server, Wanted};
use crate::sys::fork_single_threaded;
use kpipe::channel::{Channel, Names};
use nix::errno::Errno;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{kill, raise, Signal};
use nix::sys::wait::{waitpid, WaitPidFlag, WaitStatus};
use nix::unistd::{getpid, getppid, ForkResult, Pid};
use std::collections::HashMap;

/// v2.
pub(crate) fn run_waiting(server: &mut Server) -> Result<()> {
    while let Some(channel) = server.next_client()? {
        let mut children = HashMap::from_iter(spawn(server, channel));
        wait_for_all(server, &mut children)?;
    }
    Ok(())
}

/// v3.
pub(crate) fn run(server: &mut Server) -> Result<()> {
    let mut children = HashMap::new();
    loop {
        let woken = server.wait(Wanted {
            clients: children.len() < server.settings.max_connections,
            ..Wanted::CLIENTS
        })?;
        if woken.children {
            collect(server, &mut children)?;
        }
        if woken.stop {
            server.close();
            return wait_for_all(server, &mut children);
        }
        if woken.client {
            if let Some(channel) = server.accept() {
                children.extend(spawn(server, channel));
            }
        }
    }
}

/// Starts the process of a client. It has a copy of each descriptor, so both sides close what is the other's.
fn spawn(server: &mut Server, channel: Box<dyn Channel>) -> Option<(Pid, Names)> {
    let names = channel.names();
    let parent = getpid();
    match fork_single_threaded() {
        Ok(ForkResult::Parent { child }) => Some((child, names)),
        Ok(ForkResult::Child) => {
            server.abandon();
            stop_with(parent);
            server.task().serve(channel, || {});
            std::process::exit(0)
        }
        Err(error) => {
            drop(channel);
            server.release();
            server.rest(format_args!("{names} is turned away: fork: {error}"));
            None
        }
    }
}

/// In a child: it stops when the parent has gone, however that went. Otherwise it would hold the parent's descriptors,
/// and with them the lock of its pid file.
fn stop_with(parent: Pid) {
    // It fails for wrong numbers only.
    let _ = set_pdeathsig(Signal::SIGTERM);
    if getppid() != parent {
        // It was gone before it was asked for. The signal is blocked, and seen as if the parent had sent it.
        let _ = raise(Signal::SIGTERM);
    }
}

/// Sleeps until all children have ended, and tells them if the server shall end.
fn wait_for_all(server: &mut Server, children: &mut HashMap<Pid, Names>) -> Result<()> {
    let mut is_told = false;
    collect(server, children)?;
    while !children.is_empty() {
        let woken = server.wait(Wanted {
            clients: false,
            stop: !is_told,
            extra: None,
        })?;
        if woken.stop {
            server.close();
            is_told = true;
            for child in children.keys() {
                // It fails for one that has ended, and that is what is wanted.
                let _ = kill(*child, Signal::SIGTERM);
            }
        }
        if woken.children {
            collect(server, children)?;
        }
    }
    Ok(())
}

/// Asks how those ended that have, without waiting for the others.
fn collect(server: &mut Server, children: &mut HashMap<Pid, Names>) -> Result<()> {
    loop {
        let status = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => return Ok(()),
            // All have ended, and somebody else has seen to them.
            Err(Errno::ECHILD) => {
                children.drain().for_each(|_| server.release());
                return Ok(());
            }
            Err(Errno::EINTR) => continue,
            result => result.map_err(Error::io("waitpid"))?,
        };
        let Some(names) = status.pid().and_then(|pid| children.remove(&pid)) else {
            continue;
        };
        match status {
            WaitStatus::Exited(_, 0) => {}
            WaitStatus::Signaled(pid, signal, _) => server.log.say(format_args!(
                "{names}: process {pid} was ended by {signal}; only this connection ends"
            )),
            status => server.log.say(format_args!("{names}: {status:?}")),
        }
        server.release();
    }
}

// SPDX-License-Identifier: MIT

//! v4: a thread for each client. Cheaper than a process, and all see the same memory; so a handler that panics
//! ends its connection only, but one that crashes ends the server with everybody's connections.

use super::Ended;
use crate::server::{Result, Server, Task, Wanted};
use kpipe::channel::Channel;
use std::io;
use std::os::fd::AsFd;
use std::thread;

pub(crate) fn run(server: &mut Server) -> Result<()> {
    let ended = Ended::new()?;
    let task = server.task();
    let mut connections = 0;
    let mut is_stopped = false;
    while !is_stopped || connections > 0 {
        let woken = server.wait(Wanted {
            clients: !is_stopped && connections < server.settings.max_connections,
            stop: !is_stopped,
            extra: Some(ended.as_fd()),
        })?;
        if woken.extra {
            connections -= ended.take()?;
            server.release();
        }
        if woken.stop {
            is_stopped = true;
            server.close();
        }
        if !woken.client || is_stopped {
            continue;
        }
        if let Some(channel) = server.accept() {
            let names = channel.names();
            match spawn(&task, channel, &ended) {
                Ok(()) => connections += 1,
                Err(error) => {
                    server.release();
                    server.rest(format_args!("{names} is turned away: thread: {error}"));
                }
            }
        }
    }
    Ok(())
}

fn spawn(task: &Task, channel: Box<dyn Channel>, ended: &Ended) -> io::Result<()> {
    let (task, ended) = (task.clone(), ended.clone());
    let body = move || {
        task.serve(channel, || {});
        ended.tell();
    };
    thread::Builder::new()
        .name("client".to_owned())
        .spawn(body)
        .map(drop)
}

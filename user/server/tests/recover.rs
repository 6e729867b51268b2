// SPDX-License-Identifier: MIT

//! A listener with one place, which cannot be freed at the first attempt, or is given up: the server tries again.

use kpipe::channel::{self, Address, Channel, Listener, Options};
use kpipe_server::echo::Echo;
use kpipe_server::{Log, Model, Server, Settings, Signals};
use nix::sys::eventfd::EventFd;
use nix::sys::pthread::{pthread_kill, pthread_self};
use nix::sys::signal::Signal;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{mpsc, Arc};
use std::thread;
use std::time::Duration;

/// Longer than any of this takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Has these clients, one at a time.
#[derive(Debug)]
struct OnePlace {
    clients: Vec<Box<dyn Channel>>,
    entry: EventFd,
    is_free: bool,
    /// How often it cannot be freed.
    failures: usize,
    /// How often it is given up, with no client to show for it.
    losses: usize,
}

impl OnePlace {
    fn taken(&self) -> channel::Error {
        channel::Error::Taken {
            address: Box::new(self.address()),
        }
    }
}

impl Listener for OnePlace {
    fn accept(&mut self) -> channel::Result<Option<Box<dyn Channel>>> {
        let is_free = std::mem::replace(&mut self.is_free, false);
        if self.losses > 0 {
            self.losses -= 1;
            return Err(self.taken());
        }
        Ok(is_free.then(|| self.clients.pop()).flatten())
    }

    fn ready(&self) -> Option<BorrowedFd<'_>> {
        (self.is_free && !self.clients.is_empty()).then(|| self.entry.as_fd())
    }

    fn release(&mut self) -> channel::Result<()> {
        if self.failures > 0 {
            self.failures -= 1;
            return Err(self.taken());
        }
        self.is_free = true;
        Ok(())
    }

    fn address(&self) -> Address {
        Address::Pipes
    }
}

#[test]
fn a_place_that_could_not_be_freed_is_freed_later() {
    for model in [Model::Sequential, Model::Thread, Model::Event] {
        let pairs = [(), ()].map(|()| Address::Pipes.pair(&Options::default()).unwrap());
        let (mut clients, servers): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        let (sender, thread_of_server) = mpsc::channel();
        let (end, ended) = mpsc::channel();
        thread::spawn(move || {
            let signals = Signals::take_over().unwrap();
            let entry = EventFd::from_value(1).unwrap();
            let listener = OnePlace {
                clients: servers,
                entry,
                is_free: true,
                failures: 2,
                losses: 1,
            };
            let settings = Settings {
                model,
                timeout: Some(PATIENCE),
                max_connections: 10,
                workers: 1,
            };
            let log = Log {
                is_verbose: false,
                is_dated: false,
            };
            let server = Server::new(
                Arc::new(Echo),
                Box::new(listener),
                signals,
                settings,
                log,
                Box::new(|| Ok(())),
            );
            sender.send(pthread_self()).unwrap();
            end.send(server.run().unwrap()).unwrap();
        });
        // The last one is taken first.
        while let Some(mut client) = clients.pop() {
            let limit = Some(PATIENCE);
            client.set_timeouts(limit, limit).unwrap();
            client.write_all(b"x").unwrap();
            let mut answer = [0];
            client.read_exact(&mut answer).unwrap();
            assert_eq!(answer, *b"x", "{model:?}");
        }
        // It is there: it has served them.
        pthread_kill(thread_of_server.try_recv().unwrap(), Signal::SIGTERM).unwrap();
        assert_eq!(ended.recv_timeout(PATIENCE), Ok(2), "{model:?}");
    }
}

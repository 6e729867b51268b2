// SPDX-License-Identifier: MIT

//! A server in a thread of the test. It must be a model that serves in that thread: the signal goes to it alone.

use kpipe::channel::{Address, Channel, Options};
use kpipe_server::{Log, Server, Service, Settings, Signals};
use nix::sys::pthread::{pthread_kill, pthread_self, Pthread};
use nix::sys::signal::Signal;
use std::sync::{mpsc, Arc};
use std::thread;
use std::time::Duration;

/// Nothing here takes so long; it hangs then.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct Running {
    pub address: Address,
    thread: Pthread,
    clients: mpsc::Receiver<u64>,
}

impl Running {
    /// When it listens.
    pub fn start(service: impl Service + 'static, listen: &str, settings: Settings) -> Self {
        let listen: Address = listen.parse().unwrap();
        let (started, is_started) = mpsc::channel();
        let (ended, clients) = mpsc::channel();
        thread::spawn(move || {
            let signals = Signals::take_over().unwrap();
            let listener = listen.listen(&Options::default()).unwrap();
            let log = Log {
                is_verbose: false,
                is_dated: false,
            };
            let on_reload = Box::new(|| Ok(()));
            let service = Arc::new(service);
            let server = Server::new(service, listener, signals, settings, log, on_reload);
            let address = server.address().clone();
            started.send((address, pthread_self())).unwrap();
            ended.send(server.run().unwrap())
        });
        let (address, thread) = is_started.recv_timeout(PATIENCE).unwrap();
        Self {
            address,
            thread,
            clients,
        }
    }

    pub fn connect(&self) -> Box<dyn Channel> {
        let mut channel = self.address.connect(&Options::default()).unwrap();
        let limit = Some(PATIENCE);
        channel.set_timeouts(limit, limit).unwrap();
        channel
    }

    /// Tells it to stop, once.
    pub fn stop(&self) {
        pthread_kill(self.thread, Signal::SIGTERM).unwrap();
    }

    /// How many clients it had, when it has ended.
    pub fn ended(self) -> u64 {
        self.clients
            .recv_timeout(PATIENCE)
            .expect("it does not end")
    }
}

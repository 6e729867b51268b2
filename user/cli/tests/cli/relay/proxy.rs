// SPDX-License-Identifier: MIT

//! [`Proxy`]: between the two sides of a relay, to cut or freeze what they have.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// Takes connections over TCP and makes each one to a socket of AF_UNIX.
pub struct Proxy {
    pub address: String,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Bytes from the client to the server.
    carried: AtomicU64,
    /// Made to the server so far.
    connections: AtomicU64,
    /// What comes is dropped, as by a machine that is gone.
    is_frozen: AtomicBool,
    clients: Mutex<Vec<TcpStream>>,
    servers: Mutex<Vec<UnixStream>>,
}

impl Proxy {
    pub fn to(socket: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("tcp:{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared::default());
        let all = shared.clone();
        // Ends with the process of the tests.
        thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                let Ok(server) = UnixStream::connect(&socket) else {
                    continue;
                };
                all.clients
                    .lock()
                    .unwrap()
                    .push(client.try_clone().unwrap());
                all.servers
                    .lock()
                    .unwrap()
                    .push(server.try_clone().unwrap());
                all.connections.fetch_add(1, Ordering::SeqCst);
                let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let shared = all.clone();
                thread::spawn(move || {
                    copy(from, &to, &shared, true);
                    if !shared.is_frozen.load(Ordering::SeqCst) {
                        let _ = to.shutdown(Shutdown::Write);
                    }
                });
                let shared = all.clone();
                thread::spawn(move || {
                    copy(server, &client, &shared, false);
                    if !shared.is_frozen.load(Ordering::SeqCst) {
                        let _ = client.shutdown(Shutdown::Write);
                    }
                });
            }
        });
        Self { address, shared }
    }

    pub fn carried(&self) -> u64 {
        self.shared.carried.load(Ordering::SeqCst)
    }

    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Cuts every connection that there is.
    pub fn cut(&self) {
        for client in self.shared.clients.lock().unwrap().drain(..) {
            let _ = client.shutdown(Shutdown::Both);
        }
        for server in self.shared.servers.lock().unwrap().drain(..) {
            let _ = server.shutdown(Shutdown::Both);
        }
    }

    /// From now on nothing goes through, and nobody is told.
    pub fn freeze(&self) {
        self.shared.is_frozen.store(true, Ordering::SeqCst);
    }
}

fn copy(mut from: impl Read, mut to: impl Write, shared: &Shared, counts: bool) {
    let mut block = [0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut block) {
        if shared.is_frozen.load(Ordering::SeqCst) {
            continue;
        }
        if to.write_all(&block[..length]).is_err() {
            break;
        }
        if counts {
            shared.carried.fetch_add(length as u64, Ordering::SeqCst);
        }
    }
}

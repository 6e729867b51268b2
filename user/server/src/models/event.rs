// SPDX-License-Identifier: MIT

//! v6: one thread for all clients. It never waits for one of them: epoll(7) says who can go on, and the
//! handlers, being state machines, go on where they were. A client costs a few hundred bytes; but a handler
//! that computes keeps everybody waiting, and one that crashes ends everybody.

use crate::connection::{Connection, Need, Terms, BLOCK_BYTES};
use crate::server::{report, Error, Result, Server};
use crate::wait::poll_timeout;
use crate::{End, Service};
use kpipe::channel::{Channel, Names};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

/// Whose event it is. Connections have the numbers from [`FIRST`] on.
const STOP: u64 = 0;
const OTHERS: u64 = 1;
const ENTRY: u64 = 2;
const FIRST: u64 = 3;

/// Clients taken before the others are looked after again.
const BURST: usize = 64;

struct Loop<'a> {
    service: &'a dyn Service,
    terms: Terms,
    epoll: Epoll,
    clients: HashMap<u64, Client<'a>>,
    /// One entry for each connection that has a limit: when to look whether it is over. The limit moves with
    /// every byte; the entry only when it is due.
    looks: BTreeSet<(Instant, u64)>,
    next: u64,
    has_entry: bool,
    is_stopped: bool,
    block: Vec<u8>,
}

struct Client<'a> {
    connection: Connection<'a>,
    names: Names,
    /// What epoll watches for it.
    watched: Option<Need>,
    look: Option<Instant>,
}

pub(crate) fn run(server: &mut Server) -> Result<()> {
    let service = Arc::clone(&server.service);
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(Error::io("epoll"))?;
    let read = |token| EpollEvent::new(EpollFlags::EPOLLIN, token);
    epoll
        .add(server.signals.stop(), read(STOP))
        .and_then(|()| epoll.add(server.signals.others(), read(OTHERS)))
        .map_err(Error::io("epoll_ctl"))?;
    let mut this = Loop {
        service: &*service,
        terms: server.terms(),
        epoll,
        clients: HashMap::new(),
        looks: BTreeSet::new(),
        next: FIRST,
        has_entry: false,
        is_stopped: false,
        block: vec![0; BLOCK_BYTES],
    };
    let mut events = [EpollEvent::empty(); 256];
    while !this.is_stopped || !this.clients.is_empty() {
        this.watch_entry(server)?;
        let end = this.looks.first().map(|(look, _)| *look);
        let end = end.into_iter().chain(server.tired_until()).min();
        // Both count milliseconds in an i32, and -1 is for ever.
        let timeout = EpollTimeout::try_from(i32::from(poll_timeout(end))).expect("as poll's");
        let ready = match this.epoll.wait(&mut events, timeout) {
            Err(Errno::EINTR) => 0,
            result => result.map_err(Error::io("epoll_wait"))?,
        };
        for event in &events[..ready] {
            match event.data() {
                STOP => this.stop(server)?,
                OTHERS => drop(server.take_signals()?),
                ENTRY => this.take_clients(server)?,
                number => this.advance(number, server)?,
            }
        }
        this.expire(server)?;
    }
    Ok(())
}

impl Loop<'_> {
    /// Watches for clients if more may come.
    fn watch_entry(&mut self, server: &mut Server) -> Result<()> {
        server.recover();
        let may_come = !self.is_stopped
            && server.tired_until().is_none()
            && self.clients.len() < server.settings.max_connections;
        if let (true, false, Some(entry)) = (may_come, self.has_entry, server.entry()) {
            let event = EpollEvent::new(EpollFlags::EPOLLIN, ENTRY);
            let added = self.epoll.add(entry, event);
            added.map_err(Error::io("epoll_ctl"))?;
            self.has_entry = true;
        }
        Ok(())
    }

    fn unwatch_entry(&mut self, server: &Server) -> Result<()> {
        if let (true, Some(entry)) = (self.has_entry, server.entry()) {
            let deleted = self.epoll.delete(entry);
            deleted.map_err(Error::io("epoll_ctl"))?;
        }
        self.has_entry = false;
        Ok(())
    }

    fn take_clients(&mut self, server: &mut Server) -> Result<()> {
        // The descriptor of queues becomes the client's.
        self.unwatch_entry(server)?;
        let room = server.settings.max_connections - self.clients.len();
        for _ in 0..BURST.min(room) {
            let Some(channel) = server.accept() else {
                break;
            };
            let names = channel.names();
            if let Err(error) = self.add(channel) {
                server.release();
                server.rest(format_args!("{names} is turned away: epoll: {error}"));
                break;
            }
        }
        Ok(())
    }

    fn add(&mut self, channel: Box<dyn Channel>) -> std::io::Result<()> {
        let names = channel.names();
        let connection = Connection::new(channel, self.service, self.terms)?;
        let mut client = Client {
            connection,
            names,
            watched: None,
            look: None,
        };
        client.watch(&self.epoll, self.next)?;
        self.clients.insert(self.next, client);
        self.plan(self.next);
        self.next += 1;
        Ok(())
    }

    fn advance(&mut self, number: u64, server: &mut Server) -> Result<()> {
        // It may have ended by an event before this one.
        let Some(client) = self.clients.get_mut(&number) else {
            return Ok(());
        };
        client
            .unwatch_write(&self.epoll)
            .map_err(Error::io("epoll_ctl"))?;
        let end = client.connection.advance(&mut self.block);
        self.settle(number, end, server)
    }

    /// Ends a connection, or watches for what it needs next.
    fn settle(&mut self, number: u64, end: Option<End>, server: &mut Server) -> Result<()> {
        let client = self.clients.get_mut(&number).expect("it was just there");
        let end = end.or_else(|| {
            let watched = client.watch(&self.epoll, number);
            watched.err().map(|error| End::Vanished(error.to_string()))
        });
        let Some(end) = end else {
            self.plan(number);
            return Ok(());
        };
        let mut client = self.clients.remove(&number).expect("it was just there");
        if let Some(look) = client.look {
            self.looks.remove(&(look, number));
        }
        report(server.log, &client.names, &end);
        client
            .unwatch_read(&self.epoll)
            .map_err(Error::io("epoll_ctl"))?;
        drop(client);
        server.release();
        Ok(())
    }

    /// Looks after the connection no later than when its limit is over.
    fn plan(&mut self, number: u64) {
        let client = self.clients.get_mut(&number).expect("a client");
        let due = client.connection.deadline();
        let is_early_enough = match (client.look, due) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(look), Some(due)) => look <= due,
        };
        if is_early_enough {
            return;
        }
        if let Some(look) = client.look.take() {
            self.looks.remove(&(look, number));
        }
        client.look = due;
        self.looks.extend(due.map(|due| (due, number)));
    }

    /// Ends what is over its limit.
    fn expire(&mut self, server: &mut Server) -> Result<()> {
        let now = Instant::now();
        while let Some(&(look, number)) = self.looks.first().filter(|(look, _)| *look <= now) {
            self.looks.remove(&(look, number));
            let client = self.clients.get_mut(&number).expect("looks are of clients");
            client.look = None;
            if client.connection.deadline().is_some_and(|end| end <= now) {
                client
                    .unwatch_write(&self.epoll)
                    .map_err(Error::io("epoll_ctl"))?;
                let end = client.connection.expire();
                self.settle(number, end, server)?;
            } else {
                self.plan(number);
            }
        }
        Ok(())
    }

    fn stop(&mut self, server: &mut Server) -> Result<()> {
        self.is_stopped = true;
        let deleted = self.epoll.delete(server.signals.stop());
        deleted.map_err(Error::io("epoll_ctl"))?;
        self.unwatch_entry(server)?;
        server.close();
        let numbers: Vec<u64> = self.clients.keys().copied().collect();
        for number in numbers {
            let client = self.clients.get_mut(&number).expect("a client");
            client.connection.hurry();
            self.plan(number);
        }
        Ok(())
    }
}

impl Client<'_> {
    /// Has epoll watch for what the connection needs.
    fn watch(&mut self, epoll: &Epoll, number: u64) -> nix::Result<()> {
        if self.watched == self.connection.need().map(|(_, need)| need) {
            return Ok(());
        }
        // `unwatch_write` was called for the other.
        self.unwatch_read(epoll)?;
        if let Some((fd, need)) = self.connection.need() {
            let flags = match need {
                Need::Read => EpollFlags::EPOLLIN,
                Need::Write => EpollFlags::EPOLLOUT,
            };
            epoll.add(fd, EpollEvent::new(flags, number))?;
            self.watched = Some(need);
        }
        Ok(())
    }

    /// Before anything that may close the end that is written to.
    fn unwatch_write(&mut self, epoll: &Epoll) -> nix::Result<()> {
        if let (Some(Need::Write), Some((fd, _))) = (self.watched, self.connection.need()) {
            epoll.delete(fd)?;
            self.watched = None;
        }
        Ok(())
    }

    /// Before the client is dropped, too: where the listener has a copy of the descriptor (datagrams), closing this
    /// one would leave it in epoll, and its number could not be watched again.
    fn unwatch_read(&mut self, epoll: &Epoll) -> nix::Result<()> {
        if let (Some(Need::Read), Some(fd)) = (self.watched, self.connection.rx()) {
            epoll.delete(fd)?;
            self.watched = None;
        }
        Ok(())
    }
}

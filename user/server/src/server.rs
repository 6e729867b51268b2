// SPDX-License-Identifier: MIT

//! [`Server`]: what all models share: waiting for clients and signals, taking clients, and the log.

use crate::connection::Terms;
use crate::wait::wait_for;
use crate::{models, Connection, End, Log, Model, Service, Signals, With};
use kpipe::channel::{self, Address, Channel, Listener, Names, UnixStyle};
use nix::poll::PollFlags;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Why a server ended before it was told to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No place to listen.
    #[error(transparent)]
    Channel(#[from] channel::Error),
    /// The pool's queue.
    #[error(transparent)]
    Queue(#[from] kpipe::Error),
    /// A system call that a server cannot do without.
    #[error("{doing}: {source}")]
    Io {
        /// Which.
        doing: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// [`std::result::Result`] with a server's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// For `map_err`: `doing` failed.
    pub fn io<E: Into<io::Error>>(doing: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Io {
            doing,
            source: source.into(),
        }
    }
}

/// How a server serves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who runs the handlers.
    pub model: Model,
    /// Limit for a request, for a piece of an answer, and for silence between requests.
    pub timeout: Option<Duration>,
    /// Connections at a time; more wait in the backlog.
    pub max_connections: usize,
    /// Threads of [`Model::Pool`].
    pub workers: usize,
}

/// A server that listens.
pub struct Server {
    pub(crate) service: Arc<dyn Service>,
    pub(crate) signals: Arc<Signals>,
    pub(crate) settings: Settings,
    pub(crate) log: Log,
    listener: Option<Box<dyn Listener>>,
    address: Address,
    /// Reopens the log.
    on_reload: Box<dyn Fn() -> io::Result<()>>,
    /// No client is taken before: the last attempt failed, and would at once again.
    tired_until: Option<Instant>,
    /// The listener's only place is still to be freed: that failed.
    is_unreleased: bool,
    /// What was said last of why no client is taken; empty since one was.
    complaint: String,
    clients: u64,
}

/// What a model waits for besides `SIGHUP` and `SIGCHLD`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    pub clients: bool,
    pub stop: bool,
    /// Another descriptor, until it is readable.
    pub extra: Option<BorrowedFd<'a>>,
}

impl Wanted<'_> {
    /// A client, or the stop.
    pub const CLIENTS: Self = Self {
        clients: true,
        stop: true,
        extra: None,
    };
}

/// What has been found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Woken {
    pub client: bool,
    pub stop: bool,
    pub children: bool,
    pub extra: bool,
}

/// How long clients are left in the backlog when there are no descriptors for them.
const REST: Duration = Duration::from_millis(100);

impl Server {
    /// A server for the clients of `listener`. On `SIGHUP` it calls [`Service::reload`], and if that went
    /// well `on_reload`.
    pub fn new(
        service: Arc<dyn Service>,
        listener: Box<dyn Listener>,
        signals: Signals,
        settings: Settings,
        log: Log,
        on_reload: Box<dyn Fn() -> io::Result<()>>,
    ) -> Self {
        Self {
            service,
            signals: Arc::new(signals),
            settings,
            log,
            address: listener.address(),
            listener: Some(listener),
            on_reload,
            tired_until: None,
            is_unreleased: false,
            complaint: String::new(),
            clients: 0,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Serves until `SIGTERM` or `SIGINT`, and then to the end whom it has taken. Returns how many clients
    /// there were.
    pub fn run(mut self) -> Result<u64> {
        match self.settings.model {
            Model::Sequential => models::sequential::run(&mut self),
            Model::ForkWait => models::processes::run_waiting(&mut self),
            Model::Fork => models::processes::run(&mut self),
            Model::Thread => models::threads::run(&mut self),
            Model::Pool => models::pool::run(&mut self),
            Model::Event => models::event::run(&mut self),
        }?;
        self.log
            .detail(|| format!("stopped after {} clients", self.clients));
        Ok(self.clients)
    }

    /// Waits for a signal or what else is asked for. Reloads on the way.
    pub(crate) fn wait(&mut self, wanted: Wanted<'_>) -> Result<Woken> {
        self.recover();
        let now = Instant::now();
        let tired_until = self.tired_until.filter(|end| *end > now);
        let entry = self
            .entry()
            .filter(|_| wanted.clients && tired_until.is_none());
        let stop = wanted.stop.then(|| self.signals.stop());
        let readable = |fd| (fd, PollFlags::POLLIN);
        let asked = [Some(self.signals.others()), stop, entry, wanted.extra];
        let end = tired_until.filter(|_| wanted.clients);
        let [others, stop, client, extra] =
            wait_for(asked.map(|fd| fd.map(readable)), end).map_err(Error::io("poll"))?;
        let children = others && self.take_signals()?;
        Ok(Woken {
            stop,
            client,
            children,
            extra,
        })
    }

    /// Waits for a client and takes it; `None` if the server shall end.
    pub(crate) fn next_client(&mut self) -> Result<Option<Box<dyn Channel>>> {
        loop {
            let woken = self.wait(Wanted::CLIENTS)?;
            if woken.stop {
                self.close();
                return Ok(None);
            }
            if woken.client {
                if let Some(channel) = self.accept() {
                    return Ok(Some(channel));
                }
            }
        }
    }

    /// What becomes readable when a client comes.
    pub(crate) fn entry(&self) -> Option<BorrowedFd<'_>> {
        self.listener.as_ref()?.ready()
    }

    /// Takes a client that is there.
    pub(crate) fn accept(&mut self) -> Option<Box<dyn Channel>> {
        match self.listener.as_mut()?.accept() {
            Ok(channel) => {
                if channel.is_some() {
                    self.clients += 1;
                    self.complaint.clear();
                }
                channel
            }
            Err(error) => {
                // The only place may have been given up on the way.
                self.is_unreleased |= self.entry().is_none();
                self.rest(error);
                None
            }
        }
    }

    /// Something ran out: the clients that come stay in the backlog for a moment. Says so once, however often it
    /// is tried again.
    pub(crate) fn rest(&mut self, why: impl std::fmt::Display) {
        let why = why.to_string();
        if why != self.complaint {
            self.log
                .say(format_args!("no client is taken for a moment: {why}"));
            self.complaint = why;
        }
        self.tired_until = Some(Instant::now() + REST);
    }

    /// Until when no client is taken.
    pub(crate) fn tired_until(&self) -> Option<Instant> {
        self.tired_until.filter(|end| *end > Instant::now())
    }

    /// A client's channel has been closed in every process.
    pub(crate) fn release(&mut self) {
        let released = self.listener.as_mut().map(|listener| listener.release());
        self.is_unreleased = matches!(released, Some(Err(_)));
        if let Some(Err(error)) = released {
            self.rest(error);
        }
    }

    /// Once the rest is over, tries again what failed.
    pub(crate) fn recover(&mut self) {
        if self.is_unreleased && self.tired_until().is_none() {
            self.release();
        }
    }

    /// Takes no more clients; who comes from now on is refused by the kernel.
    pub(crate) fn close(&mut self) {
        if let Some(listener) = self.listener.take() {
            self.log
                .detail(|| format!("no more clients at {}", self.address));
            drop(listener);
        }
    }

    /// In a forked process: the listener is the parent's.
    pub(crate) fn abandon(&mut self) {
        self.listener = None;
    }

    /// How connections are served.
    pub(crate) fn terms(&self) -> Terms {
        let with = match &self.address {
            Address::Udp { .. }
            | Address::Unix {
                style: UnixStyle::Datagram,
                ..
            } => With::All,
            _ => With::One,
        };
        Terms {
            timeout: self.settings.timeout,
            with,
            is_own: with == With::One && !matches!(self.address, Address::Queues { .. }),
        }
    }

    /// What a thread needs to serve clients.
    pub(crate) fn task(&self) -> Task {
        Task {
            service: Arc::clone(&self.service),
            signals: Arc::clone(&self.signals),
            terms: self.terms(),
            log: self.log,
        }
    }

    /// Takes the signals that are pending. Returns whether children have ended.
    pub(crate) fn take_signals(&self) -> Result<bool> {
        let others = self.signals.take().map_err(Error::io("signalfd"))?;
        if others.reload {
            // The service first: if it cannot, nothing has changed.
            self.log.say(match self.service.reload() {
                Err(error) => format!("not reloaded, all is as before: {error}"),
                Ok(what) => match (self.on_reload)() {
                    Ok(()) => format!("reloaded: {what}"),
                    Err(error) => format!("reloaded: {what}; but the log is the same: {error}"),
                },
            });
        }
        Ok(others.children)
    }
}

/// What serves a client wherever it runs.
#[derive(Clone)]
pub(crate) struct Task {
    service: Arc<dyn Service>,
    signals: Arc<Signals>,
    terms: Terms,
    log: Log,
}

impl Task {
    /// A client from its first byte to its end. `on_stop` is called if the server shall end meanwhile.
    pub fn serve(&self, channel: Box<dyn Channel>, on_stop: impl FnMut()) {
        let names = channel.names();
        let end = match Connection::new(channel, &*self.service, self.terms) {
            Ok(connection) => connection.converse(self.signals.stop(), on_stop),
            Err(error) => End::Vanished(error.to_string()),
        };
        report(self.log, &names, &end);
    }
}

/// Tells how a connection ended.
pub(crate) fn report(log: Log, names: &Names, end: &End) {
    if end.is_trouble() || log.is_verbose {
        log.say(format_args!("{names}: {end}"));
    }
}

// SPDX-License-Identifier: MIT

//! `kpipe serve`: a server in one of six models. The servers themselves are in the crate `kpipe-server`.

use crate::failure::{Failure, Result};
use crate::socket_options::SocketOptions;
use crate::sys::{ignore_sigpipe, restore_default_sigchld};
use crate::units::parse_time;
use clap::{Parser, ValueEnum};
use kpipe::channel::{Address, Carries, Observer};
use kpipe::Queue;
use kpipe_server::daemon::{self, Daemon, Detached, PidFile};
use kpipe_server::{
    echo::Echo, http::Http, rpc::Rpc, Fragile, Log, Model, Server, Service, Settings, Signals,
};
use nix::sys::resource::{getrlimit, setrlimit, Resource};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Serve clients on any kind of channel, in one of six models.
///
/// Prints where it listens, and serves until SIGTERM or SIGINT: then it takes no more clients, finishes
/// with those it has, and exits with 0. SIGHUP makes it open its log file again, and the HTTP server its root.
#[derive(Clone, Parser)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// What to serve
    #[arg(value_enum)]
    service: Kind,

    /// Where: kpipe:0,1  fifo:/path,/path  unix:/path  unix-seqpacket:/path  unix-dgram:/path
    /// tcp:host:port  udp:host:port
    #[arg(short, long, value_name = "ADDRESS")]
    listen: Address,

    /// The folder whose files are served; nothing outside of it can be reached
    #[arg(short, long, value_name = "FOLDER", required_if_eq("service", "http"))]
    root: Option<PathBuf>,

    /// Who runs the handlers
    #[arg(short, long, value_enum, default_value = "thread")]
    model: Model,

    /// How long a client may take for a request, and be silent between two; 0s: for ever
    #[arg(short, long, value_name = "TIME", value_parser = parse_time, default_value = "60s")]
    timeout: Duration,

    /// Connections at a time; the next wait in the backlog [default: as many as there are descriptors for]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_connections: Option<u32>,

    /// Threads of the model pool
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..))]
    workers: u16,

    /// Tell of every step and every connection, not of problems only
    #[arg(short, long)]
    verbose: bool,

    /// Write to this file and not to standard error
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,

    /// Write the process number to this file while serving
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,

    /// Detach from the terminal, and return when the server is ready; needs --log
    #[arg(short, long, requires = "log")]
    daemon: bool,

    /// A client that sends this text makes the handler crash (SIGABRT), to see whom that hurts
    #[arg(long, value_name = "TEXT")]
    crash_on: Option<String>,

    /// The same with a panic, which unwinds one stack
    #[arg(long, value_name = "TEXT")]
    panic_on: Option<String>,

    #[command(flatten)]
    sockets: SocketOptions,
}

const EXAMPLES: &str = "\
Examples:
  kpipe serve echo --listen kpipe:0,1                      through two queues of the device
  kpipe serve echo --listen tcp:localhost:7007 --model event -v
  kpipe client echo tcp:localhost:7007 hello               talks to it
  kpipe serve http --root . --listen tcp::8080             curl http://localhost:8080/README.md
  kpipe serve rpc --listen unix:/run/rpc --daemon --log /var/log/rpc --pid-file /run/rpc.pid";

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    /// Gives back what it gets
    Echo,
    /// Answers typed calls (docs/protocol.md)
    Rpc,
    /// Gives the files below --root to GET and HEAD
    Http,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    ignore_sigpipe();
    restore_default_sigchld();
    if !args.daemon {
        return serve(args, None);
    }
    // A daemon works in the folder `/`.
    let mut args = args.clone();
    args.make_absolute()
        .map_err(Failure::io("the present folder"))?;
    match daemon::detach().map_err(Failure::io("detaching"))? {
        Detached::Starter(Ok(text)) => print_line(&text),
        Detached::Starter(Err(why)) => Err(Failure::Differs(why)),
        Detached::Server(daemon) => serve(&args, Some(daemon)),
    }
}

impl Args {
    fn make_absolute(&mut self) -> io::Result<()> {
        let absolute = |path: &mut PathBuf| -> io::Result<()> {
            *path = std::path::absolute(&*path)?;
            Ok(())
        };
        for path in [&mut self.log, &mut self.pid_file, &mut self.root]
            .into_iter()
            .flatten()
        {
            absolute(path)?;
        }
        match &mut self.listen {
            // The abstract namespace has no folders.
            Address::Unix { path, .. } if !path.as_os_str().as_bytes().starts_with(b"@") => {
                absolute(path)?;
            }
            Address::Queues { there, back, .. } => {
                for queue in [there, back] {
                    *queue = Queue::at(std::path::absolute(queue.path())?);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Everything after the question whose process this is.
fn serve(args: &Args, daemon: Option<Daemon>) -> Result<()> {
    let prepared = prepare(args);
    if let (Err(failure), Some(daemon)) = (&prepared, &daemon) {
        daemon.failed(&failure.to_string());
    }
    let (server, _pid_file) = prepared?;
    let text = format!("listening at {}", server.address());
    match daemon {
        Some(daemon) => daemon.ready(&text),
        None => print_line(&text)?,
    }
    server.run()?;
    Ok(())
}

/// A server that listens, and the file that says which process it is.
fn prepare(args: &Args) -> Result<(Server, Option<PidFile>)> {
    let service = Fragile::new(service(args)?, args.crash_on.clone(), args.panic_on.clone());
    let pid_file = args.pid_file.as_deref().map(write_pid).transpose()?;
    if let Some(path) = &args.log {
        daemon::log_to(path).map_err(Failure::io(path.display()))?;
    }
    let log = Log {
        is_verbose: args.verbose,
        is_dated: args.log.is_some(),
    };
    let descriptors = raise_descriptors().map_err(Failure::io("RLIMIT_NOFILE"))?;
    // Two for each connection, and some for the server.
    let fitting = (descriptors.saturating_sub(64) / 2).max(1);
    let settings = Settings {
        model: args.model,
        timeout: Some(args.timeout).filter(|timeout| !timeout.is_zero()),
        max_connections: args.max_connections.map_or(fitting, |n| n as usize),
        workers: args.workers.into(),
    };
    let observer = move |step: &str| log.say(step);
    let observer = args.verbose.then(|| Arc::new(observer) as Observer);
    let listener = args.listen.listen(&args.sockets.options(observer))?;
    // From here on nothing but a descriptor tells of these signals; before, they end this process, which may take long
    // to find out what a name means.
    let signals = Signals::take_over().map_err(Failure::io("signalfd"))?;
    let path = args.log.clone();
    let on_reload = move || path.as_deref().map_or(Ok(()), daemon::log_to);
    let server = Server::new(
        Arc::new(service),
        listener,
        signals,
        settings,
        log,
        Box::new(on_reload),
    );
    Ok((server, pid_file))
}

fn service(args: &Args) -> Result<Box<dyn Service>> {
    Ok(match (args.service, &args.root) {
        (Kind::Echo, _) => Box::new(Echo),
        (Kind::Rpc, _) => Box::new(Rpc::default()),
        (Kind::Http, _) if args.listen.carries() == Carries::Messages => {
            return Err(Failure::Differs(format!(
                "{}: HTTP needs a stream of bytes, and this carries messages: take tcp:, unix:, kpipe: or fifo:",
                args.listen
            )));
        }
        (Kind::Http, Some(root)) => {
            Box::new(Http::new(root.clone()).map_err(Failure::io(root.display()))?)
        }
        (Kind::Http, None) => unreachable!("clap requires it"),
    })
}

fn write_pid(path: &Path) -> Result<PidFile> {
    PidFile::new(path).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => Failure::Differs(format!(
            "{}: another server has it: end that one, or choose another file",
            path.display()
        )),
        _ => Failure::io(path.display())(error),
    })
}

/// As many descriptors as the limits allow. Returns the number.
fn raise_descriptors() -> nix::Result<usize> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(usize::try_from(hard).unwrap_or(usize::MAX))
}

/// At once, also into a pipe: somebody waits for it.
fn print_line(text: &str) -> Result<()> {
    let mut stdout = io::stdout();
    writeln!(stdout, "{text}")
        .and_then(|()| stdout.flush())
        .map_err(Failure::io("standard output"))
}

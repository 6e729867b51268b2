// SPDX-License-Identifier: MIT

//! What the verbs with an ADDRESS let one choose about sockets: [`ConnectionOptions`], and [`SocketOptions`] where one
//! may listen, too.

use kpipe::channel::{Observer, Options};

/// Options of a connection. Each has its default where it is not given; `--verbose` shows all.
#[derive(Clone, clap::Args)]
#[command(next_help_heading = "Sockets")]
pub struct ConnectionOptions {
    /// SO_KEEPALIVE of TCP: notice a peer that vanished while nothing is said
    #[arg(long)]
    keepalive: bool,

    /// Without TCP_NODELAY: small pieces wait for each other
    #[arg(long)]
    no_nodelay: bool,
}

impl ConnectionOptions {
    /// For the library; `observer` hears of the steps.
    pub fn options(&self, observer: Option<Observer>) -> Options {
        Options {
            keep_alive: self.keepalive,
            no_delay: !self.no_nodelay,
            observer,
            ..Options::default()
        }
    }
}

/// The same, and options of a listening socket.
#[derive(Clone, clap::Args)]
#[command(next_help_heading = "Sockets")]
pub struct SocketOptions {
    #[command(flatten)]
    connection: ConnectionOptions,

    /// SO_REUSEPORT: several servers on one address, among which the kernel distributes the clients
    #[arg(long)]
    reuse_port: bool,

    /// Without SO_REUSEADDR of TCP: an address with connections that linger is refused
    #[arg(long)]
    no_reuse_address: bool,

    /// How many clients may wait to be accepted
    #[arg(long, value_name = "CLIENTS", default_value_t = Options::default().backlog)]
    backlog: u16,
}

impl SocketOptions {
    /// For the library; `observer` hears of the steps.
    pub fn options(&self, observer: Option<Observer>) -> Options {
        Options {
            reuse_address: !self.no_reuse_address,
            reuse_port: self.reuse_port,
            backlog: self.backlog,
            ..self.connection.options(observer)
        }
    }
}

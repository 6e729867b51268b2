// SPDX-License-Identifier: MIT

//! Servers over channels: one handler, six models of who runs it. `kpipe serve` is made of this.
//!
//! | file | what |
//! |---|---|
//! | [`handler`](Handler) | what a server says, as a state machine that does no I/O |
//! | [`echo`] | one: gives back what it gets |
//! | [`rpc`] | another: answers calls |
//! | [`http`] | a third: files |
//! | [`connection`](Connection) | a handler on a channel: reads, writes, limits of time |
//! | [`models`](Model) | one after another, processes, threads, a pool, epoll: all drive a [`Connection`] |
//! | [`Server`] | what the models share: clients, signals, the log |
//! | [`daemon`] | detaching, the pid file, the log file |
//!
//! A server must be a process of its own: it takes over `SIGTERM`, `SIGINT`, `SIGHUP` and `SIGCHLD`, and some
//! models fork.

mod connection;
pub mod daemon;
pub mod echo;
mod end;
mod fragile;
mod handler;
pub mod http;
mod log;
mod models;
pub mod rpc;
mod server;
mod signals;
pub mod sys;
mod wait;

pub use connection::{Connection, Need, Terms, BLOCK_BYTES};
pub use end::End;
pub use fragile::Fragile;
pub use handler::{Handler, Next, Service, With};
pub use log::Log;
pub use models::Model;
pub use server::{Error, Result, Server, Settings};
pub use signals::Signals;

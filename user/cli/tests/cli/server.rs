// SPDX-License-Identifier: MIT

//! [`Server`]: a running `kpipe serve`, and what can be seen of it from outside.

use crate::support::{stderr, Place, Running, PATIENCE};
use kpipe::channel::{Address, Channel, Options};
use nix::sys::signal::{kill, Signal};
use nix::sys::socket::{shutdown, Shutdown};
use nix::unistd::Pid;
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::process::Output;

/// All models, as they are typed.
pub const MODELS: [&str; 6] = ["sequential", "fork-wait", "fork", "thread", "pool", "event"];
/// Those in which a client that does nothing holds up nobody.
pub const CONCURRENT: [&str; 4] = ["fork", "thread", "pool", "event"];

pub struct Server {
    running: Running,
    pub address: Address,
    pub pid: u32,
}

impl Server {
    /// `kpipe serve SERVICE --model MODEL --listen LISTEN OPTIONS`, when it listens.
    pub fn start(
        place: &Place,
        service: &str,
        model: &str,
        listen: &str,
        options: &[&str],
    ) -> Self {
        let args = ["serve", service, "--model", model, "--listen", listen];
        Self::ready(place, place.start(&[&args, options].concat()))
    }

    /// A server that was started, when it listens.
    pub fn ready(place: &Place, mut running: Running) -> Self {
        let pid = running.child().id();
        let line = running.first_line();
        let Some(address) = line.trim_end().strip_prefix("listening at ") else {
            panic!("{line:?}, {}", stderr(&running.finish()));
        };
        // FIFOs and sockets in the test's folder.
        let address = match address.parse().unwrap() {
            Address::Queues { there, back, .. } => {
                let full = |queue: kpipe::Queue| place.dir.path().join(queue.path());
                let (there, back) = (full(there), full(back));
                format!("fifo:{},{}", there.display(), back.display())
                    .parse()
                    .unwrap()
            }
            Address::Unix { path, style } => Address::Unix {
                path: place.dir.path().join(path),
                style,
            },
            address => address,
        };
        Self {
            running,
            address,
            pid,
        }
    }

    /// A client of it.
    pub fn connect(&self) -> Box<dyn Channel> {
        let mut channel = self.address.connect(&Options::default()).unwrap();
        let patience = Some(PATIENCE);
        channel.set_timeouts(patience, patience).unwrap();
        channel
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid.try_into().unwrap()), signal).unwrap();
    }

    /// Descriptors that are open in it, and processes that it has, dead ones too.
    pub fn belongings(&self) -> (usize, usize) {
        let descriptors = std::fs::read_dir(format!("/proc/{}/fd", self.pid))
            .unwrap()
            .count();
        (descriptors, self.children().len())
    }

    /// The processes that it has, dead ones too.
    pub fn children(&self) -> Vec<i32> {
        let mut children = Vec::new();
        for thread in std::fs::read_dir(format!("/proc/{}/task", self.pid)).unwrap() {
            let list = thread.unwrap().path().join("children");
            let list = std::fs::read_to_string(list).unwrap_or_default();
            children.extend(
                list.split_whitespace()
                    .map(|pid| pid.parse::<i32>().unwrap()),
            );
        }
        children
    }

    pub fn threads(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/task", self.pid))
            .unwrap()
            .count()
    }

    /// Waits for its end by itself.
    pub fn ended(self) -> Output {
        self.running.finish()
    }

    /// Ends it; it has to end well. Returns what it said on standard error.
    pub fn stop(self) -> String {
        self.signal(Signal::SIGTERM);
        let output = self.ended();
        let said = stderr(&output);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{:?}: {said}",
            output.status.signal()
        );
        said
    }
}

/// All at once: they mostly wait.
pub fn each(models: &[&str], test: impl Fn(&str) + Sync) {
    std::thread::scope(|scope| {
        for model in models {
            scope.spawn(|| test(model));
        }
    });
}

/// Ends its connection as a client does that is content, and waits until the server has closed it too, in every process.
pub fn leave(mut channel: Box<dyn Channel>) {
    shutdown(channel.tx().as_raw_fd(), Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&mut *channel), b"");
}

/// Reads until the server ends the connection, with whatever error.
pub fn read_to_end(channel: &mut dyn Channel) -> Vec<u8> {
    let mut all = Vec::new();
    let mut block = [0; 4096];
    loop {
        match channel.read(&mut block) {
            Ok(0) => return all,
            Ok(len) => all.extend_from_slice(&block[..len]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return all,
            Err(error) => panic!("{error}"),
        }
    }
}

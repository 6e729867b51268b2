// SPDX-License-Identifier: MIT

//! The cable between two VMs: a stream socket that the two runners share, one end in each QEMU. Machine 1 listens
//! at the path and machine 2 connects, whichever comes first. QEMU takes an open descriptor in every version, while
//! the forms of its own for this come and go.

use std::fs;
use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{poll, PollFd, PollFlags, PollTimeout};

use crate::options::{Kernel, Net, Options};
use crate::Error;

/// How long the other runner may take to come; it may have something to build.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often machine 2 looks whether machine 1 is there.
const LOOK: Duration = Duration::from_millis(20);

/// Our end of the cable.
pub fn connect(net: &Net, options: &Options) -> Result<OwnedFd, Error> {
    if options.kernel == Kernel::Debug {
        return Err("--net: the debug kernel has no network card; take the stock kernel".into());
    }
    let cable = match net.machine {
        1 => accept(&net.path),
        _ => find(&net.path),
    };
    cable.map_err(|why| format!("--net {}:{}: {why}", net.machine, net.path.display()).into())
}

fn accept(path: &Path) -> Result<OwnedFd, Error> {
    let listener = UnixListener::bind(path)?;
    let mut fds = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    let polled = poll(&mut fds, PollTimeout::try_from(PATIENCE)?);
    let accepted = match polled {
        Ok(0) => Err(late(2)),
        Ok(_) => Ok(listener.accept()?.0.into()),
        Err(errno) => Err(errno.into()),
    };
    fs::remove_file(path)?;
    accepted
}

fn find(path: &Path) -> Result<OwnedFd, Error> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match UnixStream::connect(path) {
            Ok(cable) => return Ok(cable.into()),
            Err(error)
                if !matches!(
                    error.kind(),
                    ErrorKind::NotFound | ErrorKind::ConnectionRefused
                ) =>
            {
                return Err(error.into())
            }
            Err(_) if Instant::now() > deadline => return Err(late(1)),
            Err(_) => thread::sleep(LOOK),
        }
    }
}

fn late(machine: u8) -> Error {
    format!(
        "machine {machine} did not come within {} s: start it with --net {machine}:PATH and the same PATH",
        PATIENCE.as_secs()
    )
    .into()
}

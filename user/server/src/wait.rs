// SPDX-License-Identifier: MIT

//! [`wait_for`]: poll(2) for some descriptors and a point in time.

use nix::errno::Errno;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

/// A descriptor and what it shall be ready for; `None` is never ready.
pub(crate) type Wanted<'a> = Option<(BorrowedFd<'a>, PollFlags)>;

/// Sleeps until one is ready, or broken, or until `end`. Says which are.
pub(crate) fn wait_for<const N: usize>(
    wanted: [Wanted<'_>; N],
    end: Option<Instant>,
) -> io::Result<[bool; N]> {
    let slots = wanted.iter().flatten();
    let mut fds: Vec<_> = slots.map(|(fd, flags)| PollFd::new(*fd, *flags)).collect();
    match poll(&mut fds, poll_timeout(end)) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => return Err(error.into()),
    }
    let mut ready = fds.iter().map(|fd| fd.any() == Some(true));
    Ok(wanted.map(|wanted| wanted.is_some() && ready.next().unwrap_or(false)))
}

/// Until `end`, rounded up: a poll of 0 ms would spin.
pub(crate) fn poll_timeout(end: Option<Instant>) -> PollTimeout {
    let Some(end) = end else {
        return PollTimeout::NONE;
    };
    let left = end.saturating_duration_since(Instant::now()) + Duration::from_micros(999);
    PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
}

// SPDX-License-Identifier: MIT

//! Signal-driven input and output: `O_ASYNC`, `F_SETOWN`, `F_SETSIG` (fcntl(2)), and the signals that
//! it sends. They are blocked and taken one by one, so that no handler races with the test.

use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc::{self, c_int};

use super::end::End;

/// The signal that `F_SETSIG` sets: a real-time one, which queue up and carry `si_fd`.
pub fn real_time_signal() -> c_int {
    libc::SIGRTMIN() + 3
}

/// What a signal of `F_SETSIG` tells (sigaction(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// `POLL_IN` (1), `POLL_OUT` (2), ...
    pub code: c_int,
    /// The events of poll(2).
    pub band: i64,
    /// The descriptor.
    pub fd: c_int,
}

/// Takes the signals of this thread's process that would be SIGIO or [`real_time_signal`].
pub struct Inbox(libc::sigset_t);

impl Inbox {
    /// Blocks them, in the calling thread and those that it will start.
    pub fn open() -> Self {
        let mut set = MaybeUninit::uninit();
        // SAFETY: sigemptyset fills the set in; the others then change or read it.
        let set = unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            let mut set = set.assume_init();
            libc::sigaddset(&raw mut set, libc::SIGIO);
            libc::sigaddset(&raw mut set, real_time_signal());
            let blocked =
                libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
            assert_eq!(blocked, 0, "pthread_sigmask");
            set
        };
        Self(set)
    }

    /// The next pending signal, if any, and what it tells.
    pub fn next(&self) -> Option<(c_int, Told)> {
        let mut info = MaybeUninit::<SigInfo>::zeroed();
        let no_time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: `SigInfo` is laid out as siginfo_t, as far as it goes, and as large.
        let signal = unsafe {
            libc::sigtimedwait(
                &raw const self.0,
                info.as_mut_ptr().cast(),
                &raw const no_time,
            )
        };
        match Errno::result(signal) {
            Err(Errno::EAGAIN) => None,
            Err(e) => panic!("sigtimedwait: {e}"),
            Ok(signal) => {
                // SAFETY: numbers only, and it was zeroed: always valid.
                let info = unsafe { info.assume_init() };
                let told = Told {
                    code: info.code,
                    band: info.band,
                    fd: info.fd,
                };
                Some((signal, told))
            }
        }
    }

    /// Was SIGIO sent since the last time?
    pub fn has_sigio(&self) -> bool {
        let mut has = false;
        while let Some((signal, _)) = self.next() {
            has |= signal == libc::SIGIO;
        }
        has
    }

    /// What the real-time signals told since the last time.
    pub fn told(&self) -> Vec<Told> {
        let mut all = vec![];
        while let Some((signal, told)) = self.next() {
            assert_eq!(signal, real_time_signal(), "a signal of F_SETSIG");
            all.push(told);
        }
        all
    }
}

/// `siginfo_t` with the member `_sigpoll`, which the crate libc has not.
#[repr(C)]
struct SigInfo {
    signal: c_int,
    errno: c_int,
    code: c_int,
    _pad: c_int,
    band: i64,
    fd: c_int,
    _rest: [c_int; 25],
}

const _: () = assert!(size_of::<SigInfo>() == size_of::<libc::siginfo_t>());

/// Has this process signalled by SIGIO: `F_SETOWN`, then `O_ASYNC`.
pub fn ask_for_sigio(end: &End) {
    fcntl(end, libc::F_SETOWN, std::process::id() as c_int);
    let flags = end.flags() | OFlag::O_ASYNC;
    end.set_flags(flags).expect("F_SETFL O_ASYNC");
}

/// The same with a real-time signal: `F_SETSIG`.
pub fn ask_for_real_time_signals(end: &End) {
    fcntl(end, F_SETSIG, real_time_signal());
    ask_for_sigio(end);
}

/// No more of them.
pub fn ask_for_none(end: &End) {
    let flags = end.flags() - OFlag::O_ASYNC;
    end.set_flags(flags).expect("F_SETFL without O_ASYNC");
}

/// `F_GETOWN`
pub fn owner(end: &End) -> c_int {
    fcntl(end, libc::F_GETOWN, 0)
}

/// include/uapi/asm-generic/fcntl.h
const F_SETSIG: c_int = 10;

fn fcntl(end: &End, command: c_int, argument: c_int) -> c_int {
    // SAFETY: commands that take and give numbers.
    let result = unsafe { libc::fcntl(end.as_raw_fd(), command, argument) };
    Errno::result(result).unwrap_or_else(|e| panic!("fcntl {command}: {e}"))
}

// SPDX-License-Identifier: MIT

//! The program as a child of this process: signals go on to it, its end becomes the exit status.

use crate::failure::{Failure, Result};
use crate::sys;
use nix::errno::Errno;
use nix::sys::signal::{kill, SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{waitpid, WaitPidFlag, WaitStatus};
use nix::unistd::{execvp, ForkResult, Pid};
use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStrExt;

/// Exit status if the program could not be run, and if it is not there, as a shell gives them.
const EXIT_NOT_EXECUTABLE: u8 = 126;
const EXIT_NOT_FOUND: u8 = 127;

/// What goes on to the program. (What cannot be caught, or stops a process, does not.)
const PASSED_ON: [Signal; 8] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGWINCH,
];

/// Runs the program to its end: its exit status, or 128 plus the signal that ended it.
pub fn run(command: &[OsString]) -> Result<u8> {
    let mut signals: SigSet = PASSED_ON.into_iter().collect();
    signals.add(Signal::SIGCHLD);
    // Blocked before there is a child, so that none gets lost.
    let before = signals
        .thread_swap_mask(SigmaskHow::SIG_BLOCK)
        .map_err(Failure::io("sigprocmask(2)"))?;
    let mailbox = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC)
        .map_err(Failure::io("signalfd(2)"))?;
    let child = match sys::fork_single_threaded().map_err(Failure::io("starting a process"))? {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            let status = match before.thread_set_mask() {
                Ok(()) => become_program(command),
                Err(_) => EXIT_NOT_EXECUTABLE,
            };
            std::process::exit(status.into())
        }
    };
    loop {
        match waitpid(child, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(_, status)) => return Ok(status as u8),
            Ok(WaitStatus::Signaled(_, signal, _)) => return Ok(128 + signal as u8),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(Failure::io("waiting for the program")(errno)),
        }
        let got = mailbox.read_signal();
        if let Some(info) = got.map_err(Failure::io("signalfd(2)"))? {
            pass_on(child, info.ssi_signo, info.ssi_code);
        }
    }
}

/// What a terminal sends comes from the kernel, and the program has got it as well.
fn pass_on(child: Pid, number: u32, code: i32) {
    let signal = i32::try_from(number).map(Signal::try_from);
    if let Ok(Ok(signal)) = signal {
        if signal != Signal::SIGCHLD && code != libc::SI_KERNEL {
            // ESRCH: it has just ended.
            let _ = kill(child, signal);
        }
    }
}

/// Makes this process the program. It returns only if that fails, with an exit status.
pub fn become_program(command: &[OsString]) -> u8 {
    let name = command[0].to_string_lossy();
    let words = command.iter().map(|word| CString::new(word.as_bytes()));
    // A command line cannot contain a zero, so neither can its words.
    let words: Vec<CString> = words.map_while(std::result::Result::ok).collect();
    let Err(errno) = execvp(&words[0], &words);
    eprintln!("kpipe: {name}: {}", errno.desc());
    match errno {
        Errno::ENOENT | Errno::ENOTDIR => EXIT_NOT_FOUND,
        _ => EXIT_NOT_EXECUTABLE,
    }
}

// SPDX-License-Identifier: MIT

//! Where a thread is, from /proc: asleep in which call, and how often it has slept.
//!
//! This replaces every "sleep for a while, it will be blocked by then". A wakeup changes the state
//! of the sleeper inside the call that wakes it (`try_to_wake_up()` in kernel/sched/core.c). So
//! once that call has returned, a thread that still sleeps and whose count of switches is the same
//! was not woken by it.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use kpipe::Carrier;
use nix::libc;
use nix::unistd::{getpgid, Pid};

use super::transport;

/// The calls that tests watch threads sleep in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// openat(2): what open(3) of libc is
    Open,
    /// read(2)
    Read,
    /// write(2)
    Write,
    /// pwritev2(2)
    Pwritev2,
    /// poll(2)
    Poll,
    /// epoll_wait(2)
    EpollWait,
    /// pselect6(2), or what libc makes of select(2)
    Select,
    /// splice(2)
    Splice,
    /// ioctl(2)
    Ioctl,
}

impl Call {
    fn numbers(self) -> &'static [i64] {
        match self {
            Call::Open => &[libc::SYS_openat],
            Call::Read => &[libc::SYS_read],
            Call::Write => &[libc::SYS_write],
            Call::Pwritev2 => &[libc::SYS_pwritev2],
            Call::Poll => &[libc::SYS_poll, libc::SYS_ppoll],
            Call::EpollWait => &[libc::SYS_epoll_wait, libc::SYS_epoll_pwait],
            Call::Select => &[libc::SYS_select, libc::SYS_pselect6],
            Call::Splice => &[libc::SYS_splice],
            Call::Ioctl => &[libc::SYS_ioctl],
        }
    }
}

/// A thread of some process, by its number.
#[derive(Clone, Copy, Debug)]
pub struct Thread(pub Pid);

impl Thread {
    /// Does it sleep, interruptibly, in this call? One that only waits until its bytes have arrived
    /// does not count.
    pub fn is_asleep_in(self, call: Call) -> bool {
        let is_asleep = || {
            self.state() == Some('S') && self.call().is_some_and(|n| call.numbers().contains(&n))
        };
        if transport::carrier() == Carrier::Direct {
            return is_asleep();
        }
        let sleeps = self.count_of_sleeps();
        is_asleep() && {
            let waits_for_arrival = transport::waits_for_arrival(&self.file("stack"));
            transport::settle();
            !waits_for_arrival && is_asleep() && self.count_of_sleeps() == sleeps
        }
    }

    /// Does it wait in this call for something that no signal ends, as a mutex?
    pub fn is_stuck_in(self, call: Call) -> bool {
        self.state() == Some('D') && self.call().is_some_and(|n| call.numbers().contains(&n))
    }

    /// How often it went to sleep of its own will.
    pub fn sleeps(self) -> u64 {
        let count = self.count_of_sleeps();
        count.unwrap_or_else(|| panic!("/proc/{}/status does not tell", self.0))
    }

    /// The same; `None` when it has ended.
    fn count_of_sleeps(self) -> Option<u64> {
        let name = "voluntary_ctxt_switches:";
        let status = self.file("status");
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|count| count.trim().parse().ok())
    }

    /// Is this signal pending for the thread itself?
    pub fn has_pending(self, signal: i32) -> bool {
        let status = self.file("status");
        let line = status.lines().find_map(|line| line.strip_prefix("SigPnd:"));
        let set = line.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
        set.expect("SigPnd in /proc/PID/status") & (1 << (signal - 1)) != 0
    }

    /// One line for a person: what it does.
    pub fn describe(self) -> String {
        format!(
            "{} {:?}: state {}, system call {}, waits in {}",
            self.0,
            self.file("comm").trim_end(),
            self.state().unwrap_or('?'),
            self.file("syscall").trim_end(),
            match self.file("wchan").as_str() {
                "" | "0" => "nothing known".to_owned(),
                function => function.to_owned(),
            }
        )
    }

    /// R, S, D, ...: proc_pid_stat(5). None when it has ended.
    fn state(self) -> Option<char> {
        let stat = self.file("stat");
        // The name of the program comes before it, in brackets, and may hold anything.
        stat.rsplit_once(") ")?.1.chars().next()
    }

    /// The number of its system call: proc_pid_syscall(5). None while it runs.
    fn call(self) -> Option<i64> {
        self.file("syscall").split(' ').next()?.parse().ok()
    }

    fn file(self, name: &str) -> String {
        // A thread has a directory of its own in /proc, though no listing shows it.
        fs::read_to_string(PathBuf::from(format!("/proc/{}/{name}", self.0))).unwrap_or_default()
    }
}

/// All threads of all processes of a group, one line each.
pub fn describe_group(group: Pid) -> String {
    let mut text = String::new();
    for process in numbers_in("/proc") {
        if getpgid(Some(process)) != Ok(group) {
            continue;
        }
        for thread in numbers_in(&format!("/proc/{process}/task")) {
            let thread = Thread(thread);
            writeln!(text, "  {}", thread.describe()).expect("a String takes everything");
            for line in thread.file("stack").lines() {
                writeln!(text, "      {line}").expect("a String takes everything");
            }
        }
    }
    text
}

fn numbers_in(directory: &str) -> Vec<Pid> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names
        .filter_map(|name| name.parse().ok())
        .map(Pid::from_raw)
        .collect()
}

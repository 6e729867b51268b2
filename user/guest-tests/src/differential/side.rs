// SPDX-License-Identifier: MIT

//! One of the two subjects: its queue, its processes, and a look at which of them are asleep.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use kpipe::Carrier;
use nix::errno::Errno;
use nix::poll::{ppoll, PollFd, PollFlags};
use nix::sys::signal::{kill, Signal};
use nix::sys::socket::{recv, send, socketpair, AddressFamily, MsgFlags, SockFlag, SockType};
use nix::sys::time::TimeSpec;
use nix::sys::wait::waitpid;
use nix::unistd::{fork, ForkResult, Pid};

use super::state::{CHILD, PROCESSES};
use super::worker::{Answer, Worker, MESSAGE_BYTES};
use crate::harness::patience;
use crate::tools::end::End;
use crate::tools::{schedule, transport};

/// Longest that anything may take to answer or to fall asleep.
const STEP: Duration = Duration::from_secs(20);

/// Time in which most answers come. One that does not come costs this.
const AT_ONCE: Duration = Duration::from_micros(300);

/// Who runs when several processes could.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The caller has chosen one processor ([`schedule::on_one_processor`]), and there the processes
    /// have a real-time priority: the caller runs only when none of them can. This is what makes a
    /// step cheap.
    OneByOne,
    /// Whoever the scheduler chooses, on any processor.
    Spread,
}

/// A subject with its processes.
pub struct Side {
    path: PathBuf,
    is_device: bool,
    order: Order,
    channels: Vec<OwnedFd>,
    ours: Vec<Pid>,
    processes: Vec<Option<Watched>>,
    message: Vec<u8>,
}

/// A process, with the files that say what it does.
struct Watched {
    pid: Pid,
    call: File,
    runs: File,
    stat: File,
    /// On a transport.
    stack: Option<File>,
    is_asked: bool,
    /// The number of its command.
    tag: u8,
    /// What the last look saw: see [`Watched::look`].
    seen: Option<Vec<u8>>,
}

impl Side {
    /// Starts the processes.
    pub fn start(path: PathBuf, is_device: bool, order: Order) -> Self {
        let mut pairs = Vec::new();
        for _ in 0..PROCESSES {
            let flags = SockFlag::SOCK_CLOEXEC;
            let pair = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags);
            pairs.push(pair.expect("socketpair"));
        }
        let (channels, theirs): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        let mut side = Self {
            path: path.clone(),
            is_device,
            order,
            channels,
            ours: Vec::new(),
            processes: Vec::new(),
            message: vec![0; MESSAGE_BYTES],
        };
        for number in 0..CHILD {
            // SAFETY: this process has one thread (or only such as wait for a test to end).
            match unsafe { fork() }.expect("fork") {
                ForkResult::Parent { child } => {
                    side.ours.push(child);
                    side.processes.push(Some(Watched::new(child)));
                }
                ForkResult::Child => {
                    let path = path.clone();
                    let theirs = theirs.iter().map(|fd| fd.try_clone().expect("dup"));
                    let theirs: Vec<_> = theirs.collect();
                    let run = move || Worker::run(path, is_device, theirs, number);
                    match order {
                        Order::OneByOne => schedule::undisturbed(run),
                        Order::Spread => run(),
                    }
                }
            }
        }
        side.processes.push(None);
        side
    }

    /// Ends all processes, whatever they do, and starts new ones.
    pub fn restart(&mut self) {
        self.end();
        *self = Self::start(self.path.clone(), self.is_device, self.order);
    }

    fn end(&mut self) {
        if self.processes[CHILD].is_some() {
            self.kill_child();
        }
        for pid in self.ours.drain(..) {
            kill(pid, Signal::SIGKILL).expect("not waited for yet");
            waitpid(pid, None).expect("waitpid");
        }
    }

    /// Gives a process its next command.
    pub fn ask(&mut self, process: usize, tag: u8, command: &str) {
        let channel = self.channels[process].as_raw_fd();
        let message = format!("{tag} {command}");
        send(channel, message.as_bytes(), MsgFlags::empty()).expect("send to a process");
        self.watched(process).is_asked = true;
        self.watched(process).tag = tag;
        self.watched(process).seen = None;
    }

    /// Sends a signal to a process that is asleep.
    pub fn signal(&mut self, process: usize, signal: Signal) {
        let watched = self.watched(process);
        watched.seen = None;
        kill(watched.pid, signal).expect("a process that lives");
    }

    /// The process number [`CHILD`] is there now.
    pub fn adopt(&mut self, pid: i64) {
        self.processes[CHILD] = Some(Watched::new(Pid::from_raw(pid as i32)));
    }

    /// Kills the child and waits until nothing is left of it.
    pub fn kill_child(&mut self) {
        let pid = self.watched(CHILD).pid;
        // ESRCH: it has ended already.
        let _ = kill(pid, Signal::SIGKILL);
        self.await_end_of_child();
    }

    /// Waits until nothing is left of the child. Its parent ignores SIGCHLD, so the number
    /// disappears, and that after its files were closed (`do_exit()` in kernel/exit.c).
    pub fn await_end_of_child(&mut self) {
        let pid = self.watched(CHILD).pid;
        let deadline = Instant::now() + patience(STEP);
        while kill(pid, None) != Err(Errno::ESRCH) {
            assert!(Instant::now() < deadline, "the child does not end");
            std::thread::sleep(Duration::from_micros(30));
        }
        self.processes[CHILD] = None;
    }

    fn watched(&mut self, process: usize) -> &mut Watched {
        self.processes[process]
            .as_mut()
            .expect("a process that is there")
    }

    /// Is anybody at work who has not been seen asleep?
    fn is_awaited(&self) -> bool {
        let there = self.processes.iter().flatten();
        there
            .into_iter()
            .any(|watched| watched.is_asked && watched.seen.is_none())
    }

    fn asked_channels(&self) -> impl Iterator<Item = BorrowedFd> {
        let both = self.processes.iter().zip(&self.channels);
        let is_asked = |process: &Option<Watched>| process.as_ref().is_some_and(|p| p.is_asked);
        both.filter(move |(process, _)| is_asked(process))
            .map(|(_, channel)| channel.as_fd())
    }

    /// Takes the answers that are there, without waiting. Were there any?
    fn collect(&mut self, answers: &mut BTreeMap<usize, Answer>) -> bool {
        let before = answers.len();
        for (number, watched) in self.processes.iter_mut().enumerate() {
            let Some(watched) = watched.as_mut().filter(|watched| watched.is_asked) else {
                continue;
            };
            let channel = self.channels[number].as_raw_fd();
            match recv(channel, &mut self.message, MsgFlags::MSG_DONTWAIT) {
                Ok(len) => {
                    let answer = Answer::from_bytes(&self.message[..len]);
                    assert_eq!(answer.tag, watched.tag, "process {number} answers too late");
                    answers.insert(number, answer);
                    watched.is_asked = false;
                }
                Err(Errno::EAGAIN) => {}
                Err(e) => panic!("receive from process {number}: {e}"),
            }
        }
        answers.len() > before
    }

    /// Are all processes that have not answered asleep, and have not run since the last look?
    ///
    /// Once nobody else runs (or waits for bytes to arrive), nobody will wake them: a wakeup changes the
    /// state of the sleeper inside the call that wakes it.
    fn is_at_rest(&mut self) -> bool {
        let mut is_at_rest = true;
        for watched in self.processes.iter_mut().flatten() {
            if watched.is_asked {
                let now = watched.look();
                is_at_rest &= now.is_some() && now == watched.seen;
                watched.seen = now;
            }
        }
        is_at_rest
    }

    /// What the processes are doing, for a person.
    pub fn describe(&self) -> String {
        let mut text = String::new();
        for (number, watched) in self.processes.iter().enumerate() {
            let Some(watched) = watched else { continue };
            let call = watched.read(&watched.call).unwrap_or_default();
            let call = String::from_utf8_lossy(&call).trim().to_owned();
            text += &format!("  process {number}: {call}\n");
        }
        text
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        self.end();
    }
}

impl Watched {
    fn new(pid: Pid) -> Self {
        let open = |name: &str| {
            let path = format!("/proc/{pid}/{name}");
            File::open(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
        };
        Self {
            pid,
            call: open("wchan"),
            // The debug kernel has no schedstat, whose three numbers are cheaper to read.
            runs: File::open(format!("/proc/{pid}/schedstat")).unwrap_or_else(|_| open("status")),
            stat: open("stat"),
            stack: (transport::carrier() != Carrier::Direct).then(|| open("stack")),
            is_asked: false,
            tag: 0,
            seen: None,
        }
    }

    fn read(&self, file: &File) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; 4096];
        let len = file.read_at(&mut bytes, 0)?;
        bytes.truncate(len);
        Ok(bytes)
    }

    /// Does it sleep in a way that no signal ends (state D)? That is not for long, and may be in fork.
    fn waits_for_a_lock(&self) -> bool {
        let stat = self.read(&self.stat).unwrap_or_default();
        !String::from_utf8_lossy(&stat).contains(") S ")
    }

    /// Does it sleep until its bytes have arrived? That is not for long either.
    fn waits_for_arrival(&self) -> bool {
        let stack = self.stack.as_ref();
        let stack = stack.map(|file| self.read(file).unwrap_or_default());
        stack.is_some_and(|stack| transport::waits_for_arrival(&String::from_utf8_lossy(&stack)))
    }

    /// How long and how often it ran so far, if it sleeps now (in the call that it was told to make,
    /// since it has begun that and has not answered).
    ///
    /// wchan is `0` also for one that is being woken on another processor (`TASK_WAKING`), which
    /// /proc/PID/syscall takes for asleep. In this order: who sleeps at two looks, and ran equally often after the first as after the
    /// second, has slept all the time from the end of the first to the start of the second.
    fn look(&self) -> Option<Vec<u8>> {
        let call = self.read(&self.call).ok()?;
        let runs = counts(self.read(&self.runs).ok()?);
        let is_asleep = call != b"0";
        let is_new = self.seen.as_ref() != Some(&runs);
        let is_asleep = is_asleep && !self.waits_for_arrival();
        (is_asleep && !(is_new && self.waits_for_a_lock())).then_some(runs)
    }
}

/// What is in schedstat, or how often the process gave its processor up, which status ends with.
fn counts(mut file: Vec<u8>) -> Vec<u8> {
    let name = b"\nvoluntary_ctxt_switches";
    if let Some(start) = file.windows(name.len()).position(|part| part == name) {
        file.drain(..start);
    }
    file
}

/// Waits until every process of both sides has answered or sleeps; the answers of each. `observer` is one of
/// the device's queue.
pub fn settle(
    sides: &mut [Side; 2],
    observer: &End,
) -> Result<[BTreeMap<usize, Answer>; 2], String> {
    let mut answers = [BTreeMap::new(), BTreeMap::new()];
    let deadline = Instant::now() + patience(STEP);
    loop {
        collect(sides, &mut answers);
        // Nothing is looked up in /proc before this: mostly the answer is about to come.
        while sides.iter().any(Side::is_awaited) && await_answer(sides) {
            collect(sides, &mut answers);
        }
        // What arrives wakes a reader, while the writer may already sleep for room. Before a look: if nobody ran
        // from the last look to this one, nobody has sent anything after it.
        observer.drain().expect("drain");
        let is_at_rest = sides
            .iter_mut()
            .map(Side::is_at_rest)
            .fold(true, |a, b| a & b);
        // One that answered between the two looks was no sleeper.
        if !collect(sides, &mut answers) && is_at_rest {
            return Ok(answers);
        }
        if Instant::now() > deadline {
            let [a, b] = sides;
            return Err(format!("not at rest\n{}{}", a.describe(), b.describe()));
        }
    }
}

/// Waits for an answer, but not long. Was there one?
fn await_answer(sides: &[Side; 2]) -> bool {
    let fds = sides.iter().flat_map(Side::asked_channels);
    let mut fds: Vec<_> = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
    let count = ppoll(&mut fds, Some(TimeSpec::from_duration(AT_ONCE)), None);
    count.expect("ppoll") > 0
}

fn collect(sides: &mut [Side; 2], answers: &mut [BTreeMap<usize, Answer>; 2]) -> bool {
    let mut has_any = false;
    for (side, answers) in sides.iter_mut().zip(answers) {
        has_any |= side.collect(answers);
    }
    has_any
}

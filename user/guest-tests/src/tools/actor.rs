// SPDX-License-Identifier: MIT

//! A thread that plays a part in a test, and can be watched while it sleeps in a call.

use std::os::unix::thread::JoinHandleExt;
use std::sync::mpsc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::pthread::pthread_kill;
use nix::sys::signal::Signal;
use nix::unistd::gettid;

use super::observe::{Call, Thread};
use crate::harness::patience;

/// How long a test waits for one step of an actor; shorter than the deadline of the test, so that
/// the message names the step.
const STEP: Duration = Duration::from_secs(30);

/// How often a wait looks. Each look costs system calls that the one waited for could use.
const LOOK_EVERY: Duration = Duration::from_micros(300);

/// A part that runs beside the test, and its result.
pub struct Actor<T> {
    name: String,
    thread: Thread,
    handle: JoinHandle<T>,
}

impl<T: Send + 'static> Actor<T> {
    /// Starts the part. A panic in it ends the test with its message.
    pub fn start(name: &str, part: impl FnOnce() -> T + Send + 'static) -> Self {
        let (number, announced) = mpsc::channel();
        let run = move || {
            number.send(gettid()).expect("the test waits for this");
            part()
        };
        let handle = Builder::new().name(name.to_owned()).spawn(run);
        Self {
            name: name.to_owned(),
            handle: handle.expect("a thread can be started"),
            thread: Thread(announced.recv().expect("a thread announces itself first")),
        }
    }

    /// Starts a part that is known to sleep in `call`, and waits until it does.
    #[track_caller]
    pub fn asleep_in(call: Call, name: &str, part: impl FnOnce() -> T + Send + 'static) -> Self {
        let actor = Self::start(name, part);
        actor.wait_asleep_in(call);
        actor
    }

    /// Waits until the part sleeps in `call`.
    #[track_caller]
    pub fn wait_asleep_in(&self, call: Call) {
        self.wait_until(&format!("asleep in {call:?}"), || {
            self.is_done() || self.thread.is_asleep_in(call)
        });
        assert!(
            !self.is_done(),
            "{}: expected to sleep in {call:?}, but it has returned",
            self.name
        );
    }

    /// Waits until the part waits in `call` for a mutex that somebody else holds.
    #[track_caller]
    pub fn wait_stuck_in(&self, call: Call) {
        self.wait_until(&format!("stuck in {call:?}"), || {
            self.thread.is_stuck_in(call)
        });
    }

    /// How often the thread slept so far; see [`Actor::expect_not_woken_since`].
    pub fn sleeps(&self) -> u64 {
        self.thread.sleeps()
    }

    /// Fails the test unless the part is still in the sleep that it was in when
    /// [`sleeps`](Actor::sleeps) said `sleeps`.
    #[track_caller]
    pub fn expect_not_woken_since(&self, sleeps: u64, call: Call) {
        assert!(
            !self.is_done() && self.thread.is_asleep_in(call) && self.thread.sleeps() == sleeps,
            "{}: expected to sleep on in {call:?}, but it was woken: {}",
            self.name,
            self.thread.describe()
        );
    }

    /// Has the part ended?
    pub fn is_done(&self) -> bool {
        self.handle.is_finished()
    }

    /// Sends a signal to this thread.
    pub fn signal(&self, signal: Signal) {
        pthread_kill(self.handle.as_pthread_t(), signal).expect("the thread is not joined yet");
    }

    /// Waits for the end of the part and returns its result.
    #[track_caller]
    pub fn join(self) -> T {
        self.join_within(STEP)
    }

    /// The same for a part that takes longer than a step: this long, on a fast kernel.
    #[track_caller]
    pub fn join_within(self, limit: Duration) -> T {
        self.wait_for("done", limit, || self.is_done());
        match self.handle.join() {
            Ok(result) => result,
            Err(_) => unreachable!("a panic ends the process"),
        }
    }

    #[track_caller]
    fn wait_until(&self, what: &str, is_so: impl Fn() -> bool) {
        self.wait_for(what, STEP, is_so);
    }

    #[track_caller]
    fn wait_for(&self, what: &str, limit: Duration, is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + patience(limit);
        while !is_so() {
            assert!(
                Instant::now() < deadline,
                "{}: expected to be {what} by now, but: {}",
                self.name,
                self.thread.describe()
            );
            std::thread::sleep(patience(LOOK_EVERY));
        }
    }
}

/// Waits, with a deadline, for something that another thread or the kernel brings about.
#[track_caller]
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience(STEP);
    while !is_so() {
        assert!(Instant::now() < deadline, "expected by now: {what}");
        std::thread::sleep(patience(LOOK_EVERY));
    }
}

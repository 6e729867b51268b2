// SPDX-License-Identifier: MIT

//! One run, from the start of QEMU to the verdict: a loop over events with a deadline for each
//! phase. Threads (streams.rs) do the copying and send the events.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use kpipe_init::{Output, Report, Request};
use nix::sys::signal::Signal;

use crate::machine::Machine;
use crate::options::Options;
use crate::signals::Mailbox;
use crate::streams::{drain, feed, record, Standard};
use crate::{terminal, Error};

/// How a run ended.
#[derive(Debug)]
pub enum Outcome {
    /// The command has ended with this exit status.
    Ended(i32),
    /// The command was still running after this time.
    TimedOut(Duration),
    /// This signal ended the run.
    Interrupted(Signal),
    /// The command was not started, or QEMU not; the sentence says why.
    Refused(String),
    /// The kernel did not come up, or did not live to see the command's end.
    KernelDied {
        /// What happened.
        sentence: String,
        /// All that it wrote to its console.
        kernel_log: Vec<u8>,
    },
}

/// What a run may take.
pub struct Limits {
    /// From the start of QEMU until the command starts.
    pub boot: Duration,
    /// From there to the command's end, or `None` for ever.
    pub run: Option<Duration>,
}

impl Limits {
    /// Those that the options ask for.
    pub fn of(options: &Options) -> Self {
        Self {
            boot: options.boot_limit(),
            run: options.run_limit(),
        }
    }
}

/// What the threads tell the loop.
#[derive(Debug)]
pub enum Event {
    /// The guest says something.
    Report(Report),
    /// QEMU has closed its end of the control port: the VM is gone.
    MachineEnded,
    /// The caller's input has ended after this many bytes.
    InputEnded(u64),
    /// The caller has closed this output.
    OutputClosed(Output),
    /// Some output was copied.
    Copied,
    /// The runner got a signal.
    Signal(Signal),
}

/// The channels of a session besides the VM's own.
pub struct Channels {
    /// The command's streams.
    pub standard: Standard,
    /// Where the kernel's log goes as it comes.
    pub log: Option<File>,
    /// Where events arrive.
    pub mailbox: Mailbox,
    /// Whether the command has a terminal.
    pub has_terminal: bool,
}

/// Runs the session; QEMU has ended when this returns.
pub fn run(machine: Machine, limits: &Limits, channels: Channels) -> Result<Outcome, Error> {
    let Machine {
        stdin,
        stdout,
        stderr,
        control,
        console,
        mut qemu,
    } = machine;
    let Mailbox { sender, events } = channels.mailbox;
    let console = record(console, channels.log);
    listen(control.try_clone()?, sender.clone());
    feed(channels.standard.stdin, stdin.try_clone()?, sender.clone());
    let session = Session {
        events,
        _stdin: stdin,
        stdout_bytes: drain(
            stdout,
            channels.standard.stdout,
            Output::Stdout,
            sender.clone(),
        ),
        stderr_bytes: drain(stderr, channels.standard.stderr, Output::Stderr, sender),
        control,
        has_terminal: channels.has_terminal,
        boot_limit: limits.boot,
        run_limit: limits.run,
    };
    let end = session.until_end();
    if let End::Outcome(outcome) = end {
        return Ok(outcome);
    }
    let (qemu_failed, complaints) = match end {
        End::MachineEnded => qemu.wait()?,
        _ => {
            qemu.kill();
            (false, String::new())
        }
    };
    let kernel_log = console.join().expect("recording does not panic");
    Ok(post_mortem(
        end,
        limits,
        kernel_log,
        qemu_failed,
        &complaints,
    ))
}

struct Session {
    events: Receiver<Event>,
    /// Kept open after the end of the input: the guest takes a closed port for one that is not
    /// connected yet.
    _stdin: UnixStream,
    stdout_bytes: Arc<AtomicU64>,
    stderr_bytes: Arc<AtomicU64>,
    control: UnixStream,
    has_terminal: bool,
    boot_limit: Duration,
    run_limit: Option<Duration>,
}

/// The phases of a run.
enum Phase {
    Booting,
    Running,
    /// The command has ended; these are the bytes that it has written.
    Draining {
        exit_status: i32,
        stdout_bytes: u64,
        stderr_bytes: u64,
    },
}

/// What ended the loop.
enum End {
    /// The verdict is clear.
    Outcome(Outcome),
    /// The VM is gone; its log will tell why.
    MachineEnded,
    /// The VM was not ready in time.
    NeverCame,
}

impl Session {
    fn until_end(mut self) -> End {
        let mut phase = Phase::Booting;
        let mut deadline = Some(Instant::now() + self.boot_limit);
        loop {
            if let Phase::Draining {
                exit_status,
                stdout_bytes,
                stderr_bytes,
            } = phase
            {
                // Nothing is under way any more when everything that was sent has arrived.
                if self.stdout_bytes.load(Ordering::Acquire) >= stdout_bytes
                    && self.stderr_bytes.load(Ordering::Acquire) >= stderr_bytes
                {
                    return End::Outcome(Outcome::Ended(exit_status));
                }
            }
            let Some(event) = self.next_event(deadline) else {
                return match (phase, self.run_limit) {
                    (Phase::Running, Some(limit)) => End::Outcome(Outcome::TimedOut(limit)),
                    _ => End::NeverCame,
                };
            };
            match event {
                Event::Report(Report::Ready) => {
                    phase = Phase::Running;
                    deadline = self.run_limit.map(|limit| Instant::now() + limit);
                }
                Event::Report(Report::Ended {
                    exit_status,
                    stdout_bytes,
                    stderr_bytes,
                }) => {
                    phase = Phase::Draining {
                        exit_status,
                        stdout_bytes,
                        stderr_bytes,
                    };
                    // A reader of the output may take its time.
                    deadline = None;
                }
                Event::Report(Report::Failed(sentence)) => {
                    return End::Outcome(Outcome::Refused(sentence));
                }
                Event::MachineEnded => return End::MachineEnded,
                Event::InputEnded(stdin_bytes) => {
                    self.request(&Request::EndInput { stdin_bytes });
                }
                // A terminal cannot close one direction; end as its programs would.
                Event::OutputClosed(_) if self.has_terminal => {
                    return End::Outcome(Outcome::Ended(128 + Signal::SIGPIPE as i32));
                }
                Event::OutputClosed(output) => self.request(&Request::CloseOutput(output)),
                Event::Signal(Signal::SIGWINCH) => {
                    if self.has_terminal {
                        self.request(&Request::Resize(terminal::size()));
                    }
                }
                Event::Signal(signal) => return End::Outcome(Outcome::Interrupted(signal)),
                Event::Copied => {}
            }
        }
    }

    /// The next event, or `None` when the deadline has passed.
    fn next_event(&self, deadline: Option<Instant>) -> Option<Event> {
        let Some(deadline) = deadline else {
            return Some(
                self.events
                    .recv()
                    .expect("the console's thread has a sender"),
            );
        };
        match self
            .events
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Event::MachineEnded),
        }
    }

    fn request(&mut self, request: &Request) {
        let mut line = serde_json::to_vec(request).expect("a request is valid JSON");
        line.push(b'\n');
        // If the VM is gone, the thread that listens says so.
        let _ = self.control.write_all(&line);
    }
}

/// Passes the guest's reports on, until the VM is gone.
fn listen(control: UnixStream, events: Sender<Event>) {
    thread::spawn(move || {
        for line in BufReader::new(control).lines() {
            let Ok(line) = line else { break };
            let report = match serde_json::from_str(&line) {
                Ok(report) => report,
                Err(_) => Report::Failed(format!("the guest speaks nonsense: {line}")),
            };
            if events.send(Event::Report(report)).is_err() {
                return;
            }
        }
        let _ = events.send(Event::MachineEnded);
    });
}

/// Finds out from the kernel's log why the VM is gone.
fn post_mortem(
    end: End,
    limits: &Limits,
    kernel_log: Vec<u8>,
    qemu_failed: bool,
    complaints: &str,
) -> Outcome {
    if qemu_failed && kernel_log.is_empty() {
        let cause = complaints.lines().last().unwrap_or("it says nothing");
        return Outcome::Refused(format!("QEMU could not start: {cause}"));
    }
    let log = String::from_utf8_lossy(&kernel_log);
    let panic = log.lines().find(|line| line.contains("Kernel panic"));
    let sentence = match (panic, end) {
        (Some(panic), _) => format!("the kernel died: {panic}"),
        (None, End::NeverCame) => format!(
            "the VM was not ready within {} s (--boot-timeout)",
            limits.boot.as_secs()
        ),
        (None, _) if qemu_failed => format!("QEMU failed: {complaints}"),
        (None, _) => "the VM was switched off before the command had ended".to_owned(),
    };
    drop(log);
    Outcome::KernelDied {
        sentence,
        kernel_log,
    }
}

// SPDX-License-Identifier: MIT

//! Runs a sequence on both subjects in lockstep and compares after every step.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use nix::errno::Errno;

use super::exclude::Exclusion;
use super::op::{Action, Op};
use super::side::{settle, Order, Side};
use super::signals::{FAIL, RESTART};
use super::state::{Plan, State, CHILD, PROCESSES};
use super::subjects::{Kind, Subjects};
use super::worker::Answer;
use kpipe_abi::uapi::DEFAULT_CAPACITY_BYTES;

/// The two subjects.
pub struct Pair {
    sides: [Side; 2],
    subjects: Subjects,
    capacity_bytes: u64,
    /// What has been done so far.
    pub counts: Counts,
}

/// How much was done.
#[derive(Default)]
pub struct Counts {
    /// Operations that ran.
    pub steps: usize,
    /// Calls that slept.
    pub sleeps: usize,
    /// Operations that were left out.
    pub excluded: BTreeMap<Exclusion, usize>,
}

/// Where the two were not the same.
pub struct Difference {
    /// A step of the shortened sequence for each line, and at the end the two results.
    pub report: String,
}

type Answers = BTreeMap<usize, Answer>;

/// A sequence that runs.
struct Run<'a> {
    pair: &'a mut Pair,
    state: State,
    /// What each process does, or did last.
    actions: [Action; PROCESSES],
    /// Has the process done anything?
    is_used: [bool; PROCESSES],
    report: String,
}

impl Pair {
    /// Two queues; for a FIFO see [`Subjects::new`].
    pub fn start(kind: Kind, fifo: &Path, order: Order) -> Self {
        let subjects = Subjects::new(kind, fifo);
        let [device, other] = subjects.paths.clone();
        Self {
            sides: [
                Side::start(device, true, order),
                Side::start(other, false, order),
            ],
            capacity_bytes: subjects.observer.info().capacity_bytes,
            subjects,
            counts: Counts::default(),
        }
    }

    /// Runs a sequence from the beginning, and returns what it did. After a difference all processes are new.
    pub fn run(&mut self, ops: &[Op]) -> Result<String, Difference> {
        self.set_capacity(DEFAULT_CAPACITY_BYTES);
        let mut run = Run {
            pair: self,
            state: State::new(),
            actions: [const { Action::Fork }; PROCESSES],
            is_used: [false; PROCESSES],
            report: String::new(),
        };
        let result = run.all(ops);
        let report = std::mem::take(&mut run.report);
        match result {
            Ok(()) => Ok(report),
            Err(problem) => {
                self.sides.iter_mut().for_each(Side::restart);
                let report = format!("{report}{problem}");
                Err(Difference { report })
            }
        }
    }

    fn set_capacity(&self, bytes: u64) {
        let observer = &self.subjects.observer;
        if observer.info().capacity_bytes != bytes {
            observer.resize(bytes).expect("resize");
        }
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.set_capacity(self.capacity_bytes);
    }
}

impl Run<'_> {
    fn all(&mut self, ops: &[Op]) -> Result<(), String> {
        for op in ops {
            match self.state.plan(op) {
                Plan::Nothing => {}
                Plan::Excluded(exclusion) => {
                    *self.pair.counts.excluded.entry(exclusion).or_default() += 1;
                }
                Plan::Run { action, done } => self.step(op, action, done)?,
            }
        }
        self.end()
    }

    /// Interrupts who is blocked, and closes everything.
    fn end(&mut self) -> Result<(), String> {
        for process in self.state.blocked() {
            // It may have come to its end with the one before.
            let signal = Action::Signal { restart: false };
            self.all_of_end(process, signal)?;
        }
        if self.state.has_child() {
            self.all_of_end(CHILD, Action::Exit)?;
        }
        for process in 0..CHILD {
            if !self.is_used[process] {
                continue;
            }
            write!(self.report, "{process}:close all                 ").expect("a String");
            for side in &mut self.pair.sides {
                side.ask(process, 0, "reset");
            }
            self.actions[process] = Action::Exit;
            let answers = settle(&mut self.pair.sides, &self.pair.subjects.observer)?;
            self.compare(&answers)?;
        }
        self.pair.subjects.check_unused()
    }

    fn all_of_end(&mut self, process: usize, action: Action) -> Result<(), String> {
        let op = Op { process, action };
        match self.state.plan(&op) {
            Plan::Run { action, done } => self.step(&op, action, done),
            Plan::Nothing => Ok(()),
            Plan::Excluded(exclusion) => unreachable!("{op} is excluded by {exclusion:?}"),
        }
    }

    fn step(&mut self, op: &Op, action: Action, done: Vec<(usize, i64)>) -> Result<(), String> {
        let step = self.pair.counts.steps;
        self.pair.counts.steps += 1;
        let who = op.process;
        self.is_used[who] = true;
        write!(self.report, "{:<28}", op.to_string()).expect("a String takes everything");
        let (tag, command) = ((step % 251 + 1) as u8, action.to_string());
        for side in &mut self.pair.sides {
            match &action {
                Action::Signal { restart: false } => side.signal(who, FAIL),
                Action::Signal { restart: true } => side.signal(who, RESTART),
                Action::Kill => side.kill_child(),
                _ => side.ask(who, tag, &command),
            }
        }
        match action {
            Action::Exit => self
                .pair
                .sides
                .iter_mut()
                .for_each(Side::await_end_of_child),
            Action::Signal { .. } | Action::Kill => {}
            _ => self.actions[who] = action.clone(),
        }
        let mut answers = settle(&mut self.pair.sides, &self.pair.subjects.observer)?;
        self.adopt(&action, who, &mut answers);
        self.compare(&answers)?;
        let [answers, _] = answers;
        self.check_model(done, &answers)?;
        if !answers.contains_key(&who) {
            self.pair.counts.sleeps += 1;
        }
        for (process, answer) in answers {
            let action = self.actions[process].clone();
            self.state.finish(process, &action, answer.value);
        }
        if self.state.is_unused() {
            self.pair.set_capacity(DEFAULT_CAPACITY_BYTES);
        }
        Ok(())
    }

    /// The number of a new process is no result to compare.
    fn adopt(&mut self, action: &Action, who: usize, answers: &mut [Answers; 2]) {
        if *action != Action::Fork {
            return;
        }
        for (side, answers) in self.pair.sides.iter_mut().zip(answers) {
            if let Some(answer) = answers.get_mut(&who).filter(|answer| answer.value > 0) {
                side.adopt(answer.value);
                answer.value = 0;
            }
        }
    }

    fn compare(&mut self, [device, fifo]: &[Answers; 2]) -> Result<(), String> {
        if device == fifo {
            writeln!(self.report, "{}", self.print(fifo)).expect("a String takes everything");
            return Ok(());
        }
        let [first, second] = self.pair.subjects.names();
        let (device, fifo) = (self.print(device), self.print(fifo));
        Err(format!(
            "<- DIFFERENT\n  {first:<8}{device}\n  {second:<8}{fifo}\n"
        ))
    }

    /// What the model says must be what both have done: it decides what is left out.
    fn check_model(&mut self, done: Vec<(usize, i64)>, answers: &Answers) -> Result<(), String> {
        let known: BTreeMap<usize, i64> = done.into_iter().collect();
        let seen: BTreeMap<usize, i64> = answers
            .iter()
            .filter(|(process, _)| known.contains_key(process) || self.state.is_modelled(**process))
            .map(|(process, answer)| (*process, answer.value))
            .collect();
        if known == seen {
            return Ok(());
        }
        Err(format!(
            "THE MODEL IS WRONG: both subjects are the same, but it expected {known:?}\n"
        ))
    }

    fn print(&self, answers: &Answers) -> String {
        if answers.is_empty() {
            return "blocks".to_owned();
        }
        let print = |(process, answer): (&usize, &Answer)| {
            let action = self.actions[*process].to_string();
            let call = action.split(' ').next().unwrap_or_default();
            format!(
                "{process}:{call} = {}",
                print_answer(&self.actions[*process], answer)
            )
        };
        answers.iter().map(print).collect::<Vec<_>>().join(", ")
    }
}

fn print_answer(action: &Action, answer: &Answer) -> String {
    let mut text = match answer.value {
        0.. => answer.value.to_string(),
        errno => format!("{:?}", Errno::from_raw(-errno as i32)),
    };
    if matches!(action, Action::Poll { .. }) && answer.value >= 0 {
        text = print_events(answer.value as u16);
    }
    if matches!(action, Action::Await { .. }) {
        for event in answer.data.chunks(3) {
            let events = print_events(u16::from_be_bytes([event[1], event[2]]));
            text += &format!(" [handle {}: {events}]", event[0]);
        }
    } else if !answer.data.is_empty() {
        let shown = &answer.data[..answer.data.len().min(4)];
        let sum = answer.data.iter().fold(0_u32, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add((*byte).into())
        });
        text += &format!(" [{shown:02x?}.. {sum:08x}]");
    }
    for _ in 0..answer.broken {
        text += " SIGPIPE";
    }
    if answer.was_told {
        text += " (SIGIO before)";
    }
    text
}

fn print_events(bits: u16) -> String {
    let names = [
        (0x1, "IN"),
        (0x4, "OUT"),
        (0x8, "ERR"),
        (0x10, "HUP"),
        (0x20, "NVAL"),
    ];
    let set = names.iter().filter(|(bit, _)| bits & bit != 0);
    let set: Vec<&str> = set.map(|(_, name)| *name).collect();
    match bits {
        0 => "none".to_owned(),
        _ => set.join("|"),
    }
}

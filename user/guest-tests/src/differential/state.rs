// SPDX-License-Identifier: MIT

//! What both subjects are in, as far as it decides which operation makes sense next: processes,
//! their handles, and who is blocked. [`State::plan`] is asked before each operation.

use nix::errno::Errno;

use super::exclude::{self, Exclusion};
use super::model::{Done, Ends, Model};
use super::op::{Access, Action, Op};
use super::store::{buffers_of, capacity_for, Bytes, Slots};
use kpipe_abi::uapi::DEFAULT_CAPACITY_BYTES;

/// Number of the process that is there only after a fork.
pub const CHILD: usize = 3;
/// Processes in all.
pub const PROCESSES: usize = CHILD + 1;
/// Handles of one process.
pub const SLOTS: usize = 4;

/// An open file description.
#[derive(Clone, Copy, Debug)]
struct Description {
    access: Access,
    is_nonblocking: bool,
    /// Descriptors, in all processes.
    references: usize,
}

/// What a process is busy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Busy {
    Open(usize),
    /// A call that the model knows the result of.
    Modelled,
    Poll,
    Other,
}

#[derive(Clone, Debug, Default)]
struct Process {
    is_there: bool,
    slots: [Option<usize>; SLOTS],
    busy: Option<Busy>,
}

/// The state of a sequence.
#[derive(Clone, Debug)]
pub struct State {
    processes: [Process; PROCESSES],
    descriptions: Vec<Description>,
    fifo: Model<Slots>,
    device: Model<Bytes>,
    has_edge_watch: bool,
    has_listener: bool,
}

/// What becomes of an operation.
pub enum Plan {
    /// It makes no sense now.
    Nothing,
    /// The subjects may differ, for a reason that is known.
    Excluded(Exclusion),
    /// To be run, with handles that are slot numbers. `done` is what the model knows of the results.
    Run { action: Action, done: Done },
}

impl State {
    /// At the start of each sequence.
    pub fn new() -> Self {
        let mut processes: [Process; PROCESSES] = Default::default();
        for process in &mut processes[..CHILD] {
            process.is_there = true;
        }
        Self {
            processes,
            descriptions: Vec::new(),
            fifo: Model::new(DEFAULT_CAPACITY_BYTES as usize),
            device: Model::new(DEFAULT_CAPACITY_BYTES as usize),
            has_edge_watch: false,
            has_listener: false,
        }
    }

    /// Processes that are blocked.
    pub fn blocked(&self) -> Vec<usize> {
        let is_busy = |number: &usize| self.processes[*number].busy.is_some();
        (0..PROCESSES).filter(is_busy).collect()
    }

    /// Is the child there?
    pub fn has_child(&self) -> bool {
        self.processes[CHILD].is_there
    }

    fn ends(&self) -> Ends {
        let count = |is_end: fn(Access) -> bool| {
            let open = self.descriptions.iter().filter(|d| d.references > 0);
            open.filter(|d| is_end(d.access)).count()
        };
        Ends {
            readers: count(Access::reads),
            writers: count(Access::writes),
        }
    }

    /// Decides on an operation; if it is to run, takes it for running.
    pub fn plan(&mut self, op: &Op) -> Plan {
        let Some(action) = self.resolve(op) else {
            return Plan::Nothing;
        };
        // Tried on a copy: an operation that is left out changes nothing.
        let mut after = self.clone();
        let (known, done) = after.apply(op.process, &action);
        let view = exclude::View {
            before: &self.device,
            after: &after.device,
            rules_agree: known.is_some() && after.fifo.view() == after.device.view(),
            pollers: self.count(Busy::Poll),
            has_edge_watch: after.has_edge_watch,
            has_listener: after.has_listener,
            value: done.iter().find(|(who, _)| *who == op.process).map(|d| d.1),
        };
        if let Some(exclusion) = exclude::reason(&action, &view) {
            return Plan::Excluded(exclusion);
        }
        after.processes[op.process].busy = known.flatten().or(after.processes[op.process].busy);
        *self = after;
        Plan::Run { action, done }
    }

    fn count(&self, busy: Busy) -> usize {
        self.processes
            .iter()
            .filter(|p| p.busy == Some(busy))
            .count()
    }

    /// The action with slot numbers for handles; `None` if it makes no sense now.
    fn resolve(&self, op: &Op) -> Option<Action> {
        let process = &self.processes[op.process];
        let is_idle = process.is_there && process.busy.is_none();
        let has_free_slot = process.slots.contains(&None);
        let is_child = op.process == CHILD;
        let is_possible = match op.action {
            Action::Signal { .. } => process.busy.is_some(),
            Action::Kill => is_child && process.is_there,
            Action::Exit => is_child && is_idle,
            Action::Fork => is_idle && !self.processes[CHILD].is_there,
            Action::Open { .. } | Action::Dup { .. } => is_idle && has_free_slot,
            _ => is_idle,
        };
        if !is_possible {
            return None;
        }
        let mut action = op.action.clone();
        if let Some(handle) = action.handle_mut() {
            let open: Vec<usize> = (0..SLOTS).filter(|s| process.slots[*s].is_some()).collect();
            *handle = *open.get(*handle % open.len().max(1))?;
        }
        Some(action)
    }

    fn description(&self, process: usize, slot: usize) -> Description {
        self.descriptions[self.processes[process].slots[slot].expect("resolved")]
    }

    /// Does to the model what the action does. Returns what the process is busy with from now on, if
    /// both rules of capacity agree on the results, and these.
    fn apply(&mut self, who: usize, action: &Action) -> (Option<Option<Busy>>, Done) {
        let ends = self.ends();
        let bad = |errno: Errno| (Some(Some(Busy::Modelled)), vec![(who, -(errno as i64))]);
        let modelled = |(fifo, device): (Done, Done)| match fifo == device {
            true => (Some(Some(Busy::Modelled)), fifo),
            false => (None, device),
        };
        match action {
            Action::Open { access, nonblock } => {
                self.descriptions.push(Description {
                    access: *access,
                    is_nonblocking: *nonblock,
                    references: 1,
                });
                let open = Busy::Open(self.descriptions.len() - 1);
                (Some(Some(open)), Done::new())
            }
            Action::Close { handle } => {
                let description = self.processes[who].slots[*handle].take();
                let done = self.drop_references(description.into_iter().collect());
                (Some(Some(Busy::Other)), done)
            }
            Action::Exit | Action::Kill => {
                self.fifo.kill(who);
                self.device.kill(who);
                let process = std::mem::take(&mut self.processes[who]);
                let mut gone: Vec<usize> = process.slots.into_iter().flatten().collect();
                if let Some(Busy::Open(description)) = process.busy {
                    gone.push(description);
                }
                (Some(None), self.drop_references(gone))
            }
            Action::Signal { restart } => {
                let fifo = self.fifo.signal(who, *restart, ends);
                let device = self.device.signal(who, *restart, ends);
                let (known, done) = modelled((fifo, device));
                (known.map(|_| None), done)
            }
            Action::Read { handle, buffer } => {
                let description = self.description(who, *handle);
                if !description.access.reads() {
                    return bad(Errno::EBADF);
                }
                let (len, good) = (buffer.len(), buffer.good());
                let wait = !description.is_nonblocking;
                let fifo = self.fifo.read(who, len, good, wait, ends);
                modelled((fifo, self.device.read(who, len, good, wait, ends)))
            }
            Action::Write { handle, buffer } => {
                let description = self.description(who, *handle);
                if !description.access.writes() {
                    return bad(Errno::EBADF);
                }
                let (len, good) = (buffer.len(), buffer.good());
                let wait = !description.is_nonblocking;
                let fifo = self.fifo.write(who, len, good, wait, ends);
                modelled((fifo, self.device.write(who, len, good, wait, ends)))
            }
            Action::SpliceOut { handle, len, .. } => {
                if !self.description(who, *handle).access.reads() {
                    bad(Errno::EBADF)
                } else if self.device.queued() == 0 {
                    (Some(Some(Busy::Other)), Done::new())
                } else {
                    let fifo = self.fifo.splice_out(who, *len);
                    modelled((fifo, self.device.splice_out(who, *len)))
                }
            }
            Action::SpliceIn { handle, len, .. } => {
                if !self.description(who, *handle).access.writes() {
                    bad(Errno::EBADF)
                } else if ends.readers == 0 {
                    bad(Errno::EPIPE)
                } else if !self.device.is_writable() {
                    (Some(Some(Busy::Other)), Done::new())
                } else {
                    let buffers = buffers_of(*len);
                    let fifo = self.fifo.splice_in(who, &buffers, *len);
                    modelled((fifo, self.device.splice_in(who, &buffers, *len)))
                }
            }
            Action::Resize { bytes, .. } => {
                let capacity = capacity_for(*bytes);
                let fifo = self.fifo.resize(who, capacity);
                modelled((fifo, self.device.resize(who, capacity)))
            }
            Action::Nonblock { handle, on } => {
                let description = self.processes[who].slots[*handle].expect("resolved");
                self.descriptions[description].is_nonblocking = *on;
                (Some(Some(Busy::Other)), Done::new())
            }
            Action::Watch { edge, .. } => {
                self.has_edge_watch |= edge;
                (Some(Some(Busy::Other)), Done::new())
            }
            Action::Async { on, .. } => {
                self.has_listener |= on;
                (Some(Some(Busy::Other)), Done::new())
            }
            Action::Poll { .. } | Action::Await { .. } => (Some(Some(Busy::Poll)), Done::new()),
            Action::Visit { .. }
            | Action::Dup { .. }
            | Action::Fork
            | Action::Unwatch { .. }
            | Action::Queued { .. } => (Some(Some(Busy::Other)), Done::new()),
        }
    }

    fn drop_references(&mut self, gone: Vec<usize>) -> Done {
        for description in gone {
            self.descriptions[description].references -= 1;
        }
        let ends = self.ends();
        let done = self.fifo.ends_changed(ends);
        assert_eq!(done, self.device.ends_changed(ends));
        if ends == Ends::default() {
            self.fifo = Model::new(DEFAULT_CAPACITY_BYTES as usize);
            self.device = Model::new(DEFAULT_CAPACITY_BYTES as usize);
        }
        done
    }

    /// Has nobody the queue open? A FIFO is as new then; the device keeps its capacity.
    pub fn is_unused(&self) -> bool {
        self.ends() == Ends::default()
    }

    /// Is the model's knowledge asked for here? A call like open has a result of its own.
    pub fn is_modelled(&self, process: usize) -> bool {
        self.processes[process].busy == Some(Busy::Modelled)
    }

    /// A call has come to an end.
    pub fn finish(&mut self, who: usize, action: &Action, value: i64) {
        let busy = self.processes[who].busy.take();
        if let Some(Busy::Open(description)) = busy {
            if value < 0 {
                self.drop_references(vec![description]);
            } else {
                self.processes[who].slots[value as usize] = Some(description);
            }
            return;
        }
        match action {
            Action::Dup { handle } if value >= 0 => {
                let description = self.processes[who].slots[*handle].expect("resolved");
                self.descriptions[description].references += 1;
                self.processes[who].slots[value as usize] = Some(description);
            }
            Action::Fork if value >= 0 => {
                let slots = self.processes[who].slots;
                for description in slots.into_iter().flatten() {
                    self.descriptions[description].references += 1;
                }
                self.processes[CHILD] = Process {
                    is_there: true,
                    slots,
                    busy: None,
                };
            }
            _ => {}
        }
    }
}

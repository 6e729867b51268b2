// SPDX-License-Identifier: MIT

//! What a queue does, as far as the comparison needs to know: how much is in it, who sleeps in it,
//! and who goes on after which operation. Generic in the rule of capacity ([`Store`]).

use std::collections::VecDeque;

use nix::errno::Errno;

use super::store::{Store, Writing};

/// A call that sleeps in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Read { len: usize, good: usize },
    Write(Writing),
}

/// Results of calls that came to an end: process and value.
pub type Done = Vec<(usize, i64)>;

/// Everything that shows: where this is the same for both rules, so are the subjects.
#[derive(Debug, PartialEq, Eq)]
pub struct View {
    queued: usize,
    is_writable: bool,
    readers: Vec<(usize, Call)>,
    writers: Vec<(usize, Call)>,
}

/// One queue.
#[derive(Clone, Debug)]
pub struct Model<S> {
    store: S,
    capacity: usize,
    readers: VecDeque<(usize, Call)>,
    writers: VecDeque<(usize, Call)>,
}

/// How many ends there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// Read ends, also of those who wait in open.
    pub readers: usize,
    /// Write ends.
    pub writers: usize,
}

fn error(errno: Errno) -> i64 {
    -(errno as i64)
}

impl<S: Store> Model<S> {
    /// Empty.
    pub fn new(capacity: usize) -> Self {
        Self {
            store: S::new(capacity),
            capacity,
            readers: VecDeque::new(),
            writers: VecDeque::new(),
        }
    }

    /// What shows.
    pub fn view(&self) -> View {
        View {
            queued: self.store.queued(),
            is_writable: self.store.is_writable(),
            readers: self.readers.iter().copied().collect(),
            writers: self.writers.iter().copied().collect(),
        }
    }

    /// Bytes in it.
    pub fn queued(&self) -> usize {
        self.store.queued()
    }

    /// Bytes that it was made for.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Is it writable?
    pub fn is_writable(&self) -> bool {
        self.store.is_writable()
    }

    /// Processes that sleep in a read, and in a write.
    pub fn sleepers(&self) -> (usize, usize) {
        (self.readers.len(), self.writers.len())
    }

    /// read(2) of process `who`. Returns what has come to an end, which may be this call and others.
    pub fn read(&mut self, who: usize, len: usize, good: usize, wait: bool, ends: Ends) -> Done {
        let mut done = Done::new();
        if len == 0 {
            done.push((who, 0));
        } else if self.store.queued() > 0 {
            done.push((who, self.take(len, good)));
        } else if ends.writers == 0 {
            done.push((who, 0));
        } else if !wait {
            done.push((who, error(Errno::EAGAIN)));
        } else {
            self.readers.push_back((who, Call::Read { len, good }));
        }
        self.go_on(&mut done);
        done
    }

    /// write(2) of process `who`.
    pub fn write(&mut self, who: usize, len: usize, good: usize, wait: bool, ends: Ends) -> Done {
        let mut done = Done::new();
        let mut writing = Writing {
            total: len,
            done: 0,
            good,
        };
        if len == 0 {
            done.push((who, 0));
        } else if ends.readers == 0 {
            done.push((who, error(Errno::EPIPE)));
        } else {
            let is_torn = self.store.put(&mut writing, true);
            match writing.done {
                0 if is_torn => done.push((who, error(Errno::EFAULT))),
                moved if is_torn || moved == len => done.push((who, moved as i64)),
                0 if !wait => done.push((who, error(Errno::EAGAIN))),
                moved if !wait => done.push((who, moved as i64)),
                _ => self.writers.push_back((who, Call::Write(writing))),
            }
        }
        self.go_on(&mut done);
        done
    }

    /// splice(2) from the queue; the caller knows that there is something.
    pub fn splice_out(&mut self, who: usize, len: usize) -> Done {
        let moved = self.store.splice_out(len);
        let mut done = vec![(who, moved as i64)];
        self.go_on(&mut done);
        done
    }

    /// splice(2) into the queue; the caller knows that there is room.
    pub fn splice_in(&mut self, who: usize, buffers: &[usize], limit: usize) -> Done {
        let moved = self.store.splice_in(buffers, limit);
        let mut done = vec![(who, moved as i64)];
        self.go_on(&mut done);
        done
    }

    /// A signal to a process that sleeps in the queue.
    pub fn signal(&mut self, who: usize, restart: bool, ends: Ends) -> Done {
        let mut done = Done::new();
        for call in self.leave(who) {
            match call {
                Call::Write(writing) if writing.done > 0 => {
                    done.push((who, writing.done as i64));
                }
                _ if !restart => done.push((who, error(Errno::EINTR))),
                // It begins anew, behind those who slept on.
                Call::Read { len, good } => done.extend(self.read(who, len, good, true, ends)),
                Call::Write(Writing { total, good, .. }) => {
                    done.extend(self.write(who, total, good, true, ends));
                }
            }
        }
        done
    }

    /// A process is gone, or at least its call.
    fn leave(&mut self, who: usize) -> Vec<Call> {
        let mut calls = Vec::new();
        for queue in [&mut self.readers, &mut self.writers] {
            calls.extend(
                queue
                    .iter()
                    .filter(|(p, _)| *p == who)
                    .map(|(_, call)| *call),
            );
            queue.retain(|(process, _)| *process != who);
        }
        calls
    }

    /// A process was killed.
    pub fn kill(&mut self, who: usize) {
        self.leave(who);
    }

    /// The last end of a side, or of all, was closed.
    pub fn ends_changed(&mut self, ends: Ends) -> Done {
        let mut done = Done::new();
        if ends.writers == 0 {
            done.extend(self.readers.drain(..).map(|(who, _)| (who, 0)));
        }
        if ends.readers == 0 {
            done.extend(self.writers.drain(..).map(|(who, call)| match call {
                Call::Write(Writing { done, .. }) if done > 0 => (who, done as i64),
                _ => (who, error(Errno::EPIPE)),
            }));
        }
        if ends == Ends::default() {
            self.store = S::new(self.capacity);
        }
        done
    }

    /// Sets the capacity.
    pub fn resize(&mut self, who: usize, capacity: usize) -> Done {
        let mut done = Done::new();
        if self.store.resize(capacity) {
            self.capacity = capacity;
            done.push((who, capacity as i64));
            // It wakes a writer, who takes what there is, also where it would not have been woken.
            if let Some((who, Call::Write(writing))) = self.writers.pop_front() {
                self.put(who, writing, &mut done);
            }
        } else {
            done.push((who, error(Errno::EBUSY)));
        }
        self.go_on(&mut done);
        done
    }

    fn take(&mut self, len: usize, good: usize) -> i64 {
        match self.store.take(len, good) {
            0 => error(Errno::EFAULT),
            taken => taken as i64,
        }
    }

    /// Lets sleepers go on, in the order in which they fell asleep, until none can.
    fn go_on(&mut self, done: &mut Done) {
        loop {
            if self.store.queued() > 0 {
                if let Some((who, Call::Read { len, good })) = self.readers.pop_front() {
                    let value = self.take(len, good);
                    done.push((who, value));
                    continue;
                }
            }
            if self.store.is_writable() {
                if let Some((who, Call::Write(writing))) = self.writers.pop_front() {
                    self.put(who, writing, done);
                    continue;
                }
            }
            return;
        }
    }

    /// A writer who was woken.
    fn put(&mut self, who: usize, mut writing: Writing, done: &mut Done) {
        let is_torn = self.store.put(&mut writing, false);
        match writing.done {
            0 if is_torn => done.push((who, error(Errno::EFAULT))),
            moved if is_torn || moved == writing.total => done.push((who, moved as i64)),
            _ => self.writers.push_back((who, Call::Write(writing))),
        }
    }
}

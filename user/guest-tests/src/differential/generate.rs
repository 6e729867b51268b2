// SPDX-License-Identifier: MIT

//! Draws a sequence from a seed: the same sequence at every run.

use super::op::{Access, Action, Buffer, Events, Op};
use crate::tools::bytes::Random;

/// Operations of one sequence. Many of them find nothing to do (no handle yet, a blocked process).
const OPS: usize = 16;

/// Number `index` of the sequences of a seed.
pub fn sequence(seed: u64, index: u64) -> Vec<Op> {
    // Neighbouring numbers must not begin alike (splitmix64's mixing).
    let mut mixed = seed ^ index.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let mut dice = Dice(Random::new((mixed ^ (mixed >> 31)).max(1)));
    let mut ops = match dice.0.up_to(10) {
        1..=3 => dice.crowded(),
        4 => dice.watched(),
        5 => dice.listening(),
        6 => dice.parting(),
        7 => dice.returning(),
        _ => Vec::new(),
    };
    while ops.len() < OPS {
        ops.push(dice.op());
    }
    ops
}

struct Dice(Random);

impl Dice {
    fn op(&mut self) -> Op {
        // The child exists seldom, so it is asked for seldom.
        let process = *self.one_of(&[0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 3]);
        let action = self.action();
        Op { process, action }
    }

    /// Three processes at a small queue that is full: here writers fall asleep, and go on in turn.
    fn crowded(&mut self) -> Vec<Op> {
        let mut ops: Vec<Op> = (0..3)
            .map(|process| Op {
                process,
                action: open(Access::Both, process == 0),
            })
            .collect();
        let bytes = *self.one_of(&[4096, 8192, 16384]);
        let first = [resize(bytes), write(bytes)];
        ops.extend(first.map(|action| Op { process: 0, action }));
        ops
    }

    /// An edge-triggered watch that has told of the data, which is still there.
    fn watched(&mut self) -> Vec<Op> {
        let process = self.0.up_to(3) - 1;
        let nonblock = self.is_one_in(2);
        let events = *self.one_of(&[Events::In, Events::Both]);
        let actions = [
            open(Access::Both, nonblock),
            Action::Watch {
                handle: 0,
                events,
                edge: true,
            },
            write(100),
            Action::Await { wait: false },
            write(100),
            Action::Await { wait: false },
        ];
        actions.map(|action| Op { process, action }).into()
    }

    /// A read end and a write end whose process is told by SIGIO.
    fn listening(&mut self) -> Vec<Op> {
        let process = self.0.up_to(3) - 1;
        let access = *self.one_of(&[Access::Read, Access::Write, Access::Both]);
        let actions = [
            open(Access::Both, true),
            open(access, true),
            Action::Async {
                handle: 1,
                on: true,
            },
        ];
        actions.map(|action| Op { process, action }).into()
    }

    /// One end each, and whoever has the one sleeps while the other's may be closed.
    fn parting(&mut self) -> Vec<Op> {
        let asleep = match self.0.up_to(4) {
            1 => vec![
                (
                    0,
                    Action::Nonblock {
                        handle: 0,
                        on: false,
                    },
                ),
                (0, read(1)),
            ],
            2 => vec![(0, poll(Events::In))],
            3 => vec![(1, resize(4096)), (1, write(4096)), (1, poll(Events::Out))],
            _ => vec![(1, resize(4096)), (1, write(4096)), (1, write(1))],
        };
        let sleeper = asleep.last().map_or(0, |last| last.0);
        let mut ops = vec![
            (0, open(Access::Read, true)),
            (1, open(Access::Write, false)),
        ];
        ops.extend(asleep);
        if self.is_one_in(2) {
            ops.push((1 - sleeper, Action::Close { handle: 0 }));
        }
        let op = |(process, action)| Op { process, action };
        ops.into_iter().map(op).collect()
    }

    /// A watched read end whose writer has left something behind, and may come back.
    fn returning(&mut self) -> Vec<Op> {
        let watch = Action::Watch {
            handle: 0,
            events: Events::In,
            edge: true,
        };
        let look = || Action::Await { wait: false };
        let mut ops = vec![
            (0, open(Access::Read, true)),
            (1, open(Access::Write, true)),
            (1, write(100)),
            (0, watch),
            (1, Action::Close { handle: 0 }),
            (0, look()),
        ];
        if self.is_one_in(2) {
            ops.extend([(1, open(Access::Write, true)), (0, look())]);
        }
        let op = |(process, action)| Op { process, action };
        ops.into_iter().map(op).collect()
    }

    /// The weights: most operations open, write, read and look.
    fn action(&mut self) -> Action {
        let handle = self.0.up_to(4) - 1;
        match self.0.up_to(100) {
            1..=2 => Action::Visit {
                access: *self.one_of(&[Access::Read, Access::Write]),
            },
            3..=20 => Action::Open {
                access: *self.one_of(&[Access::Read, Access::Write, Access::Both]),
                nonblock: self.is_one_in(2),
            },
            21..=27 => Action::Close { handle },
            28..=30 => Action::Dup { handle },
            // Fork and exit take as long as ten others.
            31 if self.is_one_in(4) => Action::Fork,
            31 => Action::Dup { handle },
            32 => Action::Exit,
            33 => Action::Kill,
            34..=38 => Action::Signal {
                restart: self.is_one_in(3),
            },
            39..=52 => Action::Read {
                handle,
                buffer: self.buffer(),
            },
            53..=69 => Action::Write {
                handle,
                buffer: self.buffer(),
            },
            70..=77 => Action::Poll {
                handle,
                events: self.events(),
                wait: self.is_one_in(3),
            },
            78..=82 => Action::Watch {
                handle,
                events: self.events(),
                edge: self.is_one_in(2),
            },
            83 => Action::Unwatch { handle },
            84..=89 => Action::Await {
                wait: self.is_one_in(3),
            },
            90..=91 => Action::Queued { handle },
            92..=93 => Action::Nonblock {
                handle,
                on: self.is_one_in(2),
            },
            94 => Action::Async {
                handle,
                on: !self.is_one_in(4),
            },
            95..=97 => Action::Resize {
                handle,
                bytes: *self.one_of(&[0, 1, 4096, 4096, 4096, 4097, 8192, 16384, 65536, 131_072]),
            },
            98 => Action::SpliceOut {
                handle,
                len: self.len().max(1),
                nonblock: self.is_one_in(2),
            },
            _ => Action::SpliceIn {
                handle,
                len: self.len().clamp(1, 65536),
                nonblock: self.is_one_in(2),
            },
        }
    }

    fn events(&mut self) -> Events {
        *self.one_of(&[Events::In, Events::Out, Events::Both])
    }

    fn buffer(&mut self) -> Buffer {
        let count = if self.is_one_in(6) { 3 } else { 1 };
        let parts: Vec<usize> = (0..count).map(|_| self.len() / count).collect();
        let len: usize = parts.iter().sum();
        let good = self.is_one_in(12).then(|| match self.0.up_to(3) {
            1 => 0,
            2 => len / 2 / 4096 * 4096,
            _ => self.0.up_to(len + 1) - 1,
        });
        Buffer { parts, good }
    }

    /// Pages and what is around their edges, small numbers, and now and then anything.
    fn len(&mut self) -> usize {
        const LENGTHS: [usize; 14] = [
            0, 1, 1, 10, 100, 2048, 4095, 4096, 4096, 4096, 4097, 8192, 16384, 65536,
        ];
        match self.0.up_to(10) {
            1 => self.0.up_to(20_000),
            2 => self.0.up_to(5000),
            _ => *self.one_of(&LENGTHS),
        }
    }

    fn is_one_in(&mut self, count: usize) -> bool {
        self.0.up_to(count) == 1
    }

    fn one_of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.0.up_to(choices.len()) - 1]
    }
}

fn open(access: Access, nonblock: bool) -> Action {
    Action::Open { access, nonblock }
}

fn whole(len: usize) -> Buffer {
    Buffer {
        parts: vec![len],
        good: None,
    }
}

fn read(len: usize) -> Action {
    let (handle, buffer) = (0, whole(len));
    Action::Read { handle, buffer }
}

fn write(len: usize) -> Action {
    let (handle, buffer) = (0, whole(len));
    Action::Write { handle, buffer }
}

fn resize(bytes: usize) -> Action {
    Action::Resize { handle: 0, bytes }
}

fn poll(events: Events) -> Action {
    Action::Poll {
        handle: 0,
        events,
        wait: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_and_a_number_give_the_same_sequence_each_time() {
        assert_eq!(sequence(1, 5), sequence(1, 5));
        assert_ne!(sequence(1, 5), sequence(1, 6));
        assert_ne!(sequence(1, 5), sequence(2, 5));
    }
}

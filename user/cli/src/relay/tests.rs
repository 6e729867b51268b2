// SPDX-License-Identifier: MIT

//! Both machines against each other over connections that lose what is on its way, at any moment, and a queue
//! that takes as much as it likes. Nothing may be lost, doubled or out of order.

use super::message::{Hello, Message, Piece, Role, Unit, PIECE_BYTES};
use super::pump::Machine;
use super::receiving::Receiving;
use super::sending::{Outcome, Sending, WINDOW_BYTES, WINDOW_PIECES};
use super::Error;
use proptest::prelude::*;
use std::collections::VecDeque;

/// Both sides, and what is on its way between them.
struct World {
    sending: Sending,
    receiving: Receiving,
    there: VecDeque<Message>,
    back: VecDeque<Message>,
    is_connected: bool,
    /// What the writer wrote, and what the reader can read: one entry for each packet, bytes joined.
    written: Vec<(Unit, Vec<u8>)>,
    arrived: Vec<(Unit, Vec<u8>)>,
}

/// What happens next.
#[derive(Clone, Copy, Debug)]
enum Step {
    Connect,
    Disconnect,
    /// The sending side may read so many bytes.
    Read(u16, Unit),
    /// A side says one thing.
    Say(Role),
    /// One message of this side arrives.
    Arrive(Role),
    /// The receiving side's queue takes so many bytes.
    Take(u16),
}

impl World {
    fn new() -> Self {
        Self {
            sending: Sending::new(7),
            receiving: Receiving::default(),
            there: VecDeque::new(),
            back: VecDeque::new(),
            is_connected: false,
            written: Vec::new(),
            arrived: Vec::new(),
        }
    }

    fn step(&mut self, step: Step) -> Result<(), Error> {
        match step {
            Step::Connect if !self.is_connected => {
                self.is_connected = true;
                self.sending.connected();
                self.receiving.connected();
            }
            Step::Disconnect if self.is_connected => {
                self.is_connected = false;
                self.there.clear();
                self.back.clear();
                self.sending.disconnected();
                self.receiving.disconnected();
            }
            Step::Connect | Step::Disconnect => {}
            Step::Read(length, unit) => {
                if self.sending.wants_to_read() {
                    let from = self.sending.taken_and_acked().0;
                    let bytes: Vec<u8> = (from..from + u64::from(length.max(1)))
                        .map(|at| (at % 251) as u8)
                        .collect();
                    join(&mut self.written, unit, &bytes);
                    let bytes = bytes.into();
                    self.sending.take(Piece { unit, bytes });
                }
            }
            Step::Say(Role::Sending) => self.there.extend(self.sending.next()),
            Step::Say(Role::Receiving) => self.back.extend(self.receiving.next()),
            Step::Arrive(Role::Sending) => {
                if let Some(message) = self.there.pop_front() {
                    self.receiving.receive(message)?;
                }
            }
            Step::Arrive(Role::Receiving) => {
                if let Some(message) = self.back.pop_front() {
                    self.sending.receive(message)?;
                }
            }
            Step::Take(most) => {
                if let Some((piece, rest)) = self.receiving.to_write() {
                    let length = match piece.unit {
                        Unit::Bytes => rest.len().min(usize::from(most)),
                        Unit::Packet => rest.len(),
                    };
                    let (unit, bytes) = (piece.unit, rest[..length].to_vec());
                    if length > 0 {
                        join(&mut self.arrived, unit, &bytes);
                        self.receiving.wrote(length);
                    }
                }
            }
        }
        Ok(())
    }

    /// Both sides say something, and it arrives.
    fn talk(&mut self) -> Result<(), Error> {
        for role in [Role::Sending, Role::Receiving] {
            self.step(Step::Say(role))?;
        }
        for role in [Role::Sending, Role::Receiving] {
            self.step(Step::Arrive(role))?;
        }
        Ok(())
    }

    /// Until nothing happens any more, with a connection that holds.
    fn finish(&mut self) -> Result<(), Error> {
        self.step(Step::Connect)?;
        for _ in 0..2_000 {
            self.talk()?;
            self.step(Step::Take(u16::MAX))?;
            if self.receiving.is_delivered() && self.receiving.outcome().is_none() {
                self.receiving.closed(Outcome::Complete);
            }
            if self.sending.outcome().is_some() {
                break;
            }
        }
        Ok(())
    }
}

/// Packets keep their bounds, bytes have none.
fn join(list: &mut Vec<(Unit, Vec<u8>)>, unit: Unit, bytes: &[u8]) {
    match list.last_mut() {
        Some((Unit::Bytes, last)) if unit == Unit::Bytes => last.extend(bytes),
        _ => list.push((unit, bytes.to_vec())),
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let unit = prop_oneof![Just(Unit::Bytes), Just(Unit::Packet)];
    let role = prop_oneof![Just(Role::Sending), Just(Role::Receiving)];
    let step = prop_oneof![
        4 => Just(Step::Connect),
        1 => Just(Step::Disconnect),
        // Seldom, as they take long to make.
        1 => (1..=u16::MAX, unit.clone()).prop_map(|(length, unit)| Step::Read(length, unit)),
        15 => (1..300u16, unit).prop_map(|(length, unit)| Step::Read(length, unit)),
        32 => role.clone().prop_map(Step::Say),
        32 => role.prop_map(Step::Arrive),
        12 => any::<u16>().prop_map(Step::Take),
    ];
    proptest::collection::vec(step, 0..400)
}

proptest! {
    #[test]
    fn every_byte_arrives_once_and_in_order_whatever_is_lost(steps in steps(), ready_at in 0..50usize) {
        let mut world = World::new();
        for (at, step) in steps.into_iter().enumerate() {
            if at == ready_at {
                world.receiving.queue_is_open();
            }
            world.step(step).unwrap();
        }
        world.receiving.queue_is_open();
        world.sending.end_of_file();
        world.finish().unwrap();
        prop_assert_eq!(&world.arrived, &world.written);
        prop_assert_eq!(world.sending.outcome(), Some(Outcome::Complete));
        prop_assert_eq!(world.receiving.outcome(), Some((Outcome::Complete, true)));
        let (taken, acked) = world.sending.taken_and_acked();
        prop_assert_eq!(taken, acked);
    }
}

/// Up, with a reader there.
fn up() -> World {
    let mut world = World::new();
    world.receiving.queue_is_open();
    world.step(Step::Connect).unwrap();
    for _ in 0..3 {
        world.talk().unwrap();
    }
    assert!(world.sending.wants_to_read());
    world
}

#[test]
fn nothing_is_read_before_there_is_a_reader() {
    let mut world = World::new();
    world.finish().unwrap();
    assert!(world.sending.is_up() && world.receiving.is_up());
    assert!(!world.sending.wants_to_read());
    world.receiving.queue_is_open();
    world.finish().unwrap();
    assert!(world.sending.wants_to_read());
}

#[test]
fn a_queue_that_takes_nothing_stops_the_reading_at_the_window() {
    let mut world = up();
    for _ in 0..3000 {
        world.step(Step::Read(50_000, Unit::Bytes)).unwrap();
        world.talk().unwrap();
    }
    let (taken, acked) = world.sending.taken_and_acked();
    assert!(acked == 0 && taken >= WINDOW_BYTES && taken < WINDOW_BYTES + PIECE_BYTES as u64);
    // Half a window is taken there: as much comes after.
    for _ in 0..4 {
        world.step(Step::Take(u16::MAX)).unwrap();
    }
    world.talk().unwrap();
    assert!(world.sending.wants_to_read());
    let mut world = up();
    for _ in 0..3000 {
        world.step(Step::Read(1, Unit::Packet)).unwrap();
    }
    assert_eq!(world.sending.taken_and_acked(), (WINDOW_PIECES as u64, 0));
}

#[test]
fn the_end_comes_after_what_waits_and_done_after_the_end() {
    let mut world = up();
    world.step(Step::Read(100, Unit::Bytes)).unwrap();
    world.sending.end_of_file();
    for _ in 0..5 {
        world.talk().unwrap();
    }
    assert!(!world.receiving.is_delivered());
    assert_eq!(world.sending.outcome(), None);
    world.finish().unwrap();
    assert_eq!(world.sending.outcome(), Some(Outcome::Complete));
}

#[test]
fn a_reader_that_has_gone_is_told_on_the_next_connection_too() {
    let mut world = up();
    world.step(Step::Read(100, Unit::Bytes)).unwrap();
    world.receiving.closed(Outcome::Gone);
    world.step(Step::Say(Role::Receiving)).unwrap();
    world.step(Step::Disconnect).unwrap();
    world.finish().unwrap();
    assert_eq!(world.sending.outcome(), Some(Outcome::Gone));
    assert!(world.arrived.is_empty());
}

fn hello(role: Role, stream: u64, position: u64) -> Message {
    Message::Hello(Hello {
        role,
        has_begun: position > 0,
        stream,
        position,
    })
}

#[test]
fn the_wrong_partner_is_refused_by_name() {
    let said = |message, world: &mut World| world.sending.receive(message).unwrap_err();
    let mut world = World::new();
    world.sending.connected();
    let same = said(hello(Role::Sending, 9, 0), &mut world);
    assert!(matches!(same, Error::SameRole { .. }), "{same}");
    let other = said(hello(Role::Receiving, 9, 1), &mut world);
    assert!(matches!(other, Error::OtherStream), "{other}");
    // Once it is known, the receiving side must know it too.
    let mut world = up();
    world.step(Step::Disconnect).unwrap();
    world.sending.connected();
    let anew = said(hello(Role::Receiving, 0, 0), &mut world);
    assert!(matches!(anew, Error::Restarted), "{anew}");
    let said = |message, world: &mut World| world.receiving.receive(message).unwrap_err();
    let mut world = up();
    world.step(Step::Read(1, Unit::Bytes)).unwrap();
    world.talk().unwrap();
    world.step(Step::Disconnect).unwrap();
    world.receiving.connected();
    let other = said(hello(Role::Sending, 8, 0), &mut world);
    assert!(matches!(other, Error::OtherStream), "{other}");
    let mut world = World::new();
    world.receiving.connected();
    let anew = said(hello(Role::Sending, 8, 5), &mut world);
    assert!(matches!(anew, Error::Restarted), "{anew}");
}

#[test]
fn a_stream_of_which_nothing_came_makes_way_for_another() {
    let mut world = up();
    world.step(Step::Disconnect).unwrap();
    world.sending = Sending::new(8);
    world.step(Step::Connect).unwrap();
    world.talk().unwrap();
    assert!(world.receiving.is_up());
    world.sending.end_of_file();
    world.finish().unwrap();
    assert_eq!(world.sending.outcome(), Some(Outcome::Complete));
}

#[test]
fn what_has_no_place_is_refused() {
    let piece = Piece {
        unit: Unit::Bytes,
        bytes: [1].into(),
    };
    let data = |position| Message::Data {
        position,
        piece: piece.clone(),
    };
    for message in [
        Message::Ack(1),
        Message::Done(0),
        data(0),
        Message::End(0),
        hello(Role::Receiving, 7, 0),
    ] {
        assert!(
            up().sending.receive(message.clone()).is_err(),
            "{message:?}"
        );
    }
    for message in [
        Message::Ready,
        Message::Ack(0),
        data(1),
        Message::End(1),
        hello(Role::Sending, 7, 0),
    ] {
        assert!(
            up().receiving.receive(message.clone()).is_err(),
            "{message:?}"
        );
    }
    // Before the hello nothing but a hello has.
    let mut world = World::new();
    world.step(Step::Connect).unwrap();
    assert!(world.sending.receive(Message::Alive(1000)).is_err());
    assert!(world.receiving.receive(data(0)).is_err());
}

#[test]
fn a_sender_that_ignores_the_window_is_refused() {
    let mut world = up();
    let bytes: std::sync::Arc<[u8]> = vec![0; PIECE_BYTES].into();
    let mut send = |n: u64| {
        let piece = Piece {
            unit: Unit::Bytes,
            bytes: bytes.clone(),
        };
        let position = n * PIECE_BYTES as u64;
        world.receiving.receive(Message::Data { position, piece })
    };
    let taken = (0..100).take_while(|n| send(*n).is_ok()).count();
    assert_eq!(taken as u64, WINDOW_BYTES / PIECE_BYTES as u64);
}

// SPDX-License-Identifier: MIT

//! A process that does what it is told, one call at a time, on one queue.
//!
//! It knows nothing of the sequence: [`Command`]s come over a socket and [`Answer`]s go back. It is
//! forked once for each subject and process number, and lives through all sequences.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::{fcntl, open, splice, FcntlArg, OFlag, SpliceFFlags};
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::sys::socket::{recv, send, MsgFlags};
use nix::sys::stat::Mode;
use nix::unistd::{fork, pipe2, ForkResult};

use super::op::{Access, Action, Buffer, Events};
use super::signals::Signals;
use super::state::{CHILD, SLOTS};
use crate::tools::bytes::Stream;
use crate::tools::memory::{Mapping, Page, Span, PAGE_BYTES};
use crate::tools::raw;

/// Most bytes of one read or write.
pub const BUFFER_BYTES: usize = 48 * PAGE_BYTES;
/// Largest answer.
pub const MESSAGE_BYTES: usize = BUFFER_BYTES + HEADER_BYTES;
const HEADER_BYTES: usize = 16;

/// What an action brought about, as its caller sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The result, or the negative errno.
    pub value: i64,
    /// SIGPIPEs since the last answer.
    pub broken: u32,
    /// Was there a SIGIO between the last answer and this command?
    pub was_told: bool,
    /// The number that the command had.
    pub tag: u8,
    /// Bytes that were read, or events.
    pub data: Vec<u8>,
}

impl Answer {
    /// From the bytes of a message.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self {
            value: i64::from_ne_bytes(bytes[..8].try_into().expect("8 bytes")),
            broken: u32::from_ne_bytes(bytes[8..12].try_into().expect("4 bytes")),
            tag: bytes[12],
            was_told: bytes[13] != 0,
            data: bytes[HEADER_BYTES..].to_vec(),
        }
    }
}

/// The process. `channels` has one socket for each process number.
pub struct Worker {
    path: PathBuf,
    is_device: bool,
    channels: Vec<OwnedFd>,
    number: usize,
    slots: [Option<OwnedFd>; SLOTS],
    epoll: Option<Epoll>,
    signals: Signals,
    memory: Mapping,
    stream: Stream,
}

impl Worker {
    /// Serves commands until it is killed.
    pub fn run(path: PathBuf, is_device: bool, channels: Vec<OwnedFd>, number: usize) -> ! {
        set_pdeathsig(Signal::SIGKILL).expect("PR_SET_PDEATHSIG");
        let mut worker = Self {
            path,
            is_device,
            channels,
            number,
            slots: Default::default(),
            epoll: None,
            signals: Signals::start(),
            memory: Mapping::of(&[Page::Open; BUFFER_BYTES / PAGE_BYTES]),
            stream: Stream::new(),
        };
        worker.serve()
    }

    fn serve(&mut self) -> ! {
        let mut message = [0; 256];
        loop {
            let channel = self.channels[self.number].as_raw_fd();
            let len = match recv(channel, &mut message, MsgFlags::empty()) {
                Err(Errno::EINTR) => continue,
                Ok(len) if len > 0 => len,
                // The runner is gone.
                _ => std::process::exit(0),
            };
            let text = std::str::from_utf8(&message[..len]).expect("commands are text");
            let (tag, action) = text.split_once(' ').expect("TAG ACTION");
            let tag: u8 = tag.parse().expect("a tag is a byte");
            // Now, when nobody is at work: nothing depends on who is quicker.
            let was_told = self.signals.take_io();
            let mut data = Vec::new();
            let result = match action {
                "reset" => self.reset(),
                action => {
                    let action = action.parse().unwrap_or_else(|e| panic!("{action}: {e}"));
                    self.call(&action, tag, &mut data)
                }
            };
            let mut answer = Vec::with_capacity(HEADER_BYTES + data.len());
            let value = result.unwrap_or_else(|errno| -(errno as i64));
            answer.extend(value.to_ne_bytes());
            answer.extend(self.signals.take_broken().to_ne_bytes());
            answer.extend([tag, was_told.into()]);
            answer.resize(HEADER_BYTES, 0);
            answer.extend(data);
            let channel = self.channels[self.number].as_raw_fd();
            send(channel, &answer, MsgFlags::empty()).expect("the runner takes every answer");
        }
    }

    fn reset(&mut self) -> nix::Result<i64> {
        self.slots = Default::default();
        self.epoll = None;
        // One from the end is no part of the next sequence.
        self.signals.take_io();
        Ok(0)
    }

    fn fd(&self, slot: usize) -> BorrowedFd {
        self.slots[slot].as_ref().expect("an open slot").as_fd()
    }

    fn call(&mut self, action: &Action, tag: u8, data: &mut Vec<u8>) -> nix::Result<i64> {
        match action {
            Action::Open { access, nonblock } => self.open(*access, *nonblock),
            Action::Visit { access } => self.open_file(*access, true).map(|_| 0),
            Action::Close { handle } => {
                let fd = self.slots[*handle].take().expect("an open slot");
                nix::unistd::close(fd).map(|()| 0)
            }
            Action::Dup { handle } => {
                let copy = nix::unistd::dup(self.fd(*handle))?;
                Ok(self.keep(copy))
            }
            Action::Fork => self.fork(),
            Action::Exit => std::process::exit(0),
            Action::Kill | Action::Signal { .. } => unreachable!("the runner sends signals"),
            Action::Read { handle, buffer } => {
                let (spans, start) = self.spans(buffer);
                let result = match spans[..] {
                    [span] => raw::read(self.fd(*handle), span),
                    _ => raw::readv(self.fd(*handle), &spans),
                };
                let len = result?;
                *data = self.memory.load(start, len.min(buffer.good()));
                Ok(len as i64)
            }
            Action::Write { handle, buffer } => {
                let (spans, start) = self.spans(buffer);
                let len = buffer.len().min(buffer.good());
                self.memory
                    .store(start, self.stream.piece(offset_of(tag), len));
                let result = match spans[..] {
                    [span] => raw::write(self.fd(*handle), span),
                    _ => raw::writev(self.fd(*handle), &spans),
                };
                result.map(|len| len as i64)
            }
            Action::Poll {
                handle,
                events,
                wait,
            } => {
                let timeout = match wait {
                    true => PollTimeout::NONE,
                    false => PollTimeout::ZERO,
                };
                let mut fds = [PollFd::new(self.fd(*handle), poll_flags(*events))];
                poll(&mut fds, timeout)?;
                Ok(fds[0].revents().map_or(0, |events| events.bits()).into())
            }
            Action::Watch {
                handle,
                events,
                edge,
            } => {
                let mut flags = EpollFlags::from_bits_retain(poll_flags(*events).bits().into());
                flags.set(EpollFlags::EPOLLET, *edge);
                let event = EpollEvent::new(flags, *handle as u64);
                if self.epoll.is_none() {
                    self.epoll = Some(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?);
                }
                let epoll = self.epoll.as_ref().expect("just made");
                epoll.add(self.fd(*handle), event).map(|()| 0)
            }
            Action::Unwatch { handle } => {
                let epoll = self.epoll.as_ref().ok_or(Errno::ENOENT)?;
                epoll.delete(self.fd(*handle)).map(|()| 0)
            }
            Action::Await { wait } => {
                let timeout = match wait {
                    true => EpollTimeout::NONE,
                    false => EpollTimeout::ZERO,
                };
                let epoll = self.epoll.as_ref().ok_or(Errno::ENOENT)?;
                let mut events = [EpollEvent::empty(); 8];
                let count = epoll.wait(&mut events, timeout)?;
                for event in &events[..count] {
                    let bits = event.events().bits() as u16;
                    data.push(event.data() as u8);
                    data.extend(bits.to_be_bytes());
                }
                Ok(count as i64)
            }
            Action::Queued { handle } => {
                kpipe_abi::queued_bytes(self.fd(*handle)).map(|len| len as i64)
            }
            Action::Nonblock { handle, on } => set_flag(self.fd(*handle), OFlag::O_NONBLOCK, *on),
            Action::Async { handle, on } => {
                raw::own(self.fd(*handle))?;
                set_flag(self.fd(*handle), OFlag::O_ASYNC, *on)
            }
            Action::Resize { handle, bytes } if self.is_device => {
                kpipe_abi::resize(self.fd(*handle), *bytes as u64).map(|len| len as i64)
            }
            Action::Resize { handle, bytes } => {
                let size = FcntlArg::F_SETPIPE_SZ(*bytes as i32);
                fcntl(self.fd(*handle), size).map(i64::from)
            }
            Action::SpliceOut {
                handle,
                len,
                nonblock,
            } => self.splice_out(*handle, *len, *nonblock, data),
            Action::SpliceIn {
                handle,
                len,
                nonblock,
            } => self.splice_in(*handle, *len, *nonblock, tag),
        }
    }

    fn open(&mut self, access: Access, nonblock: bool) -> nix::Result<i64> {
        let fd = self.open_file(access, nonblock)?;
        Ok(self.keep(fd))
    }

    fn open_file(&self, access: Access, nonblock: bool) -> nix::Result<OwnedFd> {
        let mut flags = OFlag::O_CLOEXEC
            | match access {
                Access::Read => OFlag::O_RDONLY,
                Access::Write => OFlag::O_WRONLY,
                Access::Both => OFlag::O_RDWR,
            };
        flags.set(OFlag::O_NONBLOCK, nonblock);
        open(&self.path, flags, Mode::empty())
    }

    /// Puts a descriptor into the lowest free slot, and returns its number.
    fn keep(&mut self, fd: OwnedFd) -> i64 {
        let slot = self.slots.iter().position(Option::is_none);
        let slot = slot.expect("the runner knows how many slots there are");
        self.slots[slot] = Some(fd);
        slot as i64
    }

    /// Returns the number of the new process; it serves the channel of [`CHILD`].
    fn fork(&mut self) -> nix::Result<i64> {
        // SAFETY: this process has one thread.
        match unsafe { fork() }? {
            ForkResult::Parent { child } => Ok(child.as_raw().into()),
            ForkResult::Child => {
                set_pdeathsig(Signal::SIGKILL).expect("PR_SET_PDEATHSIG");
                self.signals.take_broken();
                // An epoll instance of its own.
                self.epoll = None;
                self.number = CHILD;
                self.serve()
            }
        }
    }

    /// The parts of a buffer, and where the first one starts. Bad memory begins at the forbidden
    /// page behind the mapping.
    fn spans(&self, buffer: &Buffer) -> (Vec<Span>, usize) {
        let len = buffer.len();
        assert!(len <= BUFFER_BYTES);
        let start = BUFFER_BYTES - buffer.good().min(len);
        let mut offset = start;
        let spans = buffer.parts.iter().map(|part| {
            // A part that begins behind the forbidden page begins at it: bad in any case.
            let span = self
                .memory
                .span(offset.min(BUFFER_BYTES), 0)
                .with_len(*part);
            offset += part;
            span
        });
        (spans.collect(), start)
    }

    fn splice_out(
        &self,
        slot: usize,
        len: usize,
        nonblock: bool,
        data: &mut Vec<u8>,
    ) -> nix::Result<i64> {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
        let moved = splice(
            self.fd(slot),
            None,
            &writer,
            None,
            len,
            splice_flags(nonblock),
        )?;
        *data = vec![0; moved];
        let mut done = 0;
        while done < moved {
            done += nix::unistd::read(&reader, &mut data[done..])?;
        }
        Ok(moved as i64)
    }

    fn splice_in(&self, slot: usize, len: usize, nonblock: bool, tag: u8) -> nix::Result<i64> {
        let bytes = self.stream.piece(offset_of(tag), len);
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
        nix::unistd::write(&writer, bytes)?;
        let result = splice(
            &reader,
            None,
            self.fd(slot),
            None,
            len,
            splice_flags(nonblock),
        );
        // What is left in the pipe goes with it.
        result.map(|len| len as i64)
    }
}

/// Each step writes other bytes.
fn offset_of(tag: u8) -> usize {
    usize::from(tag) * 1021
}

fn set_flag(fd: BorrowedFd, flag: OFlag, on: bool) -> nix::Result<i64> {
    let mut flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    flags.set(flag, on);
    fcntl(fd, FcntlArg::F_SETFL(flags)).map(i64::from)
}

fn poll_flags(events: Events) -> PollFlags {
    match events {
        Events::In => PollFlags::POLLIN,
        Events::Out => PollFlags::POLLOUT,
        Events::Both => PollFlags::POLLIN | PollFlags::POLLOUT,
    }
}

fn splice_flags(nonblock: bool) -> SpliceFFlags {
    match nonblock {
        true => SpliceFFlags::SPLICE_F_NONBLOCK,
        false => SpliceFFlags::empty(),
    }
}

// SPDX-License-Identifier: MIT

//! [`Client`]: calls on one channel, from as many threads as wanted. A thread of its own reads the
//! responses and hands each to the caller that waits for its number.

use super::{decode, encode, BodyError, Fault, Interface};
use crate::{Broken, Frame, FrameError, FrameReader, Kind, Limit};
use kpipe::channel::{Channel, Receiver, Sender};
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::marker::PhantomData;
use std::os::fd::AsFd;
use std::sync::{mpsc, Arc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Why a call has no result.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RpcError {
    /// The server's answer is an error.
    #[error(transparent)]
    Fault(Fault),
    /// No answer in time. The call may have run, or still run; an answer that comes later is thrown away.
    #[error("no answer within {} s: the server is busy or stuck; try again, or with a longer timeout", .0.as_secs_f32())]
    TimedOut(Duration),
    /// Nothing was sent.
    #[error("the call is too long: {0}")]
    CallTooLong(Broken),
    /// The answer is not one of this interface.
    #[error("the answer has {0}")]
    BadReply(BodyError),
    /// The channel has ended, and this call with all others that waited. A new channel is needed.
    #[error("the channel to the server ended: {0}")]
    Ended(Arc<FrameError>),
    /// The server has ended the channel and says why.
    #[error("the server ended the channel: {0}")]
    Dismissed(Fault),
}

/// The asking side of a channel.
#[derive(Debug)]
pub struct Client<I> {
    limit: Limit,
    sender: Mutex<Sender>,
    pending: Arc<Mutex<Pending>>,
    stop: Arc<EventFd>,
    reader: Option<JoinHandle<()>>,
    interface: PhantomData<fn(I)>,
}

type Answer = Result<Frame, RpcError>;

/// Who waits for which number.
#[derive(Debug, Default)]
struct Pending {
    last_number: u64,
    callers: HashMap<u64, mpsc::SyncSender<Answer>>,
    /// Set once: nothing more will be answered.
    ended: Option<RpcError>,
}

impl<I: Interface> Client<I> {
    /// Of a connected channel.
    ///
    /// # Errors
    /// Those of [`Channel::split`], of eventfd(2), and of making a thread.
    pub fn new(channel: Box<dyn Channel>) -> io::Result<Self> {
        let carries = channel.carries();
        let limit = Limit::of(carries);
        let (receiver, sender) = channel.split()?;
        let pending = Arc::new(Mutex::new(Pending::default()));
        let stop = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?);
        let stoppable = Stoppable {
            receiver,
            stop: Arc::clone(&stop),
        };
        let reader = std::thread::Builder::new().name("rpc reader".to_owned());
        let reader = reader.spawn({
            let pending = Arc::clone(&pending);
            let frames = FrameReader::new(stoppable, carries, limit);
            move || Pending::serve(&pending, frames)
        })?;
        Ok(Self {
            limit,
            sender: Mutex::new(sender),
            pending,
            stop,
            reader: Some(reader),
            interface: PhantomData,
        })
    }

    /// Sends `call` and waits for its reply, but not longer than `timeout`. Other threads may
    /// call at the same time; replies come in the order in which the server has them.
    ///
    /// # Errors
    /// See [`RpcError`]. After a timeout or a fault the client can be used further.
    pub fn call(&self, call: &I::Call, timeout: Duration) -> Result<I::Reply, RpcError> {
        let end = Instant::now() + timeout;
        let (number, answer) = self.pending.lock().enter()?;
        let result = self
            .send(number, encode(call), timeout, end)
            .and_then(|()| {
                answer
                    .recv_timeout(end.saturating_duration_since(Instant::now()))
                    // The other end is kept until the answer was sent, so it can only be late.
                    .unwrap_or(Err(RpcError::TimedOut(timeout)))
            });
        self.pending.lock().callers.remove(&number);
        let frame = result?;
        match frame.kind {
            Kind::Error => Err(RpcError::Fault(
                decode(&frame.body).map_err(RpcError::BadReply)?,
            )),
            _ => decode(&frame.body).map_err(RpcError::BadReply),
        }
    }

    fn send(
        &self,
        number: u64,
        body: Vec<u8>,
        timeout: Duration,
        end: Instant,
    ) -> Result<(), RpcError> {
        let mut bytes = Vec::new();
        Frame {
            kind: Kind::Request,
            number,
            body,
        }
        .encode(self.limit, &mut bytes)
        .map_err(RpcError::CallTooLong)?;
        let late = RpcError::TimedOut(timeout);
        let mut sender = self.sender.try_lock_until(end).ok_or(late.clone())?;
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            let written = sender
                .set_timeout(Some(left))
                .and_then(|()| sender.write(rest));
            match written {
                Ok(len) => rest = &rest[len..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error)
                    if error.kind() == io::ErrorKind::TimedOut && rest.len() == bytes.len() =>
                {
                    return Err(late);
                }
                // A part was written: whatever follows would be taken for the rest of it.
                Err(error) => return Err(self.pending.lock().end(error.into())),
            }
        }
        Ok(())
    }
}

impl<I> Drop for Client<I> {
    fn drop(&mut self) {
        // Neither can fail for a descriptor of ours, nor can the thread panic.
        let _ = self.stop.write(1);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl Pending {
    /// A new call: its number, and where its answer will be.
    fn enter(&mut self) -> Result<(u64, mpsc::Receiver<Answer>), RpcError> {
        if let Some(ended) = &self.ended {
            return Err(ended.clone());
        }
        self.last_number += 1;
        let (caller, answer) = mpsc::sync_channel(1);
        self.callers.insert(self.last_number, caller);
        Ok((self.last_number, answer))
    }

    /// The reader's thread.
    fn serve(pending: &Mutex<Self>, mut frames: FrameReader<Stoppable>) {
        loop {
            let frame = frames.read_frame().and_then(|frame| {
                frame.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof).into())
            });
            let mut pending = pending.lock();
            if let Err(error) = frame.and_then(|frame| pending.deliver(frame)) {
                pending.end(error);
            }
            if pending.ended.is_some() {
                return;
            }
        }
    }

    fn deliver(&mut self, frame: Frame) -> Result<(), FrameError> {
        let Frame { kind, number, .. } = frame;
        if kind == Kind::Error && number == 0 {
            let why = decode(&frame.body).map_or_else(RpcError::BadReply, RpcError::Dismissed);
            self.end_with(why);
            return Ok(());
        }
        if matches!(kind, Kind::Request | Kind::Relay) || number == 0 || number > self.last_number {
            return Err(Broken::Unexpected { kind, number }.into());
        }
        // Without a caller it comes too late.
        if let Some(caller) = self.callers.remove(&number) {
            let _ = caller.try_send(Ok(frame));
        }
        Ok(())
    }

    fn end(&mut self, error: FrameError) -> RpcError {
        self.end_with(RpcError::Ended(Arc::new(error)))
    }

    /// Tells everybody who waits. The first reason counts.
    fn end_with(&mut self, why: RpcError) -> RpcError {
        let why = self.ended.get_or_insert(why).clone();
        for (_, caller) in self.callers.drain() {
            let _ = caller.try_send(Err(why.clone()));
        }
        why
    }
}

/// A receiver whose read ends when the client is dropped, though the peer says nothing.
#[derive(Debug)]
struct Stoppable {
    receiver: Receiver,
    stop: Arc<EventFd>,
}

impl Read for Stoppable {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut events = [
            PollFd::new(self.receiver.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.stop.as_fd(), PollFlags::POLLIN),
        ];
        poll(&mut events, PollTimeout::NONE)?;
        if events[1].any() == Some(true) {
            return Ok(0);
        }
        self.receiver.read(buf)
    }
}

// SPDX-License-Identifier: MIT

//! [`Link`]: one connection to the other side. It never sleeps; `pump.rs` polls it and tells the time. Each side says
//! after what silence it takes the other for gone, and something at least every third of the shorter of the two.

use super::message::{limit, Message};
use super::{Error, Result};
use kpipe::channel::Channel;
use kpipe::Wait;
use kpipe_protocol::Decoder;
use nix::poll::PollFlags;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

/// See the file's head.
#[derive(Debug)]
pub struct Link {
    channel: Box<dyn Channel>,
    decoder: Decoder,
    input: Vec<u8>,
    /// Frames under way; the first `written` bytes are out.
    output: Vec<u8>,
    written: usize,
    heard: Instant,
    /// Its first message has come whole. Before that it may be anybody, and bytes that drip are no sign of life.
    is_greeted: bool,
    said: Instant,
    /// After which the other side is gone.
    silence: Duration,
    /// After which we are for the other side, if that is shorter.
    impatience: Duration,
}

/// A third of it must be a time that a loaded machine keeps.
pub const SHORTEST_SILENCE: Duration = Duration::from_millis(100);

/// Bytes per read(2) and write(2); in between the queue has its turn.
const BLOCK_BYTES: usize = 128 * 1024;

impl Link {
    /// A connection that was just made.
    pub fn new(mut channel: Box<dyn Channel>, silence: Duration, now: Instant) -> Result<Self> {
        channel.set_wait(Wait::Never)?;
        Ok(Self {
            channel,
            decoder: Decoder::new(limit()),
            input: vec![0; BLOCK_BYTES],
            output: Vec::new(),
            written: 0,
            heard: now,
            is_greeted: false,
            said: now,
            silence,
            impatience: silence,
        })
    }

    /// What to poll, and for what.
    pub fn polls(&self) -> [(BorrowedFd<'_>, PollFlags); 2] {
        let out = if self.is_flushed() {
            PollFlags::empty()
        } else {
            PollFlags::POLLOUT
        };
        [
            (self.channel.rx(), PollFlags::POLLIN),
            (self.channel.tx(), out),
        ]
    }

    /// When to call [`Link::keep_alive`] at the latest.
    pub fn deadline(&self) -> Instant {
        (self.heard + self.silence).min(self.said + self.impatience / 3)
    }

    /// Says that we live, if nothing was said for long.
    ///
    /// # Errors
    /// [`Error::Silent`].
    pub fn keep_alive(&mut self, now: Instant) -> Result<()> {
        if now >= self.heard + self.silence {
            return Err(Error::Silent {
                seconds: self.silence.as_secs_f32(),
            });
        }
        if now >= self.said + self.impatience / 3 {
            self.said = now;
            // What waits to be sent is a sign of life itself.
            if self.is_flushed() {
                self.say_alive();
            }
        }
        Ok(())
    }

    fn say_alive(&mut self) {
        Message::Alive(self.silence.as_millis() as u64).encode(&mut self.output);
    }

    /// Reads what is there, and gives each message to `deliver`.
    ///
    /// # Errors
    /// [`Error::Closed`], what read(2) says, what `deliver` does.
    pub fn receive(
        &mut self,
        now: Instant,
        mut deliver: impl FnMut(Message) -> Result<()>,
    ) -> Result<()> {
        let length = match self.channel.read(&mut self.input) {
            // In the middle of a frame or not: what a machine that goes leaves behind.
            Ok(0) => return Err(Error::Closed),
            Ok(length) => length,
            Err(error) if is_passing(&error) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let was_greeted = self.is_greeted;
        let mut bytes = &self.input[..length];
        while let Some(frame) = self.decoder.decode(&mut bytes)? {
            let message = Message::decode(&frame)?;
            if let Message::Alive(silence_ms) = message {
                let theirs = Duration::from_millis(silence_ms).max(SHORTEST_SILENCE);
                self.impatience = self.silence.min(theirs);
            }
            deliver(message)?;
            self.is_greeted = true;
        }
        if self.is_greeted {
            self.heard = now;
        }
        if self.is_greeted && !was_greeted {
            // Our greeting was said before, so the other side takes this, and learns how often we need a word.
            self.say_alive();
        }
        Ok(())
    }

    /// Writes what `next` has to say, until it has nothing more or the connection takes no more.
    pub fn send(&mut self, now: Instant, mut next: impl FnMut() -> Option<Message>) -> Result<()> {
        loop {
            while self.output.len() < BLOCK_BYTES {
                match next() {
                    Some(message) => message.encode(&mut self.output),
                    None => break,
                }
            }
            if self.is_flushed() {
                return Ok(());
            }
            match self.channel.write(&self.output[self.written..]) {
                Ok(length) => self.written += length,
                Err(error) if is_passing(&error) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
            self.said = now;
            if self.is_flushed() {
                self.output.clear();
                self.written = 0;
            }
        }
    }

    /// Tells the other side why, if it can be told at once.
    pub fn refuse(mut self, why: &Error) {
        let mut words = Some(Message::Refused(why.to_string()));
        // It will see that the connection ends.
        let _ = self.send(Instant::now(), || words.take());
    }

    /// Who is connected.
    pub fn names(&self) -> kpipe::channel::Names {
        self.channel.names()
    }

    fn is_flushed(&self) -> bool {
        self.written == self.output.len()
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::super::message::{Hello, Role};
    use super::*;
    use kpipe::channel::{Address, Options};

    /// Two sides with these silences that have greeted each other, and when.
    fn greeted(silences: [u64; 2]) -> ([Link; 2], Instant) {
        let now = Instant::now();
        let (a, b) = Address::Pipes.pair(&Options::default()).unwrap();
        let mut silences = silences.into_iter().map(Duration::from_millis);
        let mut links = [a, b].map(|channel| {
            let mut link = Link::new(channel, silences.next().unwrap(), now).unwrap();
            let mut hello = Some(Message::Hello(Hello {
                role: Role::Sending,
                has_begun: false,
                stream: 1,
                position: 0,
            }));
            link.send(now, || hello.take()).unwrap();
            link
        });
        turn(&mut links, now).unwrap();
        (links, now)
    }

    /// What `pump.rs` does with both, when neither has anything to say.
    fn turn(links: &mut [Link], now: Instant) -> Result<()> {
        for link in links.iter_mut() {
            link.receive(now, |_| Ok(()))?;
            link.keep_alive(now)?;
            link.send(now, || None)?;
        }
        Ok(())
    }

    #[test]
    fn an_idle_connection_lives_with_whatever_silence_each_side_has() {
        for silences in [[3000, 3000], [1000, 60_000], [60_000, 100], [100, 100]] {
            let (mut links, mut now) = greeted(silences);
            let end = now + Duration::from_secs(30);
            while now < end {
                // Each is called when it wants to be, and no sooner.
                now = links.iter().map(Link::deadline).min().unwrap();
                turn(&mut links, now).unwrap();
            }
        }
    }

    #[test]
    fn a_side_that_says_nothing_is_gone_after_the_silence_and_no_sooner() {
        let (mut links, now) = greeted([1000, 60_000]);
        // What was said with the hello.
        links[0].receive(now, |_| Ok(())).unwrap();
        let moment = Duration::from_millis(1);
        let end = now + Duration::from_secs(1);
        links[0].keep_alive(end - moment).unwrap();
        let error = links[0].keep_alive(end).unwrap_err();
        assert!(matches!(error, Error::Silent { seconds: 1.0 }), "{error:?}");
    }
}

// SPDX-License-Identifier: MIT

//! The signals that the runner handles: those that end it, and the one of a new window size.

use std::process::exit;
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use nix::sys::signal::{SigSet, Signal};

use crate::session::Event;
use crate::Error;

/// A thread that waits for signals, and whom it tells.
pub struct Signals {
    listener: Arc<Mutex<Option<Sender<Event>>>>,
}

impl Signals {
    /// Starts to watch. To be called before any other thread exists, because each inherits the
    /// signals that are blocked. QEMU does not: `Command` resets them.
    pub fn watch() -> Result<Self, Error> {
        let mut signals = SigSet::empty();
        signals.extend([
            Signal::SIGINT,
            Signal::SIGTERM,
            Signal::SIGHUP,
            Signal::SIGWINCH,
        ]);
        signals.thread_block()?;
        let listener = Arc::new(Mutex::new(None::<Sender<Event>>));
        let current = Arc::clone(&listener);
        thread::spawn(move || loop {
            let Ok(signal) = signals.wait() else { continue };
            let listener = current.lock().unwrap_or_else(PoisonError::into_inner);
            let told = listener
                .as_ref()
                .is_some_and(|events| events.send(Event::Signal(signal)).is_ok());
            // Without a session there is nothing to clean up.
            if !told && signal != Signal::SIGWINCH {
                exit(128 + signal as i32);
            }
        });
        Ok(Self { listener })
    }

    /// Makes the channel of a session and sends the signals there from now on. To be called before
    /// QEMU starts: without a session a signal ends the runner at once.
    pub fn new_session(&self) -> Mailbox {
        let (sender, events) = channel();
        let mut listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner);
        *listener = Some(sender.clone());
        Mailbox { sender, events }
    }
}

/// Both ends of a session's channel.
pub struct Mailbox {
    /// For the threads.
    pub sender: Sender<Event>,
    /// For the loop.
    pub events: Receiver<Event>,
}

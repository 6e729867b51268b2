// SPDX-License-Identifier: MIT

//! Copies bytes between the caller's standard streams and the VM's sockets.
//!
//! The caller's descriptors are used as they are: whoever else has them (a shell, a terminal) must
//! not find them non-blocking. So each copy is a thread that may block.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use kpipe_init::Output;

use crate::session::Event;
use crate::Error;

const CHUNK_BYTES: usize = 64 * 1024;

/// Standard input, output and error for the command.
pub struct Standard {
    /// Where its input comes from.
    pub stdin: File,
    /// Where its output goes to.
    pub stdout: File,
    /// Where its errors go to.
    pub stderr: File,
}

/// The caller's own. (The Rust runtime has opened /dev/null for those that were closed.)
pub fn callers() -> Result<Standard, Error> {
    Ok(Standard {
        stdin: io::stdin().as_fd().try_clone_to_owned()?.into(),
        stdout: io::stdout().as_fd().try_clone_to_owned()?.into(),
        stderr: io::stderr().as_fd().try_clone_to_owned()?.into(),
    })
}

/// Nothing: for a trial.
pub fn nobodys() -> Result<Standard, Error> {
    let null = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    Ok(Standard {
        stdin: null.try_clone()?,
        stdout: null.try_clone()?,
        stderr: null,
    })
}

/// Copies the caller's input to the VM, and tells how much it was when it ends. The thread is not
/// waited for: it may sit in a read of a terminal.
pub fn feed(mut from: File, mut to: UnixStream, events: Sender<Event>) {
    thread::spawn(move || {
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut copied_bytes = 0;
        loop {
            let length = match from.read(&mut chunk) {
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                // A closed descriptor, or a terminal that is gone: the end.
                Err(_) => 0,
            };
            if length == 0 {
                let _ = events.send(Event::InputEnded(copied_bytes));
                return;
            }
            if to.write_all(&chunk[..length]).is_err() {
                return;
            }
            copied_bytes += length as u64;
        }
    });
}

/// Copies one of the command's outputs to the caller, and counts. When the caller has closed it,
/// this is told once, and the rest is only counted.
pub fn drain(
    mut from: UnixStream,
    mut to: File,
    output: Output,
    events: Sender<Event>,
) -> Arc<AtomicU64> {
    let counter = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&counter);
    thread::spawn(move || {
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut is_open = true;
        while let Ok(length @ 1..) = from.read(&mut chunk) {
            if is_open && to.write_all(&chunk[..length]).is_err() {
                is_open = false;
                let _ = events.send(Event::OutputClosed(output));
            }
            counted.fetch_add(length as u64, Ordering::Release);
            let _ = events.send(Event::Copied);
        }
    });
    counter
}

/// Collects the kernel's log, and writes it to `log` as it comes.
pub fn record(mut console: UnixStream, mut log: Option<File>) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut text = Vec::new();
        let mut chunk = [0; 4096];
        while let Ok(length @ 1..) = console.read(&mut chunk) {
            // A serial line ends its lines with CR LF.
            let part: Vec<u8> = chunk[..length]
                .iter()
                .copied()
                .filter(|&b| b != b'\r')
                .collect();
            if let Some(file) = &mut log {
                let _ = file.write_all(&part);
            }
            text.extend(part);
        }
        text
    })
}

// SPDX-License-Identifier: MIT

//! The calls that most lessons make, noted as strace(1) would show them. `name` is what the lesson calls
//! the descriptor.

use super::{errno, errno_of, Notes};
use kpipe::channel::Channel;
use nix::unistd;
use std::os::fd::{AsFd, IntoRawFd, OwnedFd};
use std::time::Instant;

impl Notes {
    /// read(2) of at most `len` bytes.
    pub fn read(&mut self, name: &str, fd: impl AsFd, len: usize) -> nix::Result<Vec<u8>> {
        self.read_by(name, len, |bytes| unistd::read(fd, bytes))
    }

    /// The same of a channel, which first waits until there is something or the peer has ended: a queue whose
    /// other end nobody has opened yet would say end of file.
    pub fn receive(
        &mut self,
        name: &str,
        channel: &mut dyn Channel,
        len: usize,
    ) -> nix::Result<Vec<u8>> {
        self.read_by(name, len, |bytes| channel.read(bytes).map_err(errno))
    }

    fn read_by(
        &mut self,
        name: &str,
        len: usize,
        read: impl FnOnce(&mut [u8]) -> nix::Result<usize>,
    ) -> nix::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        let began = Instant::now();
        let result = read(&mut bytes);
        let took_us = began.elapsed().as_micros() as u64;
        let returned = match result {
            // End of file, or an empty message.
            Ok(0) => "0".to_owned(),
            Ok(got) => format!("{got}{}", text_of(&bytes[..got], " ")),
            Err(errno) => errno_of(errno),
        };
        self.returned(format_args!("read({name}, {len})"), &returned, took_us);
        bytes.truncate(result?);
        Ok(bytes)
    }

    /// write(2).
    pub fn write(&mut self, name: &str, fd: impl AsFd, bytes: &[u8]) -> nix::Result<usize> {
        let shown = match text_of(bytes, "").as_str() {
            "" => format!("{} bytes", bytes.len()),
            text => text.to_owned(),
        };
        self.call(format_args!("write({name}, {shown})"), || {
            unistd::write(fd, bytes)
        })
    }

    /// close(2).
    pub fn close(&mut self, name: &str, fd: OwnedFd) -> nix::Result<()> {
        self.call(format_args!("close({name})"), || {
            unistd::close(fd.into_raw_fd())
        })
    }
}

/// Short text in quotes, nothing for what is long or no text.
fn text_of(bytes: &[u8], before: &str) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if bytes.len() <= 40 && !text.contains(is_no_text) => format!("{before}{text:?}"),
        _ => String::new(),
    }
}

fn is_no_text(letter: char) -> bool {
    letter.is_control() && letter != '\n'
}

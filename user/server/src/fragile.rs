// SPDX-License-Identifier: MIT

//! [`Fragile`]: a service whose handler crashes on demand, to see whom that hurts in which model.

use crate::{Handler, Next, Service, With};
use kpipe::channel::Carries;
use std::io;

/// Crashes when a client sends a certain text; otherwise the service inside.
pub struct Fragile {
    inner: Box<dyn Service>,
    words: Words,
}

#[derive(Clone, Default)]
struct Words {
    crash: Option<Vec<u8>>,
    panic: Option<Vec<u8>>,
}

impl Fragile {
    /// `crash`: the process is ended by `SIGABRT`, as by any fault of the processor. `panic`: the stack of
    /// the thread is unwound.
    pub fn new(inner: Box<dyn Service>, crash: Option<String>, panic: Option<String>) -> Self {
        // Nothing would be found everywhere.
        let word =
            |text: Option<String>| text.filter(|text| !text.is_empty()).map(String::into_bytes);
        let (crash, panic) = (word(crash), word(panic));
        Self {
            inner,
            words: Words { crash, panic },
        }
    }
}

impl Service for Fragile {
    fn handler(&self, carries: Carries, with: With) -> Box<dyn Handler> {
        Box::new(FragileHandler {
            inner: self.inner.handler(carries, with),
            words: self.words.clone(),
            seen: Vec::new(),
        })
    }

    fn reload(&self) -> io::Result<String> {
        self.inner.reload()
    }
}

struct FragileHandler {
    inner: Box<dyn Handler>,
    words: Words,
    /// The last bytes, in which a text may have begun.
    seen: Vec<u8>,
}

impl Handler for FragileHandler {
    fn on_bytes(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Next {
        self.seen.extend_from_slice(bytes);
        let has = |word: &Option<Vec<u8>>| {
            word.as_ref()
                .is_some_and(|word| self.seen.windows(word.len()).any(|part| part == word))
        };
        if has(&self.words.crash) {
            std::process::abort();
        }
        assert!(
            !has(&self.words.panic),
            "the client sent the text to panic on"
        );
        let longest = [&self.words.crash, &self.words.panic]
            .into_iter()
            .flatten()
            .map(Vec::len)
            .max();
        let keep = longest.unwrap_or(1) - 1;
        self.seen.drain(..self.seen.len().saturating_sub(keep));
        self.inner.on_bytes(bytes, out)
    }

    fn on_sent(&mut self, out: &mut Vec<u8>) -> Next {
        self.inner.on_sent(out)
    }

    fn on_end(&mut self) -> Result<(), String> {
        self.inner.on_end()
    }

    fn on_timeout(&mut self, out: &mut Vec<u8>) {
        self.inner.on_timeout(out);
    }

    fn is_between_requests(&self) -> bool {
        self.inner.is_between_requests()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::echo::Echo;

    fn handler() -> Box<dyn Handler> {
        Fragile::new(Box::new(Echo), None, Some("boom".to_owned()))
            .handler(Carries::Bytes, With::One)
    }

    #[test]
    fn the_text_is_found_across_pieces() {
        let mut handler = handler();
        let mut out = Vec::new();
        handler.on_bytes(b"all is well, bo", &mut out);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            handler.on_bytes(b"om", &mut Vec::new())
        }));
        assert!(panicked.is_err());
        assert_eq!(out, b"all is well, bo");
    }

    #[test]
    fn other_text_reaches_the_service() {
        let mut handler = handler();
        let mut out = Vec::new();
        for piece in ["bo", "-om", "bo", "x", "om"] {
            handler.on_bytes(piece.as_bytes(), &mut out);
        }
        assert_eq!(out, b"bo-omboxom");
    }
}

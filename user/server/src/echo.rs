// SPDX-License-Identifier: MIT

//! [`Echo`]: gives back what it gets (RFC 862).

use crate::{Handler, Next, Service, With};
use kpipe::channel::Carries;

/// The service. It has no idea of a message's end: what came is answered, whole or not.
#[derive(Clone, Copy, Debug, Default)]
pub struct Echo;

impl Service for Echo {
    fn handler(&self, _carries: Carries, _with: With) -> Box<dyn Handler> {
        Box::new(*self)
    }
}

impl Handler for Echo {
    fn on_bytes(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Next {
        out.extend_from_slice(bytes);
        Next::Receive
    }
}

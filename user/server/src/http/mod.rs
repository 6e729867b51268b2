// SPDX-License-Identifier: MIT

//! [`Http`]: GET and HEAD of the files below a folder (RFC 9110, RFC 9112).
//!
//! | file | what |
//! |---|---|
//! | `request` | from bytes to a request, or the status that refuses it; httparse reads the syntax |
//! | `root` | from a path to an open file, and no way out of the folder |
//! | `range` | which part of a file |
//! | `response` | a response's head |
//! | `conversation` | the handler: requests one after another on one connection |

mod conversation;
mod range;
mod request;
mod response;
mod root;

use crate::{Handler, Service, With};
use kpipe::channel::Carries;
use root::Root;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};

/// The folder that counts now. A request that has begun keeps the one that it found; a process that serves a client
/// has a copy, and keeps the one that its parent had when it began.
type Current = Arc<RwLock<Arc<Root>>>;

/// The service.
#[derive(Debug)]
pub struct Http {
    folder: PathBuf,
    root: Current,
}

impl Http {
    /// Serves the files below `folder`. The folder is opened once: it may be renamed, or its name be given to
    /// another, and [`Service::reload`] opens what then has the name.
    pub fn new(folder: PathBuf) -> io::Result<Self> {
        let root = Arc::new(RwLock::new(Arc::new(Root::open(&folder)?)));
        Ok(Self { folder, root })
    }
}

impl Service for Http {
    fn handler(&self, _carries: Carries, _with: With) -> Box<dyn Handler> {
        Box::new(conversation::Conversation::new(Arc::clone(&self.root)))
    }

    fn reload(&self) -> io::Result<String> {
        let root = Arc::new(Root::open(&self.folder)?);
        *self.root.write().expect("nobody panics with it") = root;
        Ok(format!("the files below {}", self.folder.display()))
    }
}

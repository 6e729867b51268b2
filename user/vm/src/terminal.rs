// SPDX-License-Identifier: MIT

//! The caller's terminal: its size, and raw mode while a command in the VM uses it.

use std::env;
use std::io::{stdin, stdout, IsTerminal};

use kpipe_init::{Size, Terminal};
use rustix::termios::{tcgetattr, tcgetwinsize, tcsetattr, OptionalActions, Termios};

use crate::options::Options;
use crate::Error;

/// The terminal that the command gets, or `None` if it gets pipes.
pub fn for_command(options: &Options) -> Option<Terminal> {
    options.wants_terminal().then(|| Terminal {
        kind: env::var_os("TERM").unwrap_or_else(|| "dumb".into()),
        size: size(),
    })
}

/// The size of the caller's terminal, or the classic one without.
pub fn size() -> Size {
    let classic = Size {
        rows: 24,
        columns: 80,
    };
    match tcgetwinsize(stdout()) {
        Ok(size) if size.ws_row > 0 => Size {
            rows: size.ws_row,
            columns: size.ws_col,
        },
        _ => classic,
    }
}

/// Puts the caller's terminal into raw mode, if there is one, until the result is dropped: the
/// guest's terminal interprets the keys.
pub fn make_raw() -> Result<Option<Raw>, Error> {
    if !stdin().is_terminal() {
        return Ok(None);
    }
    let before = tcgetattr(stdin())?;
    let mut raw = before.clone();
    raw.make_raw();
    tcsetattr(stdin(), OptionalActions::Now, &raw)?;
    Ok(Some(Raw { before }))
}

/// Restores the terminal when dropped.
pub struct Raw {
    before: Termios,
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that is gone needs no mode.
        let _ = tcsetattr(stdin(), OptionalActions::Now, &self.before);
    }
}

// SPDX-License-Identifier: MIT

//! [`Log`]: what a server tells its operator, on standard error, which [`daemon`](crate::daemon) may have
//! made a file.

use std::io::Write;
use std::time::SystemTime;

/// Where lines go, and which. Every line is one write(2), so that processes may share the file.
#[derive(Clone, Copy, Debug)]
pub struct Log {
    /// Each connection, and each step of making one; otherwise problems only.
    pub is_verbose: bool,
    /// Begin lines with time and process, for a file.
    pub is_dated: bool,
}

impl Log {
    /// What the operator has to know.
    pub fn say(&self, text: impl std::fmt::Display) {
        let line = if self.is_dated {
            let now = httpdate::fmt_http_date(SystemTime::now());
            format!("{now} [{}] {text}\n", std::process::id())
        } else {
            format!("kpipe: {text}\n")
        };
        // There is nobody else to tell.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }

    /// What is of interest to who watches.
    pub fn detail(&self, text: impl FnOnce() -> String) {
        if self.is_verbose {
            self.say(text());
        }
    }
}

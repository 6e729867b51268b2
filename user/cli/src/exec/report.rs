// SPDX-License-Identifier: MIT

//! [`Report`]: what was replaced and what was not, for people and as JSON.

use super::contract::{Entry, ENTRIES};
use crate::units::{plural, thousands};
use nix::errno::Errno;
use serde::Serialize;
use std::fmt;

/// The counts over all processes of the tree.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Programs that were reached.
    programs: u64,
    /// Pipes that are pairs of the device.
    device_pipes: u64,
    /// Pipes of the kernel's own, for any reason.
    real_pipes: u64,
    /// The reasons, with how often.
    reasons: Vec<Reason>,
    /// Opens of a named path that went to a queue.
    opens: u64,
    /// fcntl(2) with `F_GETPIPE_SZ` and `F_SETPIPE_SZ` that the device answered.
    sizes: u64,
    /// fstat(2) in which a queue passed for a FIFO.
    stats: u64,
}

/// Why some pipes are the kernel's own.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Reason {
    pipes: u64,
    why: String,
}

impl Report {
    /// Of the entries of a ledger.
    pub fn new(counts: &[u64; ENTRIES]) -> Self {
        let get = |entry: Entry| counts[entry as usize];
        let error = |entry| Errno::from_raw(get(entry) as i32).desc();
        let reasons = [
            (
                Entry::RealFlag,
                "asked for with a flag that the device does not know".to_owned(),
            ),
            (
                Entry::RealNoNode,
                format!(
                    "/dev/kpipe could not be opened: {}",
                    error(Entry::NoNodeErrno)
                ),
            ),
            (
                Entry::RealRefused,
                format!("the driver refused: {}", error(Entry::RefusedErrno)),
            ),
        ];
        let reasons = reasons.map(|(entry, why)| Reason {
            pipes: get(entry),
            why,
        });
        Self {
            programs: get(Entry::Programs),
            device_pipes: get(Entry::Pairs),
            real_pipes: reasons.iter().map(|reason| reason.pipes).sum(),
            reasons: reasons
                .into_iter()
                .filter(|reason| reason.pipes > 0)
                .collect(),
            opens: get(Entry::Opens),
            sizes: get(Entry::Sizes),
            stats: get(Entry::Stats),
        }
    }
}

impl Report {
    /// Has any program loaded the library?
    pub fn has_programs(&self) -> bool {
        self.programs > 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.programs == 0 {
            return writeln!(
                f,
                "kpipe exec: not reached: no program has loaded the library (a static or a set-user-ID program cannot)"
            );
        }
        write!(
            f,
            "kpipe exec: {} on the device, {} of the kernel's own, in {}",
            plural(self.device_pipes, "pipe"),
            thousands(self.real_pipes),
            plural(self.programs, "program"),
        )?;
        for (count, what) in [
            (self.opens, "named open"),
            (self.sizes, "size"),
            (self.stats, "fstat"),
        ] {
            if count > 0 {
                write!(f, "; {}", plural(count, what))?;
            }
        }
        writeln!(f)?;
        for Reason { pipes, why } in &self.reasons {
            writeln!(f, "kpipe exec: {}: {why}", plural(*pipes, "real pipe"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(entries: &[(Entry, u64)]) -> Report {
        let mut counts = [0; ENTRIES];
        for &(entry, count) in entries {
            counts[entry as usize] = count;
        }
        Report::new(&counts)
    }

    #[test]
    fn one_line_says_how_many_pipes_there_were() {
        let report = report(&[(Entry::Programs, 3), (Entry::Pairs, 1200)]);
        let wanted =
            "kpipe exec: 1,200 pipes on the device, 0 of the kernel's own, in 3 programs\n";
        assert_eq!(report.to_string(), wanted);
    }

    #[test]
    fn every_real_pipe_has_a_reason() {
        let report = report(&[
            (Entry::Programs, 1),
            (Entry::RealFlag, 1),
            (Entry::RealNoNode, 2),
            (Entry::NoNodeErrno, libc::EACCES as u64),
        ]);
        assert_eq!(report.real_pipes, 3);
        let text = report.to_string();
        assert!(
            text.contains("1 real pipe: asked for with a flag"),
            "{text}"
        );
        assert!(
            text.contains("2 real pipes: /dev/kpipe could not be opened: Permission denied"),
            "{text}"
        );
    }

    #[test]
    fn a_program_that_was_not_reached_is_said_to_be() {
        assert!(report(&[]).to_string().contains("not reached"));
    }
}

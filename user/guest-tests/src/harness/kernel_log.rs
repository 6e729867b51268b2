// SPDX-License-Identifier: MIT

//! What the kernel says while a test runs, read record by record from /dev/kmsg
//! (Documentation/ABI/testing/dev-kmsg).

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;

use nix::errno::Errno;

/// Syslog level of a warning; lower is worse.
const WARNING: u8 = 4;

/// Text that is a complaint at any level: not everything that a debug kernel finds is a warning.
const COMPLAINTS: [&str; 17] = [
    "BUG:",
    "WARNING:",
    "KASAN",
    "KCSAN",
    "UBSAN",
    "Oops",
    "Call Trace",
    "kernel panic",
    "general protection fault",
    "possible recursive locking",
    "circular locking dependency",
    "inconsistent lock state",
    "suspicious RCU usage",
    "sleeping function called",
    "refcount_t",
    "hung_task",
    "unreferenced object",
];

/// Warnings about the machine that the kernel runs on. An emulated processor that shares its host
/// with others stops now and then, and neither the module nor a test can help it.
const OF_THE_MACHINE: [&str; 6] = [
    "clocksource",
    "hrtimer: interrupt took",
    "perf: interrupt took too long",
    "TSC",
    "hogged CPU for",
    "random: crng",
];

/// The records from one moment on.
pub struct KernelLog {
    kmsg: File,
}

/// One record: its text, and whether the kernel is unhappy.
#[derive(Debug, PartialEq, Eq)]
struct Record {
    level: u8,
    is_from_kernel: bool,
    text: String,
}

impl KernelLog {
    /// Starts behind the newest record.
    pub fn from_now() -> Result<Self, String> {
        let open = || {
            let mut kmsg = OpenOptions::new()
                .read(true)
                .custom_flags(nix::libc::O_NONBLOCK)
                .open("/dev/kmsg")?;
            kmsg.seek(SeekFrom::End(0))?;
            Ok(Self { kmsg })
        };
        open().map_err(|e: std::io::Error| format!("/dev/kmsg: {e}; these tests run as root"))
    }

    /// Reads to the end and adds a problem for each complaint, and one for each expected text that
    /// did not come.
    pub fn judge(&mut self, expected: &[&str], problems: &mut Vec<String>) {
        let records = self.records(problems);
        let is_in = |record: &Record, text: &str| record.text.contains(text);
        for record in &records {
            let is_expected = expected.iter().any(|text| is_in(record, text));
            if record.is_complaint() && !is_expected {
                problems.push(format!("kernel log <{}>: {}", record.level, record.text));
            }
        }
        for text in expected {
            if !records.iter().any(|record| is_in(record, text)) {
                problems.push(format!(
                    "expected {text:?} in the kernel log, it did not come"
                ));
            }
        }
    }

    fn records(&mut self, problems: &mut Vec<String>) -> Vec<Record> {
        let mut records = Vec::new();
        let mut buffer = [0; 8192];
        loop {
            match self.kmsg.read(&mut buffer) {
                Ok(len) => {
                    records.extend(Record::parse(&String::from_utf8_lossy(&buffer[..len])));
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return records,
                Err(e) if e.raw_os_error() == Some(Errno::EPIPE as i32) => problems.push(
                    "kernel log: so much was logged that records were overwritten".to_owned(),
                ),
                Err(e) => {
                    problems.push(format!("/dev/kmsg: {e}"));
                    return records;
                }
            }
        }
    }
}

impl Record {
    /// `PRIORITY,SEQUENCE,MICROSECONDS,FLAGS[,...];TEXT`, then lines ` KEY=VALUE`.
    fn parse(record: &str) -> Option<Self> {
        let (header, rest) = record.split_once(';')?;
        let priority: u32 = header.split(',').next()?.parse().ok()?;
        Some(Self {
            level: (priority & 7) as u8,
            is_from_kernel: priority >> 3 == 0,
            text: rest.lines().next().unwrap_or_default().to_owned(),
        })
    }

    fn is_complaint(&self) -> bool {
        let has = |texts: &[&str]| texts.iter().any(|text| self.text.contains(text));
        self.is_from_kernel && (has(&COMPLAINTS) || self.level <= WARNING && !has(&OF_THE_MACHINE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complains(record: &str) -> bool {
        Record::parse(record).expect("a record").is_complaint()
    }

    #[test]
    fn a_record_is_its_level_and_its_first_line() {
        let parsed = Record::parse("4,339,5140900,-,caller=T1;no such thing\n SUBSYSTEM=x\n");
        let wanted = Record {
            level: 4,
            is_from_kernel: true,
            text: "no such thing".to_owned(),
        };
        assert_eq!(parsed, Some(wanted));
    }

    #[test]
    fn a_warning_is_a_complaint_and_a_notice_is_none() {
        assert!(complains("4,1,1,-;kpipe: odd"));
        assert!(complains("3,1,1,-;kpipe: bad"));
        assert!(!complains("5,1,1,-;kpipe: loaded"));
        assert!(!complains("6,1,1,-;kpipe: loaded"));
    }

    #[test]
    fn a_finding_of_a_debug_kernel_is_a_complaint_at_any_level() {
        assert!(complains(
            "6,1,1,-;BUG: KASAN: slab-use-after-free in read_iter"
        ));
        assert!(complains(
            "6,1,1,-;unreferenced object 0xffff888 (size 64):"
        ));
    }

    #[test]
    fn what_a_user_process_logs_is_no_complaint() {
        assert!(!complains("12,1,1,-;init: a warning of user space"));
    }

    #[test]
    fn a_slow_clock_is_no_complaint_unless_it_is_a_bug() {
        assert!(!complains("4,1,1,-;hrtimer: interrupt took 5000000 ns"));
        assert!(complains("4,1,1,-;WARNING: CPU: 0 PID: 1 at clocksource.c"));
    }
}

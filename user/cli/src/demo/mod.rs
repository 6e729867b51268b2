// SPDX-License-Identifier: MIT

//! `kpipe demo`: a file goes from one process to another through the device, a pipe and two kinds
//! of socket ([`transfer`]); then the device shows how a pipe behaves at its limits ([`behaviour`]).
//!
//! Whatever is printed was measured or seen happen in this run; whatever is not as it must be makes
//! the exit status 1.

mod behaviour;
mod observe;
mod transfer;

use crate::channel::{check_unused, Channel};
use crate::failure::{Failure, Result};
use crate::terminal::{self, Align, Table};
use crate::units::{plural, short_bytes, thousands};
use clap::Parser;
use kpipe::{Control, Error, Queue};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use transfer::Transfer;

/// See a queue work: a file through it, and what happens when it is full, empty or closed.
///
/// A file goes from one process to another through the queue, then through pipe(2), an AF_UNIX and a
/// TCP socket, and arrives unchanged (SHA-256). Then a full queue blocks its writer, an empty one its
/// reader, the last writer's close is end of file, and the last reader's a broken pipe. Exits with 1
/// if anything is not as it should be.
#[derive(Parser)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The file to send [default: /boot/vmlinuz, the kernel's image, which `make run` brings into the VM]
    input: Option<PathBuf>,

    /// Number, name or path of the queue, or path of a FIFO to see the same there
    #[arg(short, long, default_value = "0")]
    queue: Queue,
}

const EXAMPLES: &str = "\
Examples:
  kpipe demo                        the kernel's own image through /dev/kpipe0
  kpipe demo --queue 3 /bin/sh      another file, another queue
  mkfifo f; kpipe demo --queue f    the kernel's FIFO, for comparison";

const DEFAULT_INPUT: &str = "/boot/vmlinuz";

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    let file = File::read(args.input.as_deref())?;
    check_unused(&args.queue, "--queue")?;
    terminal::print(&format!("\n{}\n\n", introduction(&args.queue)?))?;

    let transfers = transfer_over_all(&file, &args.queue)?;
    terminal::print(&format!("{}\n", table(&file, &args.queue, &transfers)))?;

    let mut differences = differences(&file, &transfers);
    for (name, show) in behaviour::ALL {
        let line = match show(&args.queue) {
            Ok(seen) => format!("  ok      {name:<11}  {seen}\n"),
            Err(failure) => {
                differences.push(format!("{name}: {failure}"));
                format!("  FAILED  {name:<11}  {failure}\n")
            }
        };
        terminal::print(&line)?;
    }
    if !differences.is_empty() {
        return Err(Failure::Differs(format!(
            "not as it should be: {}",
            differences.join("; ")
        )));
    }
    terminal::print(&format!(
        "\n{} is a pipe: the file arrived unchanged on every channel, and all four behaviours were seen.\n",
        args.queue
    ))
}

/// The file that is sent.
struct File {
    name: String,
    bytes: Vec<u8>,
    sha256: String,
}

impl File {
    fn read(input: Option<&Path>) -> Result<Self> {
        let path = input.unwrap_or(Path::new(DEFAULT_INPUT));
        let name = path.display().to_string();
        let len_bytes = match std::fs::metadata(path) {
            Err(_) if input.is_none() => return Err(Failure::NoInput(DEFAULT_INPUT)),
            metadata => metadata.map_err(Failure::io(&name))?.len(),
        };
        // Held by the sender and once more by the receiver, so that neither waits for a disk or
        // hashes while the clock runs.
        let (needed_bytes, available_bytes) =
            (len_bytes.saturating_mul(2), available_memory_bytes()?);
        if needed_bytes > available_bytes {
            return Err(Failure::NoMemory {
                input: name,
                needed_bytes,
                available_bytes,
            });
        }
        let bytes = std::fs::read(path).map_err(Failure::io(&name))?;
        if bytes.is_empty() {
            return Err(Failure::Differs(format!(
                "{name}: the file is empty: there is nothing to send"
            )));
        }
        let sha256 = sha256(&bytes);
        Ok(Self {
            name,
            bytes,
            sha256,
        })
    }
}

/// SHA-256 in hexadecimal, as sha256sum(1) prints it.
fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

/// `MemAvailable` of proc_meminfo(5).
fn available_memory_bytes() -> Result<u64> {
    let path = "/proc/meminfo";
    let text = std::fs::read_to_string(path).map_err(Failure::io(path))?;
    let kibibytes = text.lines().find_map(|line| {
        line.strip_prefix("MemAvailable:")?
            .trim()
            .strip_suffix(" kB")?
            .parse::<u64>()
            .ok()
    });
    kibibytes
        .map(|n| n << 10)
        .ok_or_else(|| Failure::Differs(format!("{path}: no MemAvailable")))
}

/// What is loaded.
fn introduction(queue: &Queue) -> Result<String> {
    let info = match queue.monitor() {
        Ok(monitor) => monitor.info()?,
        Err(Error::NotAQueue { .. }) => {
            return Ok(format!(
                "{queue} is no queue of the module: a FIFO, to compare with"
            ))
        }
        Err(error) => return Err(error.into()),
    };
    let queues = Queue::all().map_or(1, |queues| queues.len() as u64);
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Ok(format!(
        "The module kpipe is loaded into Linux {}: {}. {queue} holds up to {} bytes.",
        release.trim(),
        plural(queues, "queue"),
        thousands(info.capacity_bytes)
    ))
}

fn transfer_over_all(file: &File, queue: &Queue) -> Result<Vec<(Channel, Transfer)>> {
    let bar = terminal::progress(Channel::ALL.len() as u64);
    let mut transfers = Vec::new();
    for channel in Channel::ALL {
        bar.set_message(format!("{} through {}", file.name, channel.label()));
        transfers.push((
            channel,
            transfer::run(channel, queue, &file.bytes)
                .map_err(|failure| failure.during(channel.label()))?,
        ));
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(transfers)
}

fn table(file: &File, queue: &Queue, transfers: &[(Channel, Transfer)]) -> String {
    let mut table = Table::new(&[
        ("channel", Align::Left),
        ("bytes", Align::Right),
        ("seconds", Align::Right),
        ("MB/s", Align::Right),
        ("writer slept", Align::Right),
        ("reader slept", Align::Right),
        ("SHA-256 at the far end", Align::Left),
    ]);
    for (channel, transfer) in transfers {
        let name = if *channel == Channel::Kpipe {
            queue.to_string()
        } else {
            channel.label().into()
        };
        let verdict = if transfer.sha256 == file.sha256 {
            "equal".into()
        } else {
            format!("DIFFERS: {}", transfer.sha256)
        };
        table.row([
            name,
            thousands(transfer.len_bytes),
            format!("{:.3}", transfer.seconds),
            format!("{:.0}", transfer.len_bytes as f64 / 1e6 / transfer.seconds),
            thousands(transfer.writer_sleeps),
            thousands(transfer.reader_sleeps),
            verdict,
        ]);
    }
    let mut text = format!(
        "{} ({}) from one process to another, SHA-256 {}...:\n\n{}\n",
        file.name,
        short_bytes(file.bytes.len() as u64),
        &file.sha256[..16],
        table.render()
    );
    text += "  seconds: from the first write until the reader has all; slept: how often the process gave up the\n  \
             CPU to wait, and was woken again (voluntary context switches, getrusage(2)).\n";
    if let Some(driver) = transfers
        .iter()
        .find_map(|(_, transfer)| transfer.driver.as_ref())
    {
        text += &format!(
            "  The driver's own count for {queue}: writer slept {}, was woken {}; reader slept {}, was woken {}.\n",
            thousands(driver.writer_sleeps),
            thousands(driver.writer_wakeups),
            thousands(driver.reader_sleeps),
            thousands(driver.reader_wakeups),
        );
    }
    text
}

fn differences(file: &File, transfers: &[(Channel, Transfer)]) -> Vec<String> {
    let differs = transfers
        .iter()
        .filter(|(_, transfer)| transfer.sha256 != file.sha256);
    differs
        .map(|(channel, _)| format!("SHA-256 through {}", channel.label()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transfer(sha256: &str) -> Transfer {
        Transfer {
            len_bytes: 3,
            seconds: 0.5,
            writer_sleeps: 1,
            reader_sleeps: 2,
            sha256: sha256.into(),
            driver: None,
        }
    }

    #[test]
    fn a_hash_that_differs_is_named_and_shown() {
        let file = File {
            name: "x".into(),
            bytes: b"abc".into(),
            sha256: sha256(b"abc"),
        };
        let transfers = [
            (Channel::Kpipe, transfer(&file.sha256)),
            (Channel::Tcp, transfer("beef")),
        ];
        assert_eq!(differences(&file, &transfers), ["SHA-256 through TCP"]);
        let text = table(&file, &Queue::number(0), &transfers);
        assert!(
            text.contains("equal") && text.contains("DIFFERS: beef"),
            "{text}"
        );
    }

    #[test]
    fn sha256_is_what_everybody_computes() {
        // The example of FIPS 180-4.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(b"abc"), expected);
    }
}

// SPDX-License-Identifier: MIT

//! The transport that all tests run on: `--transport`, `--bottom-half` and `--msi` of the command line.
//!
//! The module gets it as parameters, here and wherever a test loads it. Not asked for, it is what the
//! module has by itself, `direct`.

use std::os::fd::BorrowedFd;
use std::sync::OnceLock;

use crate::harness::slow_down;
use kpipe::{BottomHalf, Carrier};

/// What the command line asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Wanted {
    carrier: Option<Carrier>,
    bottom_half: Option<BottomHalf>,
    msi: Option<u32>,
}

static WANTED: OnceLock<Wanted> = OnceLock::new();

/// A tick in nanoseconds that no test has to wait long for.
const TICK_NS: u32 = 50_000;

/// How many times as long as by the direct transport a test may take, and its deadline on top of that.
fn slowness(carrier: Carrier) -> (u32, u32) {
    match carrier {
        Carrier::Direct => (1, 1),
        // Each write waits for an interrupt.
        Carrier::Timer | Carrier::Doorbell => (4, 1),
        // edu takes 200 ms of the guest's time for a page, and for a byte: a queue full of packets of one
        // byte takes 45 minutes. With --icount that is idle time, which costs nothing.
        Carrier::Dma => (64, 8),
    }
}

/// Takes the options of this file out of the words of the command line.
pub fn take_options(words: impl Iterator<Item = String>) -> Result<Vec<String>, String> {
    let mut wanted = Wanted::default();
    let mut others = Vec::new();
    let mut words = words.peekable();
    while let Some(word) = words.next() {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (word.clone(), None),
        };
        if !["--transport", "--bottom-half", "--msi"].contains(&name.as_str()) {
            others.push(word);
            continue;
        }
        let value = value.or_else(|| words.next());
        let value = value.ok_or(format!("{name}: a value is missing"))?;
        match name.as_str() {
            "--transport" => wanted.carrier = Some(one_of(&Carrier::ALL, &name, &value)?),
            "--bottom-half" => wanted.bottom_half = Some(one_of(&BottomHalf::ALL, &name, &value)?),
            _ => wanted.msi = Some(one_of(&[0, 1], &name, &value)?),
        }
    }
    let (times, deadlines) = slowness(wanted.carrier.unwrap_or_default());
    slow_down(times, deadlines);
    WANTED.set(wanted).expect("the command line is read once");
    Ok(others)
}

fn one_of<T: Copy + ToString>(all: &[T], name: &str, value: &str) -> Result<T, String> {
    let found = all.iter().find(|one| one.to_string() == value);
    let names: Vec<_> = all.iter().map(T::to_string).collect();
    let unknown = || format!("{name} {value}? there are {}", names.join(", "));
    found.copied().ok_or_else(unknown)
}

fn wanted() -> Wanted {
    WANTED.get().copied().unwrap_or_default()
}

/// Is this a run on a transport of the command line?
pub fn is_chosen() -> bool {
    wanted() != Wanted::default()
}

/// The one that the tests run on.
pub fn carrier() -> Carrier {
    wanted().carrier.unwrap_or_default()
}

/// The module's parameters for it, each with a space in front.
pub fn parameters() -> String {
    let Wanted {
        carrier,
        bottom_half,
        msi,
    } = wanted();
    let mut text = String::new();
    if let Some(carrier) = carrier {
        text += &format!(" transport={}", carrier.number());
        if carrier == Carrier::Timer {
            text += &format!(" tick_ns={TICK_NS}");
        }
    }
    if let Some(bottom_half) = bottom_half {
        text += &format!(" bottom_half={}", bottom_half.number());
    }
    if let Some(msi) = msi {
        text += &format!(" msi={msi}");
    }
    text
}

/// Does a thread that sleeps in the kernel wait for its bytes to arrive, and so not for long? Tells
/// nothing about one that runs.
///
/// `stack` is /proc/PID/stack; the function is the driver's (`driver/pipe/carry.rs`).
pub fn waits_for_arrival(stack: &str) -> bool {
    stack.contains("await_arrival")
}

/// Waits until nothing is on its way in the queues that this process has open.
///
/// A writer may sleep for room while bytes before are still on their way; a test wants both to be over.
pub fn settle() {
    for entry in std::fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .flatten()
    {
        let target = std::fs::read_link(entry.path()).unwrap_or_default();
        let number = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        if let (true, Some(number)) = (target.to_string_lossy().contains("kpipe"), number) {
            // SAFETY: used for one call only. If another thread closes it meanwhile, that call fails.
            let queue = unsafe { BorrowedFd::borrow_raw(number) };
            // Not for the clone node, nor when the device is gone.
            let _ = kpipe_abi::drain(queue);
        }
    }
}

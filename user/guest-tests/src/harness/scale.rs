// SPDX-License-Identifier: MIT

//! How slow this kernel and the transport are: deadlines grow and amounts of data shrink by one factor.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::OnceLock;
use std::time::Duration;

/// Environment variable that overrides the factor.
const VARIABLE: &str = "KPIPE_TEST_SCALE";

/// The factor on a kernel with KASAN and lockdep, measured against the same kernel without.
const DEBUG_KERNEL: u32 = 8;

/// The factors of the transport; see [`slow_down`].
static TRANSPORT: AtomicU32 = AtomicU32::new(1);
static TRANSPORT_DEADLINES: AtomicU32 = AtomicU32::new(1);

/// Everything takes this many times as long as by the direct transport, and deadlines are longer still by
/// another factor. Before anything is measured.
pub fn slow_down(times: u32, deadlines: u32) {
    TRANSPORT.store(times, Relaxed);
    TRANSPORT_DEADLINES.store(deadlines, Relaxed);
}

/// A deadline of this length on a fast kernel, here.
pub fn patience(on_a_fast_kernel: Duration) -> Duration {
    on_a_fast_kernel * factor() * TRANSPORT_DEADLINES.load(Relaxed)
}

/// As many bytes (or rounds) as this on a fast kernel, here; at least 1.
pub fn amount(on_a_fast_kernel: usize) -> usize {
    (on_a_fast_kernel / factor() as usize).max(1)
}

/// [`amount`] of what takes a debug kernel most of a second each: a device that comes and goes, a sequence by several
/// processes. A third there.
pub fn amount_of_heavy(on_a_fast_kernel: usize) -> usize {
    amount(on_a_fast_kernel / if is_debug_kernel() { 3 } else { 1 })
}

fn factor() -> u32 {
    static FACTOR: OnceLock<u32> = OnceLock::new();
    *FACTOR.get_or_init(|| match std::env::var(VARIABLE) {
        Ok(text) => text.parse().ok().filter(|&n| n > 0).unwrap_or_else(|| {
            eprintln!("kpipe-tests: {VARIABLE}={text:?} is no positive whole number");
            std::process::exit(2);
        }),
        Err(_) => of_the_kernel() * TRANSPORT.load(Relaxed),
    })
}

fn of_the_kernel() -> u32 {
    if is_debug_kernel() {
        DEBUG_KERNEL
    } else {
        1
    }
}

/// Does this kernel have lockdep, and so most likely KASAN too? It shows its graph here (kernel/locking/lockdep_proc.c).
pub fn is_debug_kernel() -> bool {
    Path::new("/proc/lockdep").exists()
}

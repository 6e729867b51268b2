// SPDX-License-Identifier: MIT

//! [`Watch`]: notices that this machine stood still, as one does that is itself a VM and is suspended. The
//! guest's clock goes on meanwhile, so that its deadlines pass and its watchdog sees lockups where there are none.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// How often it looks.
const TICK: Duration = Duration::from_secs(1);
/// A busy machine is late too, but not by so much. The guest's watchdog waits for 20 s.
const LONG: Duration = Duration::from_secs(10);

/// See the file's head. It watches until the process ends.
pub struct Watch {
    longest_ms: Arc<AtomicU64>,
}

impl Watch {
    /// Begins.
    pub fn start() -> Self {
        let longest_ms = Arc::new(AtomicU64::new(0));
        let shared = Arc::clone(&longest_ms);
        thread::spawn(move || loop {
            let before = Instant::now();
            thread::sleep(TICK);
            let late = before.elapsed().saturating_sub(TICK);
            shared.fetch_max(late.as_millis() as u64, Relaxed);
        });
        Self { longest_ms }
    }

    /// What to say about it, if it was long.
    pub fn sentence(&self) -> Option<String> {
        sentence(Duration::from_millis(self.longest_ms.load(Relaxed)))
    }
}

fn sentence(late: Duration) -> Option<String> {
    (late >= LONG).then(|| {
        format!(
            "this machine stood still for {} s while the VM ran: deadlines and lockups in it may come from that",
            late.as_secs()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_long_standstill_is_worth_a_sentence() {
        assert_eq!(sentence(Duration::from_secs(9)), None);
        let said = sentence(Duration::from_secs(46)).unwrap();
        assert!(said.contains("stood still for 46 s"), "{said}");
    }
}

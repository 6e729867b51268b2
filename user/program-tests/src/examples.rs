// SPDX-License-Identifier: MIT

//! The programs of docs/examples, which are to do what they say.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;

use crate::run::Place;
use crate::scale::patience;
use crate::Test;

/// The tests.
pub const TESTS: &[Test] = &[
    ("examples::c_reads_two_queues_at_once", c, || Ok(())),
    ("examples::python_reads_two_queues_at_once", python, || {
        Ok(())
    }),
    ("examples::tokio_reads_two_queues_at_once", tokio, || Ok(())),
];

fn c(place: &Place) -> Result<(), String> {
    reads_two_queues(place, "example-two-queues")
}

fn python(place: &Place) -> Result<(), String> {
    reads_two_queues(place, "example-two-queues.py")
}

fn tokio(place: &Place) -> Result<(), String> {
    reads_two_queues(place, "example-tokio")
}

/// What is written to either queue is printed when it comes, and the end of each says how much it was.
fn reads_two_queues(place: &Place, program: &str) -> Result<(), String> {
    let queues = ["/dev/kpipe0", "/dev/kpipe1"];
    let log = place.path("printed");
    let output = std::fs::File::create(&log).map_err(|e| e.to_string())?;
    let mut command = Command::new(program);
    let mut running = Running(
        command
            .args(queues)
            .stdout(output)
            .spawn()
            .map_err(|e| format!("{program}: {e}"))?,
    );
    let printed = || std::fs::read_to_string(&log).unwrap_or_default();
    let mut writers = Vec::new();
    for queue in queues {
        // It has the queue open, or there is nobody yet.
        let opened = until(|| {
            let mut options = std::fs::File::options();
            options
                .write(true)
                .custom_flags(OFlag::O_NONBLOCK.bits())
                .open(queue)
                .ok()
        });
        writers.push(opened.ok_or_else(|| format!("{program} does not open {queue}"))?);
    }
    let mut wanted = String::new();
    for (at, word) in [(1, "one"), (0, "two"), (1, "three")] {
        writeln!(writers[at], "{word}").map_err(|e| format!("{}: {e}", queues[at]))?;
        wanted += &format!("{}: {word}\n", queues[at]);
        until(|| (printed() == wanted).then_some(()))
            .ok_or_else(|| format!("{program} prints {:?} instead of {wanted:?}", printed()))?;
    }
    for (queue, length) in [("/dev/kpipe1", 10), ("/dev/kpipe0", 4)] {
        drop(writers.pop());
        wanted += &format!("{queue}: end of file after {length} bytes, 0 of 65536 still queued\n");
        until(|| (printed() == wanted).then_some(()))
            .ok_or_else(|| format!("{program} prints {:?} instead of {wanted:?}", printed()))?;
    }
    match until(|| running.0.try_wait().ok().flatten()) {
        Some(status) if status.success() => Ok(()),
        status => Err(format!("{program} ends with {status:?}")),
    }
}

/// Killed if the test fails before it ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It fails for one that has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asks again and again until there is an answer, for as long as a program may take here.
fn until<T>(mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + patience(Duration::from_secs(120));
    loop {
        let answer = ask();
        if answer.is_some() || Instant::now() > deadline {
            return answer;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

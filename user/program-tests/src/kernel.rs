// SPDX-License-Identifier: MIT

//! The kernel's own benchmark of pipes, tools/testing/selftests/pipe/pipe_bench.c.

use crate::run::{exists, Place};
use crate::Test;

/// The tests.
pub const TESTS: &[Test] = &[("kernel_selftest::pipe_bench", pipe_bench, is_there)];

fn is_there() -> Result<(), String> {
    exists(
        "/usr/bin/pipe_bench",
        "this kernel's source has no pipe_bench.c",
    )
}

/// It reports any result as a success, so look: something must have gone through, and the size that
/// it asks for must have been set.
fn pipe_bench(place: &Place) -> Result<(), String> {
    let program = place.program(["pipe_bench", "-w", "5", "-r", "5", "-d", "1"]);
    for ended in [
        program.on_real_pipes()?,
        program.on_the_device()?.at_least(1, "sizes")?,
    ] {
        let writes = ended
            .stdout
            .lines()
            .find_map(|line| line.strip_prefix("writes: total="));
        let writes = writes.and_then(|rest| rest.split(' ').next()?.parse().ok());
        if !matches!(writes, Some(10u64..)) {
            return Err(format!("too few writes: {}", ended.description()));
        }
    }
    Ok(())
}

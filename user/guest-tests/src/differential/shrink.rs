// SPDX-License-Identifier: MIT

//! Makes a sequence short that shows a difference: leaves out what it does not need (delta
//! debugging), then takes simpler operations in place of what is left.

use std::time::Instant;

use super::op::{Action, Buffer, Op};

/// The shortest that is found until `deadline`; `still_differs` runs a candidate.
pub fn shrink(
    mut ops: Vec<Op>,
    deadline: Instant,
    mut still_differs: impl FnMut(&[Op]) -> bool,
) -> Vec<Op> {
    loop {
        let before = ops.clone();
        let mut chunk = ops.len().div_ceil(2);
        while chunk > 0 {
            // From the end: later operations are needed less often.
            let mut end = ops.len();
            while end > 0 {
                let start = end.saturating_sub(chunk);
                let mut shorter = ops.clone();
                shorter.drain(start..end);
                if Instant::now() < deadline && still_differs(&shorter) {
                    ops = shorter;
                }
                end = start;
            }
            chunk /= 2;
        }
        for index in 0..ops.len() {
            for simpler in simpler(&ops[index]) {
                let mut candidate = ops.clone();
                candidate[index] = simpler;
                if Instant::now() < deadline && still_differs(&candidate) {
                    ops = candidate;
                    break;
                }
            }
        }
        if ops == before {
            return ops;
        }
    }
}

/// Simpler operations in place of one, the simplest first. None of them leads back.
fn simpler(op: &Op) -> Vec<Op> {
    let mut found = Vec::new();
    let mut add = |process: usize, action: Action| found.push(Op { process, action });
    if (1..super::state::CHILD).contains(&op.process) {
        add(0, op.action.clone());
        add(op.process - 1, op.action.clone());
    }
    let handle = op.action.clone().handle_mut().map_or(0, |handle| *handle);
    for lower in 0..handle {
        let mut action = op.action.clone();
        *action.handle_mut().expect("it has one") = lower;
        add(op.process, action);
    }
    match &op.action {
        Action::Read { handle, buffer } => {
            for buffer in simpler_buffers(buffer) {
                let handle = *handle;
                add(op.process, Action::Read { handle, buffer });
            }
        }
        Action::Write { handle, buffer } => {
            for buffer in simpler_buffers(buffer) {
                let handle = *handle;
                add(op.process, Action::Write { handle, buffer });
            }
        }
        _ => {}
    }
    found
}

fn simpler_buffers(buffer: &Buffer) -> Vec<Buffer> {
    let len = buffer.len();
    let one = |len: usize| Buffer {
        parts: vec![len],
        good: None,
    };
    if buffer.good.is_some() || buffer.parts.len() > 1 {
        return vec![one(len)];
    }
    [1, 100, 4096, 8192, len / 4096 * 4096]
        .into_iter()
        .filter(|simple| *simple < len)
        .map(one)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::text::{parse, print};
    use super::*;
    use std::time::Duration;

    #[test]
    fn only_what_a_difference_needs_is_left() {
        let ops = parse("1:fork; 2:open rw; 0:read 3 9000; 1:write 2 5000+1 bad 7; 0:close 1");
        let deadline = Instant::now() + Duration::from_secs(60);
        let needed = |ops: &[Op]| {
            let writes =
                |op: &Op| matches!(&op.action, Action::Write { buffer, .. } if buffer.len() >= 100);
            let opens = |op: &Op| matches!(op.action, Action::Open { .. });
            ops.iter().position(opens) < ops.iter().position(writes) && ops.iter().any(opens)
        };
        let short = shrink(ops.expect("a sequence"), deadline, needed);
        assert_eq!(print(&short), "0:open rw; 0:write 0 100");
    }
}

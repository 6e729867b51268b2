// SPDX-License-Identifier: MIT

//! Comparisons that say what was looked at, what was expected and what came.

use std::fmt::Debug;

/// More of a value than this helps nobody.
const SHOWN_BYTES: usize = 200;

/// Fails the test unless `got` is `wanted`.
#[track_caller]
pub fn expect<T: PartialEq + Debug>(what: &str, got: T, wanted: T) {
    if got != wanted {
        panic!(
            "{what}: expected {}, got {}",
            shorten(&wanted),
            shorten(&got)
        );
    }
}

/// Fails the test unless the bytes are equal, and shows the first difference.
#[track_caller]
pub fn expect_bytes(what: &str, got: &[u8], wanted: &[u8]) {
    let same = got.iter().zip(wanted).take_while(|(a, b)| a == b).count();
    if same < got.len().min(wanted.len()) {
        panic!(
            "{what}: byte {same} differs: expected {:02x}, got {:02x} (of {} and {} bytes)",
            wanted[same],
            got[same],
            wanted.len(),
            got.len()
        );
    }
    expect(&format!("{what}: number of bytes"), got.len(), wanted.len());
}

fn shorten(value: &impl Debug) -> String {
    let mut text = format!("{value:?}");
    if let Some((end, _)) = text.char_indices().nth(SHOWN_BYTES) {
        text.truncate(end);
        text.push_str("...");
    }
    text
}

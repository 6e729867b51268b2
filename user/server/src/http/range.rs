// SPDX-License-Identifier: MIT

//! [`Part`]: which bytes of a file a Range header asks for (RFC 9110 section 14).

use std::ops::Range;

/// What to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// All: no range is asked for, or not one that is understood, or several; a server may ignore those.
    Whole,
    /// These bytes.
    Bytes(Range<u64>),
    /// The range begins behind the end.
    Unsatisfiable,
}

/// Reads the header's value for a file of `len_bytes`.
pub fn part(value: &str, len_bytes: u64) -> Part {
    parse(value.trim(), len_bytes).unwrap_or(Part::Whole)
}

fn parse(value: &str, len_bytes: u64) -> Option<Part> {
    let (unit, range) = value.split_once('=')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = range.trim().split_once('-')?;
    if first.is_empty() {
        // The last so many.
        let wanted = number(last)?;
        if wanted == 0 || len_bytes == 0 {
            return Some(Part::Unsatisfiable);
        }
        return Some(Part::Bytes(len_bytes.saturating_sub(wanted)..len_bytes));
    }
    let first = number(first)?;
    let end = match last {
        "" => len_bytes,
        last => {
            let last = number(last)?;
            if last < first {
                return None;
            }
            last.saturating_add(1).min(len_bytes)
        }
    };
    if first >= len_bytes {
        return Some(Part::Unsatisfiable);
    }
    Some(Part::Bytes(first..end))
}

/// Digits only: `parse` would take a sign. More than fits is more than any file has.
fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_inclusive_and_end_with_the_file() {
        for (value, wanted) in [
            ("bytes=0-0", 0..1),
            ("bytes=2-4", 2..5),
            ("bytes=5-", 5..10),
            ("bytes=9-", 9..10),
            ("bytes=-3", 7..10),
            ("bytes=-30", 0..10),
            ("bytes=8-99999999999999999999999", 8..10),
            ("Bytes= 1-2 ", 1..3),
        ] {
            assert_eq!(part(value, 10), Part::Bytes(wanted), "{value}");
        }
    }

    #[test]
    fn what_begins_behind_the_end_cannot_be_satisfied() {
        for (value, len) in [
            ("bytes=10-", 10),
            ("bytes=10-20", 10),
            ("bytes=-0", 10),
            ("bytes=0-", 0),
            ("bytes=-1", 0),
            ("bytes=99999999999999999999-", 10),
        ] {
            assert_eq!(part(value, len), Part::Unsatisfiable, "{value}");
        }
    }

    #[test]
    fn anything_else_is_ignored() {
        for value in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=x-1",
            "bytes=1-x",
            "bytes=3-2",
            "bytes=+1-2",
            "bytes=0-1,3-4",
            "lines=1-2",
            "bytes=1--2",
        ] {
            assert_eq!(part(value, 10), Part::Whole, "{value}");
        }
    }
}

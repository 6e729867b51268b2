// SPDX-License-Identifier: MIT

//! Amounts as people write and read them.

use std::time::Duration;

/// Reads a number of bytes with an optional suffix K, M or G (powers of 1024), for clap.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let digits_end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, suffix) = text.split_at(digits_end);
    let shift = match suffix {
        "" => 0,
        "K" | "k" => 10,
        "M" | "m" => 20,
        "G" | "g" => 30,
        _ => return Err("a number of bytes, as in 65536, 64K, 1M or 1G".into()),
    };
    let number: u64 = digits.parse().map_err(|error| format!("{error}"))?;
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| "number too large".into())
}

/// Reads a time with its unit (ns, us, ms, s), for clap.
pub fn parse_time(text: &str) -> Result<Duration, String> {
    let digits_end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits_end);
    let unit_ns: u64 = match unit {
        "ns" => 1,
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        _ => return Err("a time with its unit, as in 500us, 1ms or 2s".into()),
    };
    let number: u64 = digits.parse().map_err(|error| format!("{error}"))?;
    let ns = number.checked_mul(unit_ns).ok_or("number too large")?;
    Ok(Duration::from_nanos(ns))
}

/// At most five characters for any number of bytes: `512`, `64K`, `1.5M`, `13M`.
pub fn short_bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    for suffix in ["", "K", "M", "G", "T", "P"] {
        if value < 1000.0 || suffix == "P" {
            let is_short = suffix.is_empty() || value >= 10.0 || value.fract() == 0.0;
            return format!("{value:.*}{suffix}", usize::from(!is_short));
        }
        value /= 1024.0;
    }
    unreachable!("the last suffix returns")
}

/// A count with its thousands apart: `13,110,272`.
pub fn thousands(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Nanoseconds as microseconds: `12.345 us`.
pub fn micros(time_ns: u64) -> String {
    format!("{}.{:03} us", time_ns / 1000, time_ns % 1000)
}

/// `1 reader`, `2 readers`.
pub fn plural(count: u64, noun: &str) -> String {
    format!(
        "{} {noun}{}",
        thousands(count),
        if count == 1 { "" } else { "s" }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_are_powers_of_1024() {
        assert_eq!(parse_bytes("0"), Ok(0));
        assert_eq!(parse_bytes("4096"), Ok(4096));
        assert_eq!(parse_bytes("64K"), Ok(65536));
        assert_eq!(parse_bytes("1m"), Ok(1 << 20));
        assert_eq!(parse_bytes("1G"), Ok(1 << 30));
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for text in [
            "",
            "K",
            "-1",
            "1.5M",
            "1KB",
            "1 K",
            "64T",
            "99999999999999999999",
            "18014398509481984K",
        ] {
            assert!(parse_bytes(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn times_have_a_unit() {
        assert_eq!(parse_time("1ms"), Ok(Duration::from_millis(1)));
        assert_eq!(parse_time("500us"), Ok(Duration::from_micros(500)));
        assert_eq!(parse_time("60s"), Ok(Duration::from_secs(60)));
        for text in ["", "1", "ms", "1 ms", "-1ms", "1.5ms", "99999999999999s"] {
            assert!(parse_time(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn short_amounts_keep_two_digits() {
        let cases = [
            (0, "0"),
            (999, "999"),
            (1000, "1.0K"),
            (4096, "4K"),
            (65536, "64K"),
            (1 << 20, "1M"),
            (1_600_000, "1.5M"),
            (13_110_272, "13M"),
            (1023 * 1024, "1.0M"),
            (u64::MAX, "16384P"),
        ];
        for (bytes, text) in cases {
            assert_eq!(short_bytes(bytes), text, "{bytes}");
        }
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1000), "1,000");
        assert_eq!(thousands(13_110_272), "13,110,272");
        assert_eq!(plural(1, "byte"), "1 byte");
        assert_eq!(plural(2000, "byte"), "2,000 bytes");
    }
}

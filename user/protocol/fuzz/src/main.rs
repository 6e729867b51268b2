// SPDX-License-Identifier: MIT

//! The program that libFuzzer drives: it looks for bytes with which [`check::peer_sends`] panics.

#![no_main]

mod check;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| check::peer_sends(bytes));

// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The driver's rules, the very files that the module is built of, for tests on the host.
//!
//! The tests are in `tests/`: each compares the rules with a simpler reference on random input.

#[path = "../../../driver/uapi.rs"]
pub mod uapi;

#[path = "../../../driver/model/mod.rs"]
pub mod model;

pub use model::{ends, histogram, link, packet, ring};

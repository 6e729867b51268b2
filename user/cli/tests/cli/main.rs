// SPDX-License-Identifier: MIT

//! The `kpipe` command as a user meets it, over named FIFOs, which any machine has. What needs the
//! module is tested in the VM.

mod bench;
mod demo;
mod exec;
mod send_recv;
mod support;
mod usage;

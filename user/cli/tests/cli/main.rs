// SPDX-License-Identifier: MIT

//! The `kpipe` command as a user meets it, over named FIFOs, which any machine has. What needs the
//! module is tested in the VM.

mod bench;
mod compare;
mod concepts;
mod demo;
mod exec;
mod lesson;
mod load;
mod relay;
mod send_recv;
mod serve;
mod serve_bad;
mod serve_control;
mod server;
mod support;
mod usage;

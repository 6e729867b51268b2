// SPDX-License-Identifier: MIT

//! `libkpipe_preload.so`: puts the pipes of an unmodified program on the device.
//!
//! `kpipe exec` names this library in `LD_PRELOAD` and tells it by the environment what to do
//! ([`contract`]). From then on it stands before libc in every dynamic program of that tree of
//! processes: [`pipes`] makes pairs instead of pipes, [`control`] answers what only a pipe of the
//! kernel is asked by fcntl(2), [`paths`] leads the opens of chosen FIFOs to a queue, [`status`]
//! lets descriptors of queues pass for FIFOs. What cannot be done on the device is done by libc, so
//! a program never gets an error that it would not have got without this library.
//!
//! Any thread may call at any time, also between vfork(2) and execve(2), so nothing here allocates,
//! takes a lock or depends on memory and descriptors belonging together: the descriptor of the
//! clone node is looked at before each use ([`device`]). `errno` is left alone unless a call fails.

#[allow(dead_code)] // The other half of it is for `kpipe exec`.
mod contract;
mod control;
mod device;
mod kernel;
mod libc_next;
mod paths;
mod pipes;
mod setup;
mod status;
mod text;
#[allow(dead_code)] // The whole interface; little of it is used here.
#[path = "../../../driver/uapi.rs"]
mod uapi;

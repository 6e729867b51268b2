// SPDX-License-Identifier: MIT

//! v1: one client after another. Nothing can go wrong between clients, as there is never more than one;
//! and everybody waits for the slowest.

use crate::server::{Result, Server};

pub(crate) fn run(server: &mut Server) -> Result<()> {
    let task = server.task();
    while let Some(channel) = server.next_client()? {
        task.serve(channel, || server.close());
        server.release();
    }
    Ok(())
}

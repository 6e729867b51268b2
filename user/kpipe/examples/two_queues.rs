// SPDX-License-Identifier: MIT

//! two_queues QUEUE...: reads several queues at once on one thread, with tokio's `AsyncFd` instead of poll(2): a task for
//! each. Prints the same as `docs/examples/two_queues.c`.

use kpipe::{Control, Queue, Reader, Wait};
use std::io::{ErrorKind, Read, Write};
use tokio::io::unix::AsyncFd;
use tokio::io::Interest;

type Error = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let mut tasks = tokio::task::JoinSet::new();
    for name in std::env::args().skip(1) {
        let Ok(queue) = name.parse::<Queue>();
        // Never waiting: neither open(2) for a writer, nor read(2) for bytes, as AsyncFd wants it.
        let reader = queue.reader(Wait::Never)?;
        // Only our own bytes shall be counted.
        reader.reset_counters()?;
        tasks.spawn(copy(name, reader));
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

/// Prints what the queue gives, until end of file.
async fn copy(name: String, reader: Reader) -> Result<(), Error> {
    // SAFETY: a `Reader` owns one descriptor: it gives the same number as long as it lives, it is open all that
    // time, and dropping the `Reader` is what closes it.
    let mut reader = unsafe { AsyncFd::register_with_interest(reader, Interest::READABLE) }?;
    let mut block = [0; 4096];
    loop {
        // Ready too when the last writer has closed (EPOLLHUP), and not before the first one came.
        let mut ready = reader.readable_mut().await?;
        // Err: it was not ready after all, and readable() will sleep.
        let Ok(read) = ready.try_io(|reader| reader.get_mut().read(&mut block)) else {
            continue;
        };
        match read {
            Ok(0) => break,
            Ok(length) => {
                let mut stdout = std::io::stdout().lock();
                write!(stdout, "{name}: ")?;
                stdout.write_all(&block[..length])?;
                stdout.flush()?;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    let info = reader.get_ref().info()?;
    println!(
        "{name}: end of file after {} bytes, {} of {} still queued",
        info.read.bytes, info.queued_bytes, info.capacity_bytes
    );
    Ok(())
}

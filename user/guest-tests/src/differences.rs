// SPDX-License-Identifier: MIT

//! Every known difference between a pipe and what else is tested. `docs/differences.md` says why.

use crate::harness::difference::Difference;
use crate::tools::subject::Subject::{Device, Fifo, Pair};

/// Declares the constants and the list of all.
macro_rules! differences {
    ($($name:ident: $id:literal on $on:expr, $sentence:literal;)*) => {
        $(
            #[doc = $sentence]
            pub const $name: Difference = Difference { id: $id, on: &$on, sentence: $sentence };
        )*
        /// All of them.
        pub const ALL: &[&Difference] = &[$(&$name),*];
    };
}

differences! {
    BYTES: "bytes" on [Device, Pair], "Capacity and room are counted in bytes, not in slots of a page.";
    FAULT: "fault" on [Device, Pair], "A copy that meets bad memory counts each byte that was copied, not whole buffers.";
    RESIZE: "resize" on [Device, Pair], "The capacity is asked and set by ioctl; F_GETPIPE_SZ and F_SETPIPE_SZ are EBADF.";
    KEPT: "kept" on [Device, Pair], "A capacity that was set outlives the last close.";
    OBSERVER: "observer" on [Device, Pair], "Access mode 3 opens an observer, which is no end.";
    SPLICE: "splice" on [Device, Pair], "It is no pipe to splice(2): tee and vmsplice fail, sendfile out of it works.";
    NODE: "node" on [Device], "fstat(2) says character device, and calls that know FIFOs by their type answer otherwise.";
    NOWAIT: "nowait" on [Fifo], "A named FIFO refuses RWF_NOWAIT; a pipe and the driver's queues do not wait.";
    JOINS: "joins" on [Device, Pair], "A packet stays a packet, also right behind stream data.";
    LINK: "link" on [Pair], "Its link in /proc/self/fd says kpipe:[inode], not pipe:[inode].";
    LARGEFILE: "largefile" on [Fifo, Device], "Its ends come from open(2), which adds O_LARGEFILE to what F_GETFL shows.";
    RECORDS: "records" on [Device, Pair], "A packet takes its bytes and 4 more of the capacity, not a slot of a page.";
    NAMED: "named" on [Fifo, Device], "What has a name follows fifo(7) when it is opened again: it waits for a partner, or is ENXIO.";
}

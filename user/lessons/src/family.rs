// SPDX-License-Identifier: MIT

//! Row 10: the three programs of every lecture on pipes. After a fork both processes have both ends, and each
//! closes the one that it does not use: else the reader would itself be a writer that never ends.

use crate::stage::Fork;
use crate::{Notes, Over, Result};

pub fn play(over: Over, notes: &mut Notes) -> Result<()> {
    one_process(over, notes)?;
    parent_to_child(over, notes)?;
    child_to_parent(over, notes)
}

fn one_process(over: Over, notes: &mut Notes) -> Result<()> {
    notes.step("one process writes and reads");
    let (rx, tx) = over.queue(notes)?;
    notes.write("tx", &tx, b"to myself")?;
    notes.read("rx", &rx, 64)?;
    Ok(())
}

fn parent_to_child(over: Over, notes: &mut Notes) -> Result<()> {
    notes.step("parent to child");
    let (rx, tx) = over.queue(notes)?;
    let child = match notes.fork("child")? {
        Fork::Child(me) => me.play(|me| {
            me.close("tx", tx)?;
            // Until the end of file.
            while !me.read("rx", &rx, 64)?.is_empty() {}
            Ok(())
        }),
        Fork::Parent(child) => child,
    };
    notes.close("rx", rx)?;
    notes.write("tx", &tx, b"from parent")?;
    notes.close("tx", tx)?;
    child.end(notes)
}

fn child_to_parent(over: Over, notes: &mut Notes) -> Result<()> {
    notes.step("child to parent");
    let (rx, tx) = over.queue(notes)?;
    let child = match notes.fork("child")? {
        Fork::Child(me) => me.play(|me| {
            me.close("rx", rx)?;
            me.write("tx", &tx, b"from child")?;
            // Its end closes tx.
            Ok(())
        }),
        Fork::Parent(child) => child,
    };
    notes.close("tx", tx)?;
    while !notes.read("rx", &rx, 64)?.is_empty() {}
    child.end(notes)
}

// SPDX-License-Identifier: MIT

//! Two VMs with a network between them, and `kpipe relay` from a queue of one to a queue of the other: what
//! `docs/relay.md` says about machines. What it says about connections is tested with the command itself.

use std::io::{BufRead, BufReader};
use std::process::Child;

use crate::run::{code, collect, has, run, same, vm, wait, Failure, Folder};

/// Machine 1 runs `there` and machine 2 runs `here`.
fn start(folder: &Folder, there: &str, here: &str) -> Result<[Child; 2], Failure> {
    let cable = folder.file("cable")?;
    let machine = |number: u8, script: &str| {
        let net = format!("{number}:{cable}");
        vm(&["--net", &net, "--", "sh", "-c", script]).spawn()
    };
    Ok([machine(1, there)?, machine(2, here)?])
}

/// A file, packets, and a reader that goes; one after the other, as a boot takes longer than all of them.
pub fn relay() -> Result<(), Failure> {
    let folder = Folder::new("relay")?;
    let there = "
        for n in 0 1 2; do kpipe relay --listen tcp::700$n kpipe:$n & done
        kpipe recv 0 | sha256sum
        for n in 1 2 3; do dd bs=100 count=1 2>/dev/null; echo; done </dev/kpipe1
        head -c 1000 /dev/kpipe2 | wc -c
        wait";
    let here = "
        kpipe set 1 --mode packet >/dev/null
        for n in 0 1 2; do kpipe relay --reconnect 60s kpipe:$n tcp:vm1:700$n & done
        head -c 5000000 /dev/urandom >file
        sha256sum <file
        kpipe send 0 file
        (echo -n one; echo -n two; echo -n three) >/dev/kpipe1
        kpipe send 2 /dev/zero
        echo writer $?
        wait";
    let [there, here] = start(&folder, there, here)?.map(collect);
    let (there, here) = (there?, here?);
    let sum = here.out().lines().next().unwrap_or_default().to_owned();
    same(
        "stdout there",
        there.out(),
        format!("{sum}\none\ntwo\nthree\n1000\n"),
    )?;
    same("stdout here", here.out(), format!("{sum}\nwriter 141\n"))?;
    for (side, done) in [("there", &there), ("here", &here)] {
        same(side, done.err().lines().count(), 1)?;
        has(side, &done.err(), "broken pipe: its reader has gone after")?;
    }
    Ok(())
}

/// The writer gets a broken pipe, and the relay says how far it came.
pub fn receiving_machine_dies() -> Result<(), Failure> {
    let folder = Folder::new("there-dies")?;
    let there = "
        kpipe relay --listen tcp::7000 kpipe:0 &
        (head -c 1000000 >/dev/null; echo middle; exec cat >/dev/null) </dev/kpipe0";
    let here = "
        until nc vm1 7000 </dev/null >/dev/null 2>&1; do :; done
        kpipe relay --silence 2s kpipe:0 tcp:vm1:7000 &
        kpipe send 0 /dev/zero
        echo writer $?
        wait $!
        echo relay $?";
    let [there, here] = start(&folder, there, here)?;
    kill_in_the_middle(there, None)?;
    let here = collect(here)?;
    same("stdout", here.out().as_str(), "writer 141\nrelay 1\n")?;
    has(
        "stderr",
        &here.err(),
        "tcp:vm1:7000: nothing was heard from the other side for 2 s",
    )?;
    has("stderr", &here.err(), "bytes had arrived, the next")
}

/// The reader gets what came and end of file, and the relay says that it is not all.
pub fn sending_machine_dies() -> Result<(), Failure> {
    let folder = Folder::new("here-dies")?;
    let there = "
        kpipe relay --silence 2s --listen tcp::7000 kpipe:0 &
        (head -c 1000000 >/dev/null; echo middle; exec cat >/dev/null) </dev/kpipe0
        echo reader $?
        wait $!
        echo relay $?";
    let here = "
        kpipe relay --reconnect 60s kpipe:0 tcp:vm1:7000 &
        kpipe send 0 /dev/zero";
    let [there, here] = start(&folder, there, here)?;
    let (out, there) = kill_in_the_middle(there, Some(here))?;
    same("stdout", out.as_str(), "reader 0\nrelay 1\n")?;
    has(
        "stderr",
        &there,
        "nothing was heard from the other side for 2 s",
    )?;
    has("stderr", &there, "bytes had come, and the rest is missing")
}

/// Waits until machine 1 is in the middle, and then kills the other machine, or itself. The rest of what it writes.
fn kill_in_the_middle(mut there: Child, other: Option<Child>) -> Result<(String, String), Failure> {
    let mut lines = BufReader::new(there.stdout.take().ok_or("no stdout")?);
    let mut line = String::new();
    lines.read_line(&mut line)?;
    same("stdout", line.as_str(), "middle\n")?;
    let dies_itself = other.is_none();
    let mut other = other;
    let victim = other.as_mut().unwrap_or(&mut there);
    victim.kill()?;
    same("victim", code(wait(victim)?), 137)?;
    if dies_itself {
        return Ok(Default::default());
    }
    let mut out = String::new();
    while lines.read_line(&mut out)? > 0 {}
    Ok((out, collect(there)?.err()))
}

/// Wrong words, and a partner that could never come.
pub fn wrong_network() -> Result<(), Failure> {
    for wrong in ["3:/tmp/x", "1", "x:/tmp/x"] {
        same(wrong, run(&["--net", wrong, "--", "true"])?.status, 2)?;
    }
    let missing = run(&["--no-module", "--net", "1:/no/such/folder/x", "--", "true"])?;
    same("missing folder", missing.status, 125)?;
    has(
        "stderr",
        &missing.err(),
        "--net 1:/no/such/folder/x: No such file",
    )
}

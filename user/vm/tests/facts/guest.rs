// SPDX-License-Identifier: MIT

//! What the guest is made of: files, module, machine.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use crate::run::{finish, has, run, same, vm, Failure, Folder};

pub fn add() -> Result<(), Failure> {
    let folder = Folder::new("add")?;
    fs::write(folder.path.join("file"), "content")?;
    fs::create_dir(folder.path.join("sub"))?;
    symlink("../file", folder.path.join("sub/link"))?;
    let absolute = folder
        .path
        .to_str()
        .ok_or("the name of the folder is not UTF-8")?;
    let elsewhere = format!("{absolute}/file:/etc/elsewhere");
    let look = format!("cat {absolute}/sub/link /etc/elsewhere file && readlink {absolute}/sub/link && bash -c 'echo $BASH_VERSION'");
    let mut command = vm(&[
        "--no-module",
        "--add",
        absolute,
        "--add",
        &elsewhere,
        "--add",
        "./file",
        "--add",
        "/bin/bash",
        "--",
        "sh",
        "-c",
        &look,
    ]);
    command.current_dir(&folder.path);
    let done = finish(command)?;
    same("status", (done.status, done.err()), (0, String::new()))?;
    let here = Command::new("bash")
        .args(["-c", "echo $BASH_VERSION"])
        .output()?;
    let here = String::from_utf8_lossy(&here.stdout).into_owned();
    same(
        "stdout",
        done.out(),
        format!("contentcontentcontent../file\n{here}"),
    )
}

pub fn module_parameters() -> Result<(), Failure> {
    let done = run(&[
        "--module-param",
        "queues=3",
        "--module-param",
        "mode=0640",
        "--",
        "sh",
        "-c",
        "stat -c %n:%a /dev/kpipe*",
    ])?;
    same(
        "stdout",
        done.out().as_str(),
        "/dev/kpipe:640\n/dev/kpipe0:640\n/dev/kpipe1:640\n/dev/kpipe2:640\n",
    )
}

pub fn refused_module() -> Result<(), Failure> {
    let done = run(&["--module-param", "queues=0", "--", "true"])?;
    same("status", done.status, 125)?;
    has(
        "stderr",
        &done.err(),
        "the kernel refuses the module (EINVAL): kpipe: ",
    )
}

pub fn misspelt_parameter() -> Result<(), Failure> {
    let done = run(&["--module-param", "queue=1", "--", "true"])?;
    same("status", done.status, 125)?;
    has("stderr", &done.err(), "unknown parameter 'queue'")
}

pub fn machine() -> Result<(), Failure> {
    let look = "nproc; awk '/MemTotal/ { print int($2 / 1024 / 100) }' /proc/meminfo; \
                cat /proc/cmdline; cat /sys/bus/pci/devices/*/device; lsmod";
    let done = run(&[
        "--no-module",
        "--smp",
        "3",
        "--mem",
        "512M",
        "--append",
        "first=1 second",
        "--",
        "sh",
        "-c",
        look,
    ])?;
    let out = done.out();
    has("stdout", &out, "3\n4\n")?;
    has("stdout", &out, " first=1 second\n")?;
    has("PCI devices", &out, "0x11e8\n")?;
    same("modules", out.contains("kpipe "), false)
}

pub fn icount() -> Result<(), Failure> {
    let work = "nproc; read before rest </proc/uptime; i=0; \
                while [ $i -lt 100000 ]; do i=$((i + 1)); done; \
                read after rest </proc/uptime; echo $before $after";
    let mut seconds = Vec::new();
    for _ in 0..2 {
        let out = run(&["--no-module", "--icount", "--", "sh", "-c", work])?.out();
        let words: Vec<f64> = out
            .split_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect();
        let [processors, before, after] = words[..] else {
            return Err(format!("unexpected output: {out:?}").into());
        };
        same("processors", processors, 1.0)?;
        seconds.push(after - before);
    }
    let difference = (seconds[0] - seconds[1]).abs() / seconds[0];
    // /proc/uptime counts hundredths.
    if seconds[0] > 0.0 && difference <= 0.005 + 0.02 / seconds[0] {
        return Ok(());
    }
    Err(format!("two runs took {seconds:?} s of the guest's time").into())
}

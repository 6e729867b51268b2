// SPDX-License-Identifier: MIT

//! Shells and the tools that they connect.

use crate::run::{Pipes, Place};
use crate::Test;

/// The tests.
pub const TESTS: &[Test] = &[
    ("shell::dash_pipelines_lose_nothing", dash, always),
    ("shell::bash_pipelines_lose_nothing", bash, always),
    (
        "shell::process_substitution_reopens_a_pair_by_name",
        substitution,
        always,
    ),
    ("shell::a_pipeline_ends_with_its_reader", ends_early, always),
    ("shell::a_named_path_is_a_queue", named_path, always),
    (
        "shell::a_program_that_drops_its_privileges_keeps_the_device",
        unprivileged,
        always,
    ),
    ("shell::exec_ends_as_the_program_does", exit_status, always),
    ("tar::a_tree_comes_out_as_it_went_in", tar, always),
];

fn always() -> Result<(), String> {
    Ok(())
}

/// Numbers in, sorted, doubled and counted: the sums are known.
const PIPELINE: &str = "
    seq 40000 | sort -rn | sort -n | uniq | wc -l
    seq 200000 | cat | cat | cat | cksum
    { seq 9000; seq 9000; } | sort -n | uniq -d | tail -n 1
    x=$(seq 30000 | tail -n 1); echo $x
    i=0; while [ $i -lt 100 ]; do echo $i | cat; i=$((i + 1)); done | wc -c
";

fn dash(place: &Place) -> Result<(), String> {
    pipeline(place, "dash")
}

fn bash(place: &Place) -> Result<(), String> {
    pipeline(place, "bash")
}

fn pipeline(place: &Place, shell: &str) -> Result<(), String> {
    let said = place.shell(shell, PIPELINE).on_both_alike()?;
    let lines: Vec<&str> = said.lines().collect();
    match lines[..] {
        ["40000", _, "9000", "30000", "290"] => Ok(()),
        _ => Err(format!("wrong sums: {said:?}")),
    }
}

fn substitution(place: &Place) -> Result<(), String> {
    let command = "diff <(seq 5000) <(seq 5000 | tee /dev/stderr 2>/dev/null) && seq 3 | cat /dev/stdin /proc/self/fd/0";
    let said = place.shell("bash", command).on_both_alike()?;
    expect(&said, "1\n2\n3\n")
}

/// `yes` has to get SIGPIPE; it would write for ever.
fn ends_early(place: &Place) -> Result<(), String> {
    let command = "yes | head -n 1; echo ${PIPESTATUS[0]}";
    expect(&place.shell("bash", command).on_both_alike()?, "y\n141\n")
}

fn named_path(place: &Place) -> Result<(), String> {
    let fifo = place.path("fifo").display().to_string();
    let command =
        format!("mkfifo {fifo}; seq 1000 >{fifo} & sum=$(cksum <{fifo}); wait; echo $sum");
    let option = format!("--path={fifo}=0");
    let program = place.shell("bash", &command).option(&option);
    let device = program.on_the_device()?.at_least(2, "opens")?;
    std::fs::remove_file(place.path("fifo")).map_err(|e| format!("{fifo}: {e}"))?;
    expect(&device.stdout, &program.on_real_pipes()?.stdout)
}

/// The clone node is root's alone; the descriptor that is inherited serves nobody as well.
fn unprivileged(place: &Place) -> Result<(), String> {
    let program = "import os; os.setgid(65534); os.setuid(65534)
read, write = os.pipe()
os.write(write, b'unprivileged'); print(os.read(read, 99), os.fstat(read).st_mode & 0o170000, flush=True)
os.execvp('sh', ['sh', '-c', 'echo again | cat'])";
    let said = place.program(["python3", "-c", program]).on_both_alike()?;
    expect(&said, "b'unprivileged' 4096\nagain\n")
}

fn exit_status(place: &Place) -> Result<(), String> {
    for (command, status) in [
        ("exit 7", "7"),
        ("kill -TERM $$", "143"),
        ("exec nothing-of-this-name 2>/dev/null", "127"),
    ] {
        let command = format!("kpipe exec -q -- sh -c '{command}'; echo $?; kpipe exec -- sh -c '{command}' 2>/dev/null; echo $?");
        let said = place
            .shell("sh", &command)
            .start(Pipes::Real)?
            .finish()?
            .stdout;
        expect(&said, &format!("{status}\n{status}\n"))?;
    }
    let command = "kpipe exec -q -- nothing-of-this-name 2>/dev/null; echo $?
        kpipe exec -q -- /etc/passwd 2>/dev/null; echo $?";
    let said = place
        .shell("sh", command)
        .start(Pipes::Real)?
        .finish()?
        .stdout;
    expect(&said, "127\n126\n")
}

/// Python's own modules, 60 MB, and a checksum over the checksums of all files.
fn tar(place: &Place) -> Result<(), String> {
    let command = "
        sums() { (cd \"$1\" && find . -path ./test -prune -o -type f -print | sort | xargs cksum | cksum); }
        mkdir copy && tar -C /usr/lib/python3.13 --exclude=./test -cf - . | tar -C copy -xpf - &&
        sums /usr/lib/python3.13 && sums copy && find copy -type f | wc -l";
    let said = place.shell("bash", command).on_both_alike()?;
    let lines: Vec<&str> = said.lines().collect();
    match lines[..] {
        [before, after, files] if before == after && matches!(files.parse(), Ok(500u32..)) => {
            Ok(())
        }
        _ => Err(format!("the trees differ, or are too small: {said:?}")),
    }
}

fn expect(said: &str, wanted: &str) -> Result<(), String> {
    if said == wanted {
        return Ok(());
    }
    Err(format!("expected {wanted:?}, got {said:?}"))
}

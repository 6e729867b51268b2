// SPDX-License-Identifier: MIT

//! The facts about the VM runner. One function each; the table names them.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use nix::fcntl::{fcntl, FcntlArg, OFlag};
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::pty::{openpty, Winsize};
use nix::sys::signal::{kill, Signal};
use nix::sys::termios::tcgetattr;
use nix::unistd::{pipe2, Pid};

use crate::run::{
    children, code, environment, finish, has, is_alive, run, same, until, vm, wait, Failure,
    DEADLINE,
};

type Fact = fn() -> Result<(), Failure>;

/// All facts by name.
pub const ALL: &[(&str, Fact)] = &[
    (
        "the_exit_status_is_the_commands_and_background_processes_do_not_matter",
        exit_status,
    ),
    (
        "a_command_killed_by_a_signal_gives_128_plus_its_number",
        killed_by_signal,
    ),
    (
        "a_missing_command_gives_127_and_a_file_that_is_none_126",
        not_started,
    ),
    (
        "megabytes_pass_unchanged_and_the_callers_stdin_stays_blocking",
        bytes,
    ),
    (
        "output_comes_while_the_command_runs_and_input_reaches_it",
        dialogue,
    ),
    ("a_closed_stdin_is_at_its_end", closed_stdin),
    ("a_closed_stdout_gives_the_command_sigpipe", closed_stdout),
    ("a_command_that_takes_too_long_gives_124", timeout),
    ("a_panic_gives_255_and_the_kernels_log", panic),
    ("an_oops_gives_255_and_the_kernels_log", oops),
    (
        "a_boot_that_never_comes_gives_255_and_the_kernels_log",
        no_boot,
    ),
    ("a_vm_that_switches_itself_off_gives_255", switched_off),
    ("added_files_folders_and_dynamic_programs_are_there", add),
    ("parameters_reach_the_module", module_parameters),
    (
        "a_module_that_the_kernel_refuses_gives_125_and_the_reason",
        refused_module,
    ),
    ("a_misspelt_parameter_gives_125", misspelt_parameter),
    (
        "processors_memory_kernel_words_and_devices_are_as_asked",
        machine,
    ),
    ("counting_instructions_repeats_to_half_a_percent", icount),
    (
        "wrong_usage_gives_2_and_what_is_missing_125",
        errors_before_boot,
    ),
    ("an_interrupt_gives_130_and_ends_qemu", interrupt),
    ("a_killed_runner_leaves_no_qemu", killed_runner),
    ("a_terminal_is_passed_through_and_restored", terminal),
];

fn exit_status() -> Result<(), Failure> {
    let done = run(&[
        "--no-module",
        "--",
        "sh",
        "-c",
        "sleep 1000 & echo out; echo err >&2; exit 7",
    ])?;
    same("status", done.status, 7)?;
    same("stdout", done.out().as_str(), "out\n")?;
    same("stderr", done.err().as_str(), "err\n")
}

fn killed_by_signal() -> Result<(), Failure> {
    same(
        "status",
        run(&["--no-module", "--", "sh", "-c", "kill -KILL $$"])?.status,
        137,
    )
}

fn not_started() -> Result<(), Failure> {
    let missing = run(&["--no-module", "--", "no-such-command"])?;
    same("status", missing.status, 127)?;
    has(
        "stderr",
        &missing.err(),
        "no-such-command: not found in the VM",
    )?;
    same(
        "status",
        run(&["--no-module", "--", "/etc/passwd"])?.status,
        126,
    )
}

fn bytes() -> Result<(), Failure> {
    let mut input = vec![0; 8 << 20];
    File::open("/dev/urandom")?.read_exact(&mut input)?;
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
    let mut command = vm(&["--no-module", "--", "tee", "/dev/stderr"]);
    command.stdin(reader.try_clone()?);
    let sent = input.clone();
    let feeder = std::thread::spawn(move || File::from(writer).write_all(&sent));
    let done = finish(command)?;
    feeder.join().map_err(|_| "the feeder panicked")??;
    same("status", done.status, 0)?;
    same("stdout is the input", done.stdout == input, true)?;
    same("stderr is the input", done.stderr == input, true)?;
    let flags = OFlag::from_bits_truncate(fcntl(reader.as_fd(), FcntlArg::F_GETFL)?);
    same("O_NONBLOCK", flags.contains(OFlag::O_NONBLOCK), false)
}

fn dialogue() -> Result<(), Failure> {
    let mut child = vm(&[
        "--no-module",
        "--",
        "sh",
        "-c",
        "echo first; read answer; echo $answer",
    ])
    .stdin(Stdio::piped())
    .spawn()?;
    let mut stdin = child.stdin.take().ok_or("no stdin")?;
    let mut lines = BufReader::new(child.stdout.take().ok_or("no stdout")?).lines();
    same(
        "first line",
        lines.next().transpose()?.as_deref(),
        Some("first"),
    )?;
    // Only who has seen the first line sends the answer.
    stdin.write_all(b"second\n")?;
    same(
        "second line",
        lines.next().transpose()?.as_deref(),
        Some("second"),
    )?;
    same("status", code(wait(&mut child)?), 0)
}

fn closed_stdin() -> Result<(), Failure> {
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec \"$@\" <&-", "sh"]);
    let runner = vm(&["--no-module", "--", "sh", "-c", "cat; echo end"]);
    shell.arg(runner.get_program()).args(runner.get_args());
    shell
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let done = finish(shell)?;
    same("stdout", done.out().as_str(), "end\n")?;
    same("status", done.status, 0)
}

fn closed_stdout() -> Result<(), Failure> {
    let mut child = vm(&["--no-module", "--", "yes"]).spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().ok_or("no stdout")?).read_line(&mut line)?;
    same("line", line.as_str(), "y\n")?;
    same(
        "status",
        code(wait(&mut child)?),
        128 + Signal::SIGPIPE as i32,
    )
}

fn timeout() -> Result<(), Failure> {
    let done = run(&["--no-module", "--timeout", "1", "--", "sleep", "1000"])?;
    same("status", done.status, 124)?;
    has("stderr", &done.err(), "did not end within 1 s")
}

fn panic() -> Result<(), Failure> {
    let crash = "echo c >/proc/sysrq-trigger; sleep 1000";
    let done = run(&["--no-module", "--", "sh", "-c", crash])?;
    same("status", done.status, 255)?;
    has("stderr", &done.err(), "] Linux version ")?;
    has("stderr", &done.err(), "the kernel died: ")?;
    has(
        "stderr",
        &done.err(),
        "Kernel panic - not syncing: sysrq triggered crash",
    )
}

fn oops() -> Result<(), Failure> {
    let module = format!("{}:/oops.ko", environment("KPIPE_OOPS")?);
    let done = run(&["--no-module", "--add", &module, "--", "insmod", "/oops.ko"])?;
    same("status", done.status, 255)?;
    has(
        "stderr",
        &done.err(),
        "BUG: kernel NULL pointer dereference",
    )?;
    has("stderr", &done.err(), "oops_init")
}

fn no_boot() -> Result<(), Failure> {
    let hang = ["--append", "rdinit=/bin/cat", "--boot-timeout", "8"];
    let done = run(&[&["--no-module"], &hang[..], &["--", "true"]].concat())?;
    same("status", done.status, 255)?;
    has("stderr", &done.err(), "] Linux version ")?;
    has("stderr", &done.err(), "not ready within 8 s")
}

fn switched_off() -> Result<(), Failure> {
    let done = run(&["--no-module", "--", "poweroff", "-f"])?;
    same("status", done.status, 255)?;
    has(
        "stderr",
        &done.err(),
        "switched off before the command had ended",
    )
}

fn add() -> Result<(), Failure> {
    let folder = Folder::new("add")?;
    fs::write(folder.0.join("file"), "content")?;
    fs::create_dir(folder.0.join("sub"))?;
    symlink("../file", folder.0.join("sub/link"))?;
    let absolute = folder
        .0
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
    command.current_dir(&folder.0);
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

fn module_parameters() -> Result<(), Failure> {
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
        "/dev/kpipe0:640\n/dev/kpipe1:640\n/dev/kpipe2:640\n",
    )
}

fn refused_module() -> Result<(), Failure> {
    let done = run(&["--module-param", "queues=0", "--", "true"])?;
    same("status", done.status, 125)?;
    has(
        "stderr",
        &done.err(),
        "the kernel refuses the module (EINVAL): kpipe: ",
    )
}

fn misspelt_parameter() -> Result<(), Failure> {
    let done = run(&["--module-param", "queue=1", "--", "true"])?;
    same("status", done.status, 125)?;
    has("stderr", &done.err(), "unknown parameter 'queue'")
}

fn machine() -> Result<(), Failure> {
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
        "--edu",
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

fn icount() -> Result<(), Failure> {
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

fn errors_before_boot() -> Result<(), Failure> {
    same("unknown option", run(&["--bogus"])?.status, 2)?;
    same(
        "little memory",
        run(&["--mem", "1M", "--", "true"])?.status,
        2,
    )?;
    let missing = run(&["--no-module", "--add", "/no/such/file", "--", "true"])?;
    same("missing file", missing.status, 125)?;
    has(
        "stderr",
        &missing.err(),
        "--add /no/such/file: there is no such file",
    )?;
    let huge = run(&["--no-module", "--mem", "99999G", "--", "true"])?;
    same("too much memory", huge.status, 125)?;
    has("stderr", &huge.err(), "QEMU could not start: ")?;
    same("one line", huge.err().lines().count(), 1)
}

fn interrupt() -> Result<(), Failure> {
    for (signal, status) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let mut child =
            vm(&["--no-module", "--", "sh", "-c", "echo started; sleep 1000"]).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no stdout")?).read_line(&mut line)?;
        let qemu = until(|| children(child.id()).first().copied())?;
        kill(Pid::from_raw(child.id().try_into()?), signal)?;
        same("status", code(wait(&mut child)?), status)?;
        same("QEMU is alive", is_alive(qemu), false)?;
    }
    Ok(())
}

fn killed_runner() -> Result<(), Failure> {
    let mut child = vm(&["--no-module", "--", "sh", "-c", "echo started; sleep 1000"]).spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().ok_or("no stdout")?).read_line(&mut line)?;
    let qemu = until(|| children(child.id()).first().copied())?;
    same("QEMU is alive", is_alive(qemu), true)?;
    child.kill()?;
    wait(&mut child)?;
    until(|| (!is_alive(qemu)).then_some(()))
}

fn terminal() -> Result<(), Failure> {
    let size = Winsize {
        ws_row: 33,
        ws_col: 99,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let pty = openpty(&size, None)?;
    let before = tcgetattr(&pty.slave)?;
    let mut command = vm(&["--no-module"]);
    command
        .stdin(pty.slave.try_clone()?)
        .stdout(pty.slave.try_clone()?);
    let mut child = command.spawn()?;
    let mut terminal = File::from(pty.master);
    read_until(&mut terminal, "kpipe-vm:")?;
    same(
        "the terminal is raw",
        tcgetattr(&pty.slave)? != before,
        true,
    )?;
    terminal.write_all(b"tty; stty size; exit 5\n")?;
    read_until(&mut terminal, "/dev/pts/0\r\n33 99\r\n")?;
    same("status", code(wait(&mut child)?), 5)?;
    same(
        "the terminal is restored",
        tcgetattr(&pty.slave)? == before,
        true,
    )
}

/// Reads from a terminal until it has shown this.
fn read_until(terminal: &mut File, part: &str) -> Result<(), Failure> {
    let mut shown = String::new();
    let mut chunk = [0; 4096];
    while !shown.contains(part) {
        let mut fds = [PollFd::new(terminal.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, PollTimeout::try_from(DEADLINE)?)? == 0 {
            return has("the terminal", &shown, part);
        }
        let length = terminal.read(&mut chunk)?;
        shown.push_str(&String::from_utf8_lossy(&chunk[..length]));
    }
    Ok(())
}

/// A folder of the host that is removed with the value.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Result<Self, Failure> {
        let path =
            std::env::temp_dir().join(format!("kpipe-vm-tests-{}-{name}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

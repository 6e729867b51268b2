// SPDX-License-Identifier: MIT

//! The command's standard streams, and its terminal.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::fcntl::{fcntl, FcntlArg, OFlag};
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::pty::{openpty, Winsize};
use nix::sys::signal::{kill, Signal};
use nix::sys::termios::tcgetattr;
use nix::unistd::{pipe2, Pid};
use rustix::termios::{tcgetwinsize, tcsetwinsize};

use crate::run::{code, finish, has, same, vm, wait, within, Failure, DEADLINE};

pub fn bytes() -> Result<(), Failure> {
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

/// This much fits into what lies between command and caller (pipes, sockets), so the command ends
/// before anybody has read.
pub fn slow_reader() -> Result<(), Failure> {
    let write = "head -c 262144 /dev/zero; echo written >&2";
    let mut child = vm(&["--no-module", "--", "sh", "-c", write]).spawn()?;
    let mut line = String::new();
    BufReader::new(child.stderr.take().ok_or("no stderr")?).read_line(&mut line)?;
    same("stderr", line.as_str(), "written\n")?;
    // A runner that does not wait for the reader would end now.
    let early = within(Duration::from_secs(2), || child.try_wait().ok().flatten());
    same("end before the output was read", early, None)?;
    let mut stdout = Vec::new();
    child
        .stdout
        .take()
        .ok_or("no stdout")?
        .read_to_end(&mut stdout)?;
    same("bytes", stdout.len(), 262_144)?;
    same("status", code(wait(&mut child)?), 0)
}

pub fn dialogue() -> Result<(), Failure> {
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

pub fn closed_stdin() -> Result<(), Failure> {
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

pub fn closed_stdout() -> Result<(), Failure> {
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

pub fn terminal() -> Result<(), Failure> {
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
    terminal.write_all(b"tty; stty size\n")?;
    read_until(&mut terminal, "/dev/pts/0\r\n33 99\r\n")?;
    // The kernel sends the signal only to the foreground of a session's own terminal.
    tcsetwinsize(
        &pty.slave,
        rustix::termios::Winsize {
            ws_row: 44,
            ..tcgetwinsize(&pty.slave)?
        },
    )?;
    kill(Pid::from_raw(child.id().try_into()?), Signal::SIGWINCH)?;
    terminal.write_all(b"until stty size | grep '44 99'; do :; done; exit 5\n")?;
    read_until(&mut terminal, "\r\n44 99\r\n")?;
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

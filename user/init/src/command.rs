// SPDX-License-Identifier: MIT

//! Runs the command with its streams on the ports, and waits for it as PID 1 does: it reaps the
//! orphans too.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
use std::thread;

use kpipe_init::{
    guest_home, Output, Port, Report, Request, Run, Size, Terminal, EXIT_NOT_EXECUTABLE,
    EXIT_NOT_FOUND,
};
use nix::fcntl::OFlag;
use nix::pty::{openpty, Winsize};
use nix::sys::wait::{waitpid, WaitStatus};
use nix::unistd::{pipe2, Pid};

use crate::ports::Ports;
use crate::streams::{copy_input, copy_output, InputEnd};
use crate::Error;

/// Where commands are looked for.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs the command to its end; all its output is on the ports then.
pub fn run(run: &Run, ports: &Ports) -> Result<Report, Error> {
    let mut streams = match &run.terminal {
        Some(terminal) => Streams::terminal(terminal)?,
        None => Streams::pipes()?,
    };
    let (command_runs, command_ended) = hangup()?;
    let (stdout_wanted, close_stdout) = hangup()?;
    let (stderr_wanted, close_stderr) = hangup()?;
    let (input_end, mut input_end_writer) = pipe()?;

    let terminal = streams.host.terminal.take();
    let mut wanted = [Some(stdout_wanted), Some(stderr_wanted)];
    ports.on_request(move |request| match request {
        Request::EndInput { stdin_bytes } => {
            let _ = input_end_writer.write_all(&stdin_bytes.to_ne_bytes());
        }
        Request::CloseOutput(Output::Stdout) => wanted[0] = None,
        Request::CloseOutput(Output::Stderr) => wanted[1] = None,
        Request::Resize(size) => {
            if let Some(terminal) = &terminal {
                let _ = resize(terminal, size);
            }
        }
    })?;

    let mut command = match &run.terminal {
        // It gives the command a session with this terminal. The same in here would be unsafe code.
        Some(_) => {
            let mut command = Command::new("setsid");
            command.arg("-c").arg(&run.command[0]);
            command
        }
        None => Command::new(&run.command[0]),
    };
    command
        .args(&run.command[1..])
        .current_dir(guest_home())
        .env_clear()
        .env("PATH", PATH)
        .env("HOME", guest_home())
        .env("USER", "root")
        .env("SHELL", "/bin/sh")
        .stdin(streams.command.stdin)
        .stdout(streams.command.stdout)
        .stderr(streams.command.stderr);
    if let Some(terminal) = &run.terminal {
        command.env("TERM", &terminal.kind);
    }
    let child = match command.spawn() {
        Ok(child) => Pid::from_raw(child.id().try_into()?),
        Err(error) => return not_started(run, error, ports),
    };
    // It holds the command's ends of the pipes.
    drop(command);

    let HostEnds {
        stdin,
        stdout,
        stderr,
        input_end: how,
        ..
    } = streams.host;
    let stdin_port = ports.stream(Port::Stdin)?;
    thread::spawn(move || copy_input(stdin_port, stdin, input_end, how));
    let copies = [
        (stdout, Port::Stdout, close_stdout),
        (stderr, Port::Stderr, close_stderr),
    ]
    .map(|(source, port, close)| -> Result<_, Error> {
        let Some(source) = source else {
            return Ok(thread::spawn(|| 0));
        };
        let (port, ended) = (ports.stream(port)?, command_ended.try_clone()?);
        Ok(thread::spawn(move || {
            copy_output(source, port, ended, close)
        }))
    });

    let exit_status = wait(child)?;
    drop(command_runs);
    let [stdout_bytes, stderr_bytes] =
        copies.map(|copy| copy.map(|thread| thread.join().expect("copying does not panic")));
    Ok(Report::Ended {
        exit_status,
        stdout_bytes: stdout_bytes?,
        stderr_bytes: stderr_bytes?,
    })
}

/// Both sides of the command's three streams.
struct Streams {
    command: CommandEnds,
    host: HostEnds,
}

struct CommandEnds {
    stdin: Stdio,
    stdout: Stdio,
    stderr: Stdio,
}

struct HostEnds {
    stdin: File,
    stdout: Option<File>,
    /// A terminal has no stderr of its own.
    stderr: Option<File>,
    input_end: InputEnd,
    /// The terminal, to change its size.
    terminal: Option<OwnedFd>,
}

impl Streams {
    fn pipes() -> Result<Self, Error> {
        let (stdin, stdin_writer) = pipe()?;
        let (stdout_reader, stdout) = pipe()?;
        let (stderr_reader, stderr) = pipe()?;
        Ok(Self {
            command: CommandEnds {
                stdin: stdin.into(),
                stdout: stdout.into(),
                stderr: stderr.into(),
            },
            host: HostEnds {
                stdin: stdin_writer,
                stdout: Some(stdout_reader),
                stderr: Some(stderr_reader),
                input_end: InputEnd::Close,
                terminal: None,
            },
        })
    }

    fn terminal(terminal: &Terminal) -> Result<Self, Error> {
        let pty = openpty(&winsize(terminal.size), None)?;
        let master = File::from(pty.master);
        Ok(Self {
            command: CommandEnds {
                stdin: pty.slave.try_clone()?.into(),
                stdout: pty.slave.try_clone()?.into(),
                stderr: pty.slave.into(),
            },
            host: HostEnds {
                stdin: master.try_clone()?,
                stdout: Some(master.try_clone()?),
                stderr: None,
                input_end: InputEnd::Type,
                terminal: Some(master.into()),
            },
        })
    }
}

/// Reaps until the command itself has ended.
fn wait(child: Pid) -> Result<i32, Error> {
    loop {
        match waitpid(None, None)? {
            WaitStatus::Exited(pid, status) if pid == child => return Ok(status),
            WaitStatus::Signaled(pid, signal, _) if pid == child => {
                return Ok(128 + signal as i32);
            }
            _ => {}
        }
    }
}

fn not_started(run: &Run, error: std::io::Error, ports: &Ports) -> Result<Report, Error> {
    let name = run.command[0].to_string_lossy();
    let (exit_status, sentence) = match error.kind() {
        ErrorKind::NotFound => (EXIT_NOT_FOUND, format!("{name}: not found in the VM\n")),
        _ => (EXIT_NOT_EXECUTABLE, format!("{name}: {error}\n")),
    };
    ports.stream(Port::Stderr)?.write_all(sentence.as_bytes())?;
    Ok(Report::Ended {
        exit_status,
        stdout_bytes: 0,
        stderr_bytes: sentence.len() as u64,
    })
}

fn pipe() -> Result<(File, File), Error> {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
    Ok((reader.into(), writer.into()))
}

/// Two descriptors: when the first is dropped, the second hangs up.
fn hangup() -> Result<(OwnedFd, OwnedFd), Error> {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
    Ok((writer, reader))
}

fn resize(terminal: &OwnedFd, size: Size) -> rustix::io::Result<()> {
    let Size { rows, columns } = size;
    rustix::termios::tcsetwinsize(
        terminal.as_fd(),
        rustix::termios::Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        },
    )
}

fn winsize(size: Size) -> Winsize {
    Winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

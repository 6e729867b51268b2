// SPDX-License-Identifier: MIT

//! Starts QEMU. The machine is described in `qemu/machine.args`, the kernel's command line in
//! `qemu/kernel.args`.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};

use kpipe_init::{Port, MONITOR_PORT};
use nix::fcntl::{fcntl, FcntlArg, FdFlag};
use nix::sys::socket::{socketpair, AddressFamily, SockFlag, SockType};

use crate::accelerator::Kind;
use crate::network;
use crate::options::Options;
use crate::Error;

const MACHINE: &str = include_str!("../../../qemu/machine.args");
const MACHINE_ICOUNT: &str = include_str!("../../../qemu/icount.args");
const KERNEL: &str = include_str!("../../../qemu/kernel.args");
const KERNEL_ICOUNT: &str = include_str!("../../../qemu/kernel-icount.args");

/// QEMU's program.
pub const QEMU: &str = "qemu-system-x86_64";

/// A running VM and the host's ends of its channels. Dropping it ends QEMU.
pub struct Machine {
    /// The command's standard input.
    pub stdin: UnixStream,
    /// Its standard output.
    pub stdout: UnixStream,
    /// Its standard error.
    pub stderr: UnixStream,
    /// Reports and requests.
    pub control: UnixStream,
    /// The serial console: the kernel's log.
    pub console: UnixStream,
    /// The process.
    pub qemu: Qemu,
}

/// The process; killed and reaped when dropped.
pub struct Qemu {
    child: Child,
    complaints: Option<JoinHandle<String>>,
}

/// Starts a VM with this initramfs.
pub fn start(options: &Options, accelerator: Kind, initramfs: &File) -> Result<Machine, Error> {
    let image = options.kernel_folder().join("vmlinuz");
    if !image.exists() {
        let sentence = format!(
            "there is no kernel {}; build it with: make build",
            image.display()
        );
        return Err(sentence.into());
    }
    let (stdin, guest_stdin) = channel()?;
    let (stdout, guest_stdout) = channel()?;
    let (stderr, guest_stderr) = channel()?;
    let (control, guest_control) = channel()?;
    let (console, guest_console) = channel()?;
    // QEMU gets both ends: its monitor, and the port by which the guest reaches it.
    let (monitor, guest_monitor) = channel()?;
    let monitor = inherited(monitor.into())?;

    let cable = options
        .net
        .as_ref()
        .map(|net| network::connect(net, options));
    let cable = cable.transpose()?.map(inherited).transpose()?;

    // setpriv: should the runner be killed, the kernel kills QEMU.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", QEMU]);
    command.args(words(MACHINE)).args(accelerator.arguments());
    if options.icount {
        command.args(words(MACHINE_ICOUNT)).args(["-smp", "1"]);
    } else {
        command
            .arg("-smp")
            .arg(options.smp.unwrap_or(2).to_string());
    }
    command.args(["-m", options.memory()]);
    command.arg("-kernel").arg(&image);
    command
        .arg("-initrd")
        .arg(format!("/dev/fd/{}", initramfs.as_raw_fd()));
    command.arg("-append").arg(kernel_command_line(options));
    for (name, socket) in [
        (Port::Stdin.name(), &guest_stdin),
        (Port::Stdout.name(), &guest_stdout),
        (Port::Stderr.name(), &guest_stderr),
        (Port::Control.name(), &guest_control),
        (MONITOR_PORT, &guest_monitor),
    ] {
        command
            .arg("-chardev")
            .arg(format!("socket,id={name},fd={}", socket.as_raw_fd()));
        command
            .arg("-device")
            .arg(format!("virtserialport,chardev={name},name={name}"));
    }
    command.arg("-chardev").arg(format!(
        "socket,id=console,fd={}",
        guest_console.as_raw_fd()
    ));
    command.args(["-serial", "chardev:console"]);
    command
        .arg("-chardev")
        .arg(format!("socket,id=monitor,fd={}", monitor.as_raw_fd()));
    command.args(["-mon", "chardev=monitor,mode=control"]);

    if let (Some(net), Some(cable)) = (&options.net, &cable) {
        let fd = cable.as_raw_fd();
        command.args(["-netdev", &format!("socket,id=kpipe.net,fd={fd}")]);
        // Without a boot ROM, which is another package.
        let card = format!(
            "virtio-net-pci,netdev=kpipe.net,romfile=,mac=52:54:00:00:00:{:02x}",
            net.machine
        );
        command.args(["-device", &card]);
    }

    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        // Ctrl-C goes to the terminal's process group; the runner decides what it means.
        .process_group(0)
        .spawn()
        .map_err(|error| {
            format!("cannot start {QEMU}: {error}; install it with: scripts/host-deps")
        })?;
    Ok(Machine {
        stdin,
        stdout,
        stderr,
        control,
        console,
        qemu: Qemu::new(child),
    })
}

impl Qemu {
    fn new(mut child: Child) -> Self {
        let mut stderr = child.stderr.take().expect("stderr is a pipe");
        let complaints = thread::spawn(move || {
            let mut text = Vec::new();
            let _ = stderr.read_to_end(&mut text);
            String::from_utf8_lossy(&text).trim_end().to_owned()
        });
        Self {
            child,
            complaints: Some(complaints),
        }
    }

    /// Waits for the end of a QEMU that has closed its channels: whether it failed, and what it
    /// says.
    pub fn wait(&mut self) -> Result<(bool, String), Error> {
        let status = self.child.wait()?;
        let complaints = self.complaints.take().map(|thread| thread.join());
        Ok((
            !status.success(),
            complaints.and_then(Result::ok).unwrap_or_default(),
        ))
    }

    /// Ends QEMU, whatever it does.
    pub fn kill(&mut self) {
        // It fails only for a process that has ended, and was reaped here.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        self.kill();
    }
}

fn kernel_command_line(options: &Options) -> String {
    let icount = if options.icount {
        words(KERNEL_ICOUNT)
    } else {
        Vec::new()
    };
    let mut line = words(KERNEL);
    line.extend(icount);
    line.extend(options.append.iter().map(String::as_str));
    line.join(" ")
}

/// The words of a file of arguments: one per line, lines that begin with `#` are comments.
fn words(text: &str) -> Vec<&str> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect()
}

/// A connected pair: the host's end, and the one that QEMU inherits.
fn channel() -> Result<(UnixStream, OwnedFd), Error> {
    let (host, guest) = socketpair(
        AddressFamily::Unix,
        SockType::Stream,
        None,
        SockFlag::empty(),
    )?;
    // QEMU must not inherit the host's end: its own end would never be closed.
    set_descriptor_flags(&host, FdFlag::FD_CLOEXEC)?;
    Ok((UnixStream::from(host), guest))
}

/// A descriptor of ours as one that QEMU inherits.
fn inherited(end: OwnedFd) -> Result<OwnedFd, Error> {
    set_descriptor_flags(&end, FdFlag::empty())?;
    Ok(end)
}

fn set_descriptor_flags(fd: &OwnedFd, flags: FdFlag) -> Result<(), Error> {
    fcntl(fd, FcntlArg::F_SETFD(flags))?;
    Ok(())
}

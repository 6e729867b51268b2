// SPDX-License-Identifier: MIT

//! What PID 1 of the VM and the VM runner on the host (`kpipe-vm`) say to each other.
//!
//! The host describes one run in [`Run`], a file of the initramfs. From then on four virtio-serial
//! ports connect the two (see [`Port`]): the command's three standard streams as raw bytes, and a
//! control port with one JSON message per line, [`Report`]s from the guest and [`Request`]s from
//! the host.
//!
//! The raw ports stay open during the whole run and carry no end of file: QEMU tells neither side
//! when the other has really taken all bytes, and drops what is on its way when it ends. Instead
//! whoever ends a stream tells on the control port how many bytes it had, and the other side waits
//! for that many. So nothing is lost and nothing can be mistaken for data.

use std::ffi::OsString;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where [`Run`] lies in the guest, as JSON.
pub const RUN_FILE: &str = "/etc/kpipe-vm.json";

/// Where the module lies in the guest.
pub const MODULE_FILE: &str = "/lib/modules/kpipe.ko";

/// Where the kernel's own modules for the network card lie in a guest that has one, in the order in which they
/// are to be loaded.
pub const NETWORK_MODULES: [&str; 3] = [
    "/lib/modules/failover.ko",
    "/lib/modules/net_failover.ko",
    "/lib/modules/virtio_net.ko",
];

/// Name of one more virtio-serial port: the QMP monitor of the QEMU that runs the VM, for programs in it
/// that plug and unplug devices. Neither the host nor PID 1 uses it.
pub const MONITOR_PORT: &str = "kpipe.monitor";

/// Exit status when the command exists but cannot be executed, as a shell gives it.
pub const EXIT_NOT_EXECUTABLE: i32 = 126;

/// Exit status when there is no such command, as a shell gives it.
pub const EXIT_NOT_FOUND: i32 = 127;

/// From now on a panic of any thread ends the process: a thread that ended alone would leave the
/// others waiting for it.
pub fn abort_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
}

/// One run of a command in the VM.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    /// The command and its arguments; never empty.
    pub command: Vec<OsString>,
    /// Parameters (`name=value`) for the module, or `None` to load no module.
    pub module_parameters: Option<Vec<OsString>>,
    /// The terminal to give to the command, or `None` to give it pipes.
    pub terminal: Option<Terminal>,
    /// N for the address 10.0.0.N, or `None` without a network card.
    pub network_machine: Option<u8>,
}

/// A terminal as the command shall see it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Terminal {
    /// The value of `TERM`.
    pub kind: OsString,
    /// Its size.
    pub size: Size,
}

/// Size of a terminal in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Lines.
    pub rows: u16,
    /// Characters per line.
    pub columns: u16,
}

/// A stream that the command writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Output {
    /// Standard output, or everything that the terminal shows.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What the guest tells the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// The system is up and the module, if any, is loaded; the command starts now.
    Ready,
    /// There will be no command: the sentence says why.
    Failed(String),
    /// The command has ended, and this is all it has written.
    Ended {
        /// Its exit status, or 128 plus the signal that killed it.
        exit_status: i32,
        /// Bytes sent on [`Port::Stdout`].
        stdout_bytes: u64,
        /// Bytes sent on [`Port::Stderr`].
        stderr_bytes: u64,
    },
}

/// What the host tells the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Standard input ends after this many bytes.
    EndInput {
        /// Bytes sent on [`Port::Stdin`].
        stdin_bytes: u64,
    },
    /// Nobody reads this stream any more: the command's next write shall get `SIGPIPE`.
    CloseOutput(Output),
    /// The terminal has another size now.
    Resize(Size),
}

/// A virtio-serial port. Both sides find it by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// Bytes for the command's standard input.
    Stdin,
    /// Bytes of its standard output.
    Stdout,
    /// Bytes of its standard error.
    Stderr,
    /// [`Report`]s and [`Request`]s.
    Control,
}

impl Port {
    /// All ports.
    pub const ALL: [Port; 4] = [Port::Stdin, Port::Stdout, Port::Stderr, Port::Control];

    /// The name in `/sys/class/virtio-ports/*/name`.
    pub fn name(self) -> &'static str {
        match self {
            Port::Stdin => "kpipe.stdin",
            Port::Stdout => "kpipe.stdout",
            Port::Stderr => "kpipe.stderr",
            Port::Control => "kpipe.control",
        }
    }
}

/// The folder of the guest in which the command starts, and its `HOME`.
pub fn guest_home() -> PathBuf {
    PathBuf::from("/root")
}

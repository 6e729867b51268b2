// SPDX-License-Identifier: MIT

//! The command line of `qemu/vm`.

use std::ffi::OsString;
use std::io::{stdin, stdout, IsTerminal};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

/// Run a command in a virtual machine with the kpipe module loaded, as if it ran here.
///
/// The command's standard input, output and error are the caller's, byte for byte, and its exit
/// status becomes the exit status. The guest is a small system in memory: busybox, the kpipe tools,
/// the module, and what --root and --add bring. It starts in /root and is gone afterwards.
///
/// Without COMMAND: an interactive shell, or, if standard input is not a terminal, a shell that
/// reads its commands from there.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "vm",
    bin_name = "qemu/vm",
    args_override_self = true,
    override_usage = "qemu/vm [OPTIONS] [-- COMMAND [ARGUMENTS]]",
    after_help = AFTER_HELP
)]
pub struct Options {
    /// The kernel to boot
    #[arg(long, value_enum, default_value_t = Kernel::Stock)]
    pub kernel: Kernel,

    /// What is in the VM beside the kpipe tools and the module
    #[arg(long, value_enum, default_value_t = Root::Small)]
    pub root: Root,

    /// Number of virtual processors [default: 2, with --icount 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64), conflicts_with = "icount")]
    pub smp: Option<u32>,

    /// Memory of the VM: a number with unit M or G [default: 1G, with the debug kernel 2G]
    #[arg(long, value_name = "M", value_parser = parse_mem)]
    pub mem: Option<String>,

    /// How QEMU runs the guest's instructions
    #[arg(long, value_enum, default_value_t = Accel::Auto)]
    pub accel: Accel,

    /// Count instructions: one processor, and one nanosecond of the guest's time per instruction,
    /// so that measurements repeat whatever else the host does (implies TCG)
    #[arg(long)]
    pub icount: bool,

    /// Parameter for the module; may be given several times
    #[arg(long, value_name = "NAME=VALUE")]
    pub module_param: Vec<OsString>,

    /// Do not load the module
    #[arg(long, conflicts_with = "module_param")]
    pub no_module: bool,

    /// Bring a file or folder of the host into the VM, with the shared libraries that its programs
    /// need; may be given several times
    ///
    /// Without GUESTPATH an absolute path stays the same and a relative one is below the folder in
    /// which the command starts, so the command can use the name that was given here.
    #[arg(long, value_name = "HOSTPATH[:GUESTPATH]")]
    pub add: Vec<OsString>,

    /// Be machine 1 or 2 of a network of two VMs that is named by PATH, such as 1:/tmp/net; the stock kernel only
    ///
    /// The kernel starts when both are there. They are called vm1 and vm2 (10.0.0.1 and 10.0.0.2).
    #[arg(long, value_name = "N:PATH", value_parser = parse_net, conflicts_with_all = ["icount"])]
    pub net: Option<Net>,

    /// Give up after this many seconds, counted from the start of the command; 0 is never [default:
    /// 300, for a terminal 0]
    #[arg(long, value_name = "S")]
    pub timeout: Option<u64>,

    /// Give up if the VM is not ready after this many seconds [default: 120, with the debug kernel
    /// 600]
    #[arg(long, value_name = "S")]
    pub boot_timeout: Option<u64>,

    /// More words for the kernel's command line; may be given several times
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true)]
    pub append: Vec<String>,

    /// Write the kernel's log to this file
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,

    /// Say nothing but errors: not which accelerator is used, nor what is built
    #[arg(long)]
    pub quiet: bool,

    /// Give the command a terminal (always so for an interactive shell)
    #[arg(long)]
    pub tty: bool,

    /// The checkout
    #[arg(long, hide = true)]
    pub project: PathBuf,

    /// The cache
    #[arg(long, hide = true)]
    pub cache: PathBuf,

    /// The command and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

const AFTER_HELP: &str = "\
Exit status:
  that of the command, 128+N if signal N killed it, 126 or 127 if it could not be started; and
  2    wrong usage
  124  the command did not end in time (--timeout)
  125  the runner failed: one sentence says why (a missing file, a module that the kernel refuses)
  130  interrupted (143 terminated, 129 hung up)
  255  the kernel panicked, oopsed or did not come up; its log is on standard error

Examples:
  qemu/vm -- kpipe stat
  qemu/vm --module-param queues=2 -- sh -c 'ls -l /dev/kpipe*'
  head -c 1G /dev/urandom | qemu/vm -- sha256sum
  qemu/vm --root programs -- kpipe exec -- bash -c 'seq 1000 | sort -R | wc -l'
  qemu/vm --kernel debug --add ./program -- ./program
";

/// A place in a network of two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Net {
    /// 1 or 2.
    pub machine: u8,
    /// Where the two runners meet: a socket of AF_UNIX that machine 1 makes and removes.
    pub path: PathBuf,
}

/// Which kernel to boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kernel {
    /// Debian's own, unmodified
    Stock,
    /// Built here, with KASAN, lockdep and the other checkers
    Debug,
}

/// The guest's userland.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Root {
    /// busybox
    Small,
    /// Debian's bash, coreutils, tar, stress-ng, hackbench and Python, beside busybox
    Programs,
}

/// How QEMU runs the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Accel {
    /// KVM if a trial boot has shown that it works here, else TCG
    Auto,
    /// The processor itself
    Kvm,
    /// QEMU's translator; works everywhere
    Tcg,
}

impl Options {
    /// Whether the command gets a terminal.
    pub fn wants_terminal(&self) -> bool {
        self.tty || (self.command.is_empty() && stdin().is_terminal() && stdout().is_terminal())
    }

    /// How long the command may take.
    pub fn run_limit(&self) -> Option<Duration> {
        let default_s = if self.wants_terminal() { 0 } else { 300 };
        match self.timeout.unwrap_or(default_s) {
            0 => None,
            seconds => Some(Duration::from_secs(seconds)),
        }
    }

    /// How long the boot may take. It takes 3 s and 30 s on two slow processors; a loaded machine
    /// needs more.
    pub fn boot_limit(&self) -> Duration {
        let default_s = match self.kernel {
            Kernel::Stock => 120,
            Kernel::Debug => 600,
        };
        Duration::from_secs(self.boot_timeout.unwrap_or(default_s))
    }

    /// The memory in QEMU's notation.
    pub fn memory(&self) -> &str {
        self.mem.as_deref().unwrap_or(match self.kernel {
            Kernel::Stock => "1G",
            // KASAN's shadow takes an eighth, and freed memory waits in its quarantine.
            Kernel::Debug => "2G",
        })
    }

    /// The folder of the kernel: image and module.
    pub fn kernel_folder(&self) -> PathBuf {
        self.project.join("build").join(match self.kernel {
            Kernel::Stock => "kernel-stock",
            Kernel::Debug => "kernel-debug",
        })
    }

    /// The module for the kernel, or nothing.
    pub fn module(&self) -> Option<PathBuf> {
        let folder = match self.kernel {
            Kernel::Stock => "module-stock",
            Kernel::Debug => "module-debug",
        };
        (!self.no_module).then(|| self.project.join("build").join(folder).join("kpipe.ko"))
    }
}

/// Checked here because QEMU takes a number without unit for MiB and accepts a VM of 1 MiB.
fn parse_mem(text: &str) -> Result<String, String> {
    let number = |units| {
        text.strip_suffix(units)
            .and_then(|number| number.parse::<u64>().ok())
    };
    match (number(['G', 'g']), number(['M', 'm'])) {
        (Some(1..), _) | (_, Some(128..)) => Ok(text.to_owned()),
        _ => Err("expected at least 128M, for example 512M or 2G".to_owned()),
    }
}

fn parse_net(text: &str) -> Result<Net, String> {
    match text.split_once(':') {
        Some((number @ ("1" | "2"), path)) if !path.is_empty() => Ok(Net {
            machine: if number == "1" { 1 } else { 2 },
            path: path.into(),
        }),
        _ => Err("expected 1:PATH for one VM and 2:PATH for the other".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Options as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn a_network_has_two_machines_and_a_path() {
        let net = parse_net("2:/tmp/a:b").unwrap();
        assert_eq!((net.machine, net.path), (2, "/tmp/a:b".into()));
        for bad in ["", "1", "1:", "3:/x", ":/x", "01:/x"] {
            assert!(parse_net(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn memory_needs_a_unit_and_is_not_too_small() {
        for good in ["128M", "1G", "2g"] {
            assert_eq!(parse_mem(good).as_deref(), Ok(good));
        }
        for bad in ["", "M", "1", "127M", "0G", "1T", "-1G", "1é"] {
            assert!(parse_mem(bad).is_err(), "{bad}");
        }
    }
}

// SPDX-License-Identifier: MIT

//! The small system that a command expects: file systems, devices, a network.

use std::fs::{self, Permissions};
use std::os::unix::fs::{symlink, PermissionsExt};
use std::process::Command;

use kpipe_init::NETWORK_MODULES;
use nix::errno::Errno;
use nix::mount::{mount as mount_one, MsFlags};
use nix::unistd::sethostname;

use crate::command::PATH;
use crate::{module, Error};

/// Type, place and options, in this order; the ones below /dev need /dev. Not /tmp and /run: the
/// root is in memory already, and a mount would hide what `--add` has put there.
const MOUNTS: [(&str, &str, &str); 7] = [
    ("devtmpfs", "/dev", "mode=755"),
    ("devpts", "/dev/pts", "gid=5,mode=620,ptmxmode=666"),
    ("tmpfs", "/dev/shm", "mode=1777"),
    ("proc", "/proc", ""),
    ("sysfs", "/sys", ""),
    ("debugfs", "/sys/kernel/debug", ""),
    ("tracefs", "/sys/kernel/tracing", ""),
];

/// Mounts the file systems.
pub fn mount() -> Result<(), Error> {
    for (kind, place, options) in MOUNTS {
        // sysfs has the places of its own already.
        fs::create_dir_all(place).or_else(|error| match error.kind() {
            std::io::ErrorKind::PermissionDenied => Ok(()),
            _ => Err(error),
        })?;
        match mount_one(
            Some(kind),
            place,
            Some(kind),
            MsFlags::empty(),
            Some(options),
        ) {
            // A kernel without this one can still do everything else.
            Ok(()) | Err(Errno::ENODEV | Errno::ENOENT) => {}
            Err(errno) => return Err(format!("{place}: {errno}").into()),
        }
    }
    for (target, link) in [
        ("/proc/self/fd", "/dev/fd"),
        ("/proc/self/fd/0", "/dev/stdin"),
        ("/proc/self/fd/1", "/dev/stdout"),
        ("/proc/self/fd/2", "/dev/stderr"),
    ] {
        symlink(target, link)?;
    }
    fs::set_permissions("/tmp", Permissions::from_mode(0o1777))?;
    Ok(())
}

/// Sets the host name and brings the other processors and the loopback network up.
pub fn configure() -> Result<(), Error> {
    sethostname("kpipe-vm")?;
    start_processors()?;
    ip(&["link", "set", "lo", "up"])
}

/// Brings the network card up, as machine N of its network. qemu/guest/etc/hosts has the addresses too.
pub fn configure_card(machine: u8) -> Result<(), Error> {
    for module in NETWORK_MODULES {
        module::load_own(module)?;
    }
    let address = format!("10.0.0.{machine}/24");
    ip(&["address", "add", &address, "dev", "eth0"])?;
    ip(&["link", "set", "eth0", "up"])
}

fn ip(arguments: &[&str]) -> Result<(), Error> {
    let mut command = Command::new("ip");
    let status = command.args(arguments).env("PATH", PATH).status()?;
    if !status.success() {
        return Err(format!("cannot bring the network up: ip {}", arguments.join(" ")).into());
    }
    Ok(())
}

/// The kernel was started with one processor, see qemu/kernel.args. The first one has no switch.
fn start_processors() -> Result<(), Error> {
    for processor in fs::read_dir("/sys/devices/system/cpu")? {
        let switch = processor?.path().join("online");
        if switch.exists() && fs::read_to_string(&switch)?.trim() == "0" {
            fs::write(&switch, "1").map_err(|error| format!("{}: {error}", switch.display()))?;
        }
    }
    Ok(())
}

// SPDX-License-Identifier: MIT

//! The edu devices of the VM (`qemu/machine.args`): bound to the driver and unbound, plugged and
//! unplugged, and their interrupts counted.

use std::fs;
use std::path::{Path, PathBuf};

use kpipe_abi::uapi;
use serde_json::json;

use super::actor::wait_until;
use super::monitor::Monitor;
use crate::harness::is_debug_kernel;

/// How many `qemu/machine.args` has.
const DEVICES: usize = 2;

/// PCI vendor and device.
const IDENTITY: (&str, &str) = ("0x1234", "0x11e8");

/// Where a device can go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Its driver leaves it, by sysfs.
    Unbind,
    /// It leaves the machine.
    Unplug,
}

impl Way {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Unbind, Self::Unplug];

    /// Makes all devices go; they are gone when this returns.
    #[track_caller]
    pub fn take_all(self) {
        match self {
            Way::Unbind => unbind_all(),
            Way::Unplug => unplug_all(),
        }
    }

    /// Makes all devices come back; the driver has them when this returns.
    #[track_caller]
    pub fn give_all_back(self) {
        match self {
            Way::Unbind => bind_all(),
            Way::Unplug => plug_all(),
        }
    }
}

/// The slots of all edu devices, as `0000:01:00.0`.
pub fn slots() -> Vec<String> {
    let entries = fs::read_dir("/sys/bus/pci/devices").into_iter().flatten();
    let is_edu = |path: &Path| {
        let says = |name: &str, wanted: &str| {
            fs::read_to_string(path.join(name)).is_ok_and(|text| text.trim_end() == wanted)
        };
        says("vendor", IDENTITY.0) && says("device", IDENTITY.1)
    };
    let paths = entries.flatten().map(|entry| entry.path());
    let mut slots: Vec<_> = { paths.filter(|path| is_edu(path)) }
        .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
        .collect();
    slots.sort();
    slots
}

/// The folder of the driver in sysfs.
fn driver() -> PathBuf {
    PathBuf::from("/sys/bus/pci/drivers").join(uapi::NAME)
}

/// Does the driver have this device?
pub fn is_bound(slot: &str) -> bool {
    driver().join(slot).exists()
}

/// The slots that the driver has.
pub fn bound() -> Vec<String> {
    slots().into_iter().filter(|slot| is_bound(slot)).collect()
}

/// Takes the device from its driver.
#[track_caller]
pub fn unbind(slot: &str) {
    fs::write(driver().join("unbind"), slot).unwrap_or_else(|e| panic!("unbind {slot}: {e}"));
    keep_enabled(slot);
}

/// On a debug kernel: leaves the device enabled, so that the driver finds it so from now on, and the core of PCI
/// only counts (`enable_cnt`). Otherwise it looks up the interrupt line whenever the driver comes or goes, and to
/// interpret ACPI's table of them takes ten seconds there. What the driver itself does is the same;
/// that a device it has left can no longer do DMA by itself is left to the stock kernel.
fn keep_enabled(slot: &str) {
    let count = PathBuf::from("/sys/bus/pci/devices")
        .join(slot)
        .join("enable");
    let is_disabled = fs::read_to_string(&count).is_ok_and(|text| text.trim_end() == "0");
    if is_disabled && is_debug_kernel() {
        fs::write(&count, "1").unwrap_or_else(|e| panic!("enable {slot}: {e}"));
    }
}

/// [`keep_enabled`] for all, when the module has gone.
pub fn keep_all_enabled() {
    slots().iter().for_each(|slot| keep_enabled(slot));
}

/// Gives the device to the driver.
#[track_caller]
pub fn bind(slot: &str) {
    fs::write(driver().join("bind"), slot).unwrap_or_else(|e| panic!("bind {slot}: {e}"));
}

/// All that are bound.
#[track_caller]
pub fn unbind_all() {
    bound().iter().for_each(|slot| unbind(slot));
}

/// All that are not bound.
#[track_caller]
pub fn bind_all() {
    let unbound = slots().into_iter().filter(|slot| !is_bound(slot));
    unbound.for_each(|slot| bind(&slot));
}

/// Does QEMU have a device of this name?
fn is_plugged(monitor: &mut Monitor, id: &str) -> bool {
    let arguments = json!({ "path": "/machine/peripheral" });
    let devices = monitor.run("qom-list", arguments).expect("qom-list");
    let devices = devices.as_array().into_iter().flatten();
    { devices }.any(|device| device["name"] == id)
}

/// Takes all out of the machine, one after the other, and waits until the kernel and QEMU have noticed.
#[track_caller]
pub fn unplug_all() {
    let mut monitor = Monitor::open().expect("the monitor");
    for (id, _) in names() {
        let before = slots().len();
        let arguments = json!({ "id": id });
        monitor.run("device_del", arguments).expect("device_del");
        wait_until(&format!("{id} is gone"), || {
            slots().len() < before && !is_plugged(&mut monitor, &id)
        });
    }
}

/// Puts into the machine those that are not there, one after the other, and waits until the driver has
/// them.
#[track_caller]
pub fn plug_all() {
    let mut monitor = Monitor::open().expect("the monitor");
    for (id, bus) in names() {
        if is_plugged(&mut monitor, &id) {
            continue;
        }
        let before = bound().len();
        let arguments = json!({ "driver": "edu", "id": id, "bus": bus });
        monitor.run("device_add", arguments).expect("device_add");
        wait_until(&format!("the driver has {id}"), || bound().len() > before);
    }
}

/// The names that `qemu/machine.args` has for each device and its port.
fn names() -> impl Iterator<Item = (String, String)> {
    (0..DEVICES).map(|n| (format!("kpipe.edu{n}"), format!("kpipe.port{n}")))
}

/// Brings back whatever a test has taken, so that the driver has as many devices as before.
pub fn restore(bound_before: usize) -> Result<(), String> {
    if bound().len() == bound_before || !driver().exists() {
        return Ok(());
    }
    if slots().len() < bound_before {
        plug_all();
    }
    bind_all();
    match bound().len() {
        now if now == bound_before => Ok(()),
        now => Err(format!("{now} edu devices, before {bound_before}")),
    }
}

/// One interrupt of the driver, as /proc/interrupts has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its number.
    pub irq: u32,
    /// How often it came, on all processors.
    pub count: u64,
    /// How often the driver's name stands there: for how many devices it was requested.
    pub devices: usize,
    /// Is it one that other devices could share?
    pub is_intx: bool,
}

/// The driver's lines.
pub fn lines() -> Vec<Line> {
    let text = fs::read_to_string("/proc/interrupts").expect("/proc/interrupts");
    text.lines().filter_map(parse).collect()
}

/// `NUMBER: COUNT... CHIP HWIRQ-TYPE NAME, NAME`
fn parse(line: &str) -> Option<Line> {
    let (number, rest) = line.split_once(':')?;
    let names = rest.split([',', ' ']).filter(|name| *name == uapi::NAME);
    let devices = names.count();
    let words = rest.split_whitespace();
    let counts = words.map_while(|word| word.parse::<u64>().ok());
    (devices > 0).then_some(Line {
        irq: number.trim().parse().ok()?,
        count: counts.sum(),
        devices,
        is_intx: !rest.contains("MSI"),
    })
}

impl Line {
    /// Sends it to this processor alone; returns which it went to.
    pub fn move_to(&self, processors: &str) -> String {
        let path = format!("/proc/irq/{}/smp_affinity_list", self.irq);
        let before = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        fs::write(&path, processors).unwrap_or_else(|e| panic!("{path}: {e}"));
        before
    }

    /// How many interrupts were nobody's, and when the last of them was: the kernel counts from 1 again after
    /// a tenth of a second (`note_interrupt()` in `kernel/irq/spurious.c`).
    pub fn unhandled(&self) -> (u64, String) {
        let path = format!("/proc/irq/{}/spurious", self.irq);
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        let after = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
        let number = after("unhandled ").and_then(|number| number.trim().parse().ok());
        let last = after("last_unhandled ").expect("last_unhandled in /proc/irq/N/spurious");
        let number = number.expect("unhandled in /proc/irq/N/spurious");
        (number, last.to_owned())
    }
}

/// Interrupts of the driver so far, all lines together.
pub fn interrupts() -> u64 {
    lines().iter().map(|line| line.count).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_interrupts_is_its_number_count_and_devices() {
        let intx = parse("  20:         13          5  IO-APIC  20-fasteoi   kpipe, kpipe");
        let wanted = Line {
            irq: 20,
            count: 18,
            devices: 2,
            is_intx: true,
        };
        assert_eq!(intx, Some(wanted));
        let msi = parse(" 28:  7  0  PCI-MSI-0000:01:00.0    0-edge      kpipe").expect("a line");
        assert_eq!((msi.count, msi.devices, msi.is_intx), (7, 1, false));
        assert_eq!(parse("   9:   0   0  IO-APIC   9-fasteoi   acpi"), None);
        assert_eq!(parse("           CPU0       CPU1"), None);
    }
}

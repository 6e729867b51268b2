// SPDX-License-Identifier: MIT

//! Puts together the initramfs of one run, in memory.

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use kpipe_init::{guest_home, Run, Terminal, MODULE_FILE, NETWORK_MODULES, RUN_FILE};
use nix::sys::memfd::{memfd_create, MFdFlags};

use crate::added;
use crate::archive::Archive;
use crate::options::{Options, Root};
use crate::Error;

/// The kpipe programs of the guest, by their names in the build folder.
const TOOLS: [&str; 4] = [
    "kpipe",
    "kpipe-tests",
    "example-two-queues",
    "example-tokio",
];

/// And those that run in the root with Debian's programs only: the kernel's own benchmark is there if
/// the kernel's source has it.
const PROGRAM_TOOLS: [&str; 4] = [
    "kpipe-program-tests",
    "kpipe-net-tests",
    "pipe_bench",
    "example-two-queues.py",
];

/// The library of `kpipe exec`.
const LIBRARY: &str = "libkpipe_preload.so";

/// The initramfs for this run. The file has no name; it is gone with the last process that has it.
pub fn build(options: &Options, terminal: Option<&Terminal>) -> Result<File, Error> {
    let mut archive = Archive::default();
    let build = options.project.join("build");
    system(&mut archive, options, &build)?;
    if let Some(module) = options.module() {
        let content = fs::read(&module).map_err(|error| missing(&module, &error))?;
        archive.file(Path::new(MODULE_FILE), 0o644, content);
    }
    if options.net.is_some() {
        for name in NETWORK_MODULES {
            let file = Path::new(name).file_name().unwrap_or_default();
            let module = options.kernel_folder().join("network").join(file);
            let content = fs::read(&module).map_err(|error| missing(&module, &error))?;
            archive.file(Path::new(name), 0o644, content);
        }
    }
    for argument in &options.add {
        added::add(&mut archive, argument)?;
    }
    let run = Run {
        command: match &options.command[..] {
            [] => vec!["/bin/sh".into(), "-l".into()],
            command => command.to_vec(),
        },
        module_parameters: (!options.no_module).then(|| options.module_param.clone()),
        terminal: terminal.cloned(),
        network_machine: options.net.as_ref().map(|net| net.machine),
    };
    archive.file(Path::new(RUN_FILE), 0o644, serde_json::to_vec(&run)?);

    // Not closed on exec: QEMU reads it by /dev/fd.
    let file = File::from(memfd_create("initramfs", MFdFlags::empty())?);
    if options.root == Root::Programs {
        // The kernel unpacks one archive after the other.
        let programs = build.join("guest-root/root.cpio");
        let mut programs = File::open(&programs).map_err(|error| missing(&programs, &error))?;
        io::copy(&mut programs, &mut &file)?;
    }
    archive.write(BufWriter::new(&file))?;
    Ok(file)
}

/// The parts that every run has.
fn system(archive: &mut Archive, options: &Options, build: &Path) -> Result<(), Error> {
    // PID 1 starts before it can mount anything, and needs three descriptors.
    archive.character_device(Path::new("/dev/console"), 5, 1);
    archive.character_device(Path::new("/dev/null"), 1, 3);
    archive.folder(&guest_home());
    for folder in ["/proc", "/sys", "/tmp", "/run", "/usr/local/bin"] {
        archive.folder(Path::new(folder));
    }
    let etc = options.project.join("qemu/guest/etc");
    for entry in fs::read_dir(&etc).map_err(|error| missing(&etc, &error))? {
        let entry = entry?;
        let content = fs::read(entry.path())?;
        archive.file(&Path::new("/etc").join(entry.file_name()), 0o644, content);
    }
    let tools = build.join("bin");
    program(archive, &tools.join("init"), Path::new("/init"))?;
    for tool in TOOLS {
        program(
            archive,
            &tools.join(tool),
            &Path::new("/usr/bin").join(tool),
        )?;
    }
    let library = Path::new("/usr/lib/kpipe").join(LIBRARY);
    program(archive, &tools.join(LIBRARY), &library)?;
    match options.root {
        Root::Small => busybox(archive, &build.join("root/usr/bin/busybox")),
        Root::Programs => {
            for tool in PROGRAM_TOOLS.map(|tool| tools.join(tool)) {
                if tool.exists() {
                    let name = tool.file_name().unwrap_or_default();
                    program(archive, &tool, &Path::new("/usr/bin").join(name))?;
                }
            }
            Ok(())
        }
    }
}

fn busybox(archive: &mut Archive, busybox: &Path) -> Result<(), Error> {
    program(archive, busybox, Path::new("/usr/bin/busybox"))?;
    let applets = Command::new(busybox).arg("--list-full").output();
    let applets = applets.map_err(|error| missing(busybox, &error))?.stdout;
    for applet in applets
        .split(|&byte| byte == b'\n')
        .filter(|name| !name.is_empty())
    {
        let applet = Path::new("/").join(std::ffi::OsStr::from_bytes(applet));
        if !applet.ends_with("busybox") {
            archive.link(&applet, Path::new("/usr/bin/busybox"));
        }
    }
    Ok(())
}

fn program(archive: &mut Archive, host: &Path, guest: &Path) -> Result<(), Error> {
    let content = fs::read(host).map_err(|error| missing(host, &error))?;
    let mode = fs::metadata(host)?.permissions().mode();
    archive.file(guest, mode, content);
    Ok(())
}

fn missing(path: &Path, error: &std::io::Error) -> Error {
    format!("{}: {error}; build it with: make build", path.display()).into()
}

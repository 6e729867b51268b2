// SPDX-License-Identifier: MIT

//! [`Instance`]: a ring buffer of our own in tracefs, so that other tracers are not disturbed.

use super::event::{Event, Kind};
use super::parse::{Formats, PAGE_BYTES};
use crate::failure::{Failure, Result};
use nix::errno::Errno;
use nix::mount::{mount, MsFlags};
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Where tracefs is.
const ROOT: &str = "/sys/kernel/tracing";

/// Our instances have this name and the number of the process.
const NAME: &str = "kpipe-";

/// A ring buffer with the events of the driver, removed when it is dropped.
pub struct Instance {
    path: PathBuf,
}

impl Instance {
    /// Makes one; nothing is recorded yet. `buffer_bytes` is for each processor.
    pub fn new(buffer_bytes: u64) -> Result<Self> {
        mount_tracefs()?;
        let instances = Path::new(ROOT).join("instances");
        remove_forgotten(&instances);
        let path = instances.join(format!("{NAME}{}", std::process::id()));
        let instance = without_names(|| {
            fs::create_dir(&path).map_err(|error| denied(&path, error))?;
            Ok(Self { path })
        })?;
        if !instance.path.join("events/kpipe").is_dir() {
            return Err(Failure::Differs(format!(
                "{ROOT}/events/kpipe: not there: the module that is loaded has no tracepoints"
            )));
        }
        // Nanoseconds that all processors share, and user space too.
        instance.set("trace_clock", "mono")?;
        instance.set("buffer_size_kb", &buffer_bytes.div_ceil(1024).to_string())?;
        // When it is full the first events stay, so that what is there is complete.
        instance.set("options/overwrite", "0")?;
        Ok(instance)
    }

    /// Begins to record.
    pub fn start(&self) -> Result<()> {
        self.set("events/kpipe/enable", "1")
    }

    /// Ends, and returns what was recorded, in the order of time.
    pub fn finish(&self) -> Result<Vec<Event>> {
        self.set("events/kpipe/enable", "0")?;
        self.set("tracing_on", "0")?;
        let formats = self.formats()?;
        let mut events = Vec::new();
        for cpu in self.processors()? {
            let path = self.path.join(format!("per_cpu/cpu{cpu}/trace_pipe_raw"));
            let what = path.display();
            // Without waiting for more than there is.
            let mut file = File::options()
                .read(true)
                .custom_flags(libc::O_NONBLOCK)
                .open(&path)
                .map_err(Failure::io(&what))?;
            let mut page = [0; PAGE_BYTES];
            loop {
                match file.read(&mut page) {
                    Ok(0) => break,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(Failure::io(&what)(error)),
                    Ok(len_bytes) => {
                        let new = formats.events_of_page(&page[..len_bytes], cpu);
                        let odd = || Failure::Differs(format!("{what}: no page as expected"));
                        events.extend(new.ok_or_else(odd)?);
                    }
                }
            }
        }
        events.sort_by_key(|event| (event.time_ns, event.kind));
        Ok(events)
    }

    /// Events that found no room.
    pub fn lost_events(&self) -> Result<u64> {
        let mut lost = 0;
        for cpu in self.processors()? {
            let text = self.get(&format!("per_cpu/cpu{cpu}/stats"))?;
            let counters = text.lines().filter_map(|line| line.split_once(": "));
            lost += counters
                .filter(|(name, _)| {
                    matches!(*name, "overrun" | "commit overrun" | "dropped events")
                })
                .filter_map(|(_, number)| number.trim().parse::<u64>().ok())
                .sum::<u64>();
        }
        Ok(lost)
    }

    fn formats(&self) -> Result<Formats> {
        let mut formats = Formats::default();
        for (kind, name) in Kind::NAMES {
            let file = format!("events/kpipe/{name}/format");
            let known = formats.add(kind, &self.get(&file)?);
            known.ok_or_else(|| Failure::Differs(format!("{file}: not as expected")))?;
        }
        Ok(formats)
    }

    fn processors(&self) -> Result<Vec<u32>> {
        let folder = self.path.join("per_cpu");
        let list = fs::read_dir(&folder).map_err(Failure::io(folder.display()))?;
        let names = list.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut processors: Vec<u32> = names
            .filter_map(|name| name.strip_prefix("cpu")?.parse().ok())
            .collect();
        processors.sort_unstable();
        Ok(processors)
    }

    fn get(&self, file: &str) -> Result<String> {
        let path = self.path.join(file);
        fs::read_to_string(&path).map_err(Failure::io(path.display()))
    }

    fn set(&self, file: &str, value: &str) -> Result<()> {
        let path = self.path.join(file);
        fs::write(&path, value).map_err(Failure::io(path.display()))
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next run.
        let _ = fs::remove_dir(&self.path);
    }
}

/// Has tracefs note no names of tasks, for which it would follow every switch of tasks. An instance takes
/// this from the one that all share when it is made, and keeps it.
fn without_names<T>(make: impl FnOnce() -> Result<T>) -> Result<T> {
    let option = Path::new(ROOT).join("options/record-cmd");
    let is_on = fs::read_to_string(&option).is_ok_and(|value| value.trim() == "1");
    if !is_on {
        return make();
    }
    fs::write(&option, "0").map_err(|error| denied(&option, error))?;
    let made = make();
    fs::write(&option, "1").map_err(|error| denied(&option, error))?;
    made
}

fn mount_tracefs() -> Result<()> {
    let root = Path::new(ROOT);
    if root.join("instances").is_dir() {
        return Ok(());
    }
    match mount(
        Some("tracefs"),
        root,
        Some("tracefs"),
        MsFlags::empty(),
        None::<&str>,
    ) {
        // Mounted, but without the right to look into it.
        Ok(()) | Err(Errno::EBUSY) => Ok(()),
        Err(Errno::ENOENT | Errno::ENODEV) => Err(Failure::Differs(format!(
            "{ROOT}: this kernel has no tracing (CONFIG_FTRACE)"
        ))),
        Err(errno) => Err(denied(root, errno.into())),
    }
}

/// What is left of runs that were killed.
fn remove_forgotten(instances: &Path) {
    let Ok(list) = fs::read_dir(instances) else {
        return;
    };
    for entry in list.flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(NAME));
        let owner = owner.and_then(|pid| pid.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

fn denied(path: &Path, error: std::io::Error) -> Failure {
    if error.kind() == ErrorKind::PermissionDenied {
        return Failure::Differs(format!(
            "{}: tracing is for root: run it as root (sudo kpipe trace ...)",
            path.display()
        ));
    }
    Failure::io(path.display())(error)
}

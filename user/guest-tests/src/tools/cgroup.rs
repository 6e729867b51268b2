// SPDX-License-Identifier: MIT

//! A memory cgroup of one's own: what a process takes is charged there (cgroups(7)).

use std::fs;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{mount, umount, MsFlags};
use nix::sched::{unshare, CloneFlags};
use nix::unistd::Pid;

/// Can this kernel do it? One with cgroups but without the memory controller fails the test.
pub fn probe() -> Result<(), String> {
    let types = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let has_cgroups = types.lines().any(|line| line.ends_with("cgroup2"));
    has_cgroups
        .then_some(())
        .ok_or_else(|| "no cgroups (CONFIG_CGROUPS)".to_owned())
}

/// A cgroup with the memory controller, removed at the end.
pub struct Cgroup {
    root: PathBuf,
    path: PathBuf,
}

impl Cgroup {
    /// Mounts the hierarchy at `root`, a directory to be made, and makes a cgroup in it. Nobody
    /// else sees the mount, and it ends with this process at the latest.
    pub fn new(root: PathBuf) -> Self {
        unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace; these tests run as root");
        let private = MsFlags::MS_PRIVATE | MsFlags::MS_REC;
        let none = None::<&str>;
        mount(none, "/", none, private, none).expect("private mounts");
        fs::create_dir(&root).expect("mkdir");
        let kind = Some("cgroup2");
        mount(kind, &root, kind, MsFlags::empty(), none).expect("mount cgroup2");
        fs::write(root.join("cgroup.subtree_control"), "+memory").expect("enable the controller");
        let path = root.join(format!("kpipe-test-{}", std::process::id()));
        fs::create_dir(&path).expect("mkdir of the cgroup");
        Self { root, path }
    }

    /// Moves a process into it.
    pub fn take(&self, process: Pid) {
        self.write("cgroup.procs", &process.to_string());
    }

    /// Bytes that are charged now.
    pub fn charged(&self) -> u64 {
        let text = fs::read_to_string(self.path.join("memory.current")).expect("memory.current");
        text.trim().parse().expect("a number")
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.path.join(file), text).unwrap_or_else(|e| panic!("{file}: {e}"));
    }

    /// Where the hierarchy is.
    pub fn root(&self) -> &Path {
        &self.root
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let own = Pid::this().to_string();
        let _ = fs::write(self.root.join("cgroup.procs"), own);
        // A process that has ended may be in it for a moment (EBUSY).
        for _ in 0..1000 {
            match fs::remove_dir(&self.path) {
                Err(e) if e.raw_os_error() == Some(Errno::EBUSY as i32) => {
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
                result => {
                    result.expect("rmdir of the cgroup");
                    break;
                }
            }
        }
        umount(&self.root).expect("umount cgroup2");
        fs::remove_dir(&self.root).expect("rmdir");
    }
}

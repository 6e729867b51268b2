// SPDX-License-Identifier: MIT

//! The device: pairs from the clone node, sizes of queues.

use core::ffi::{c_int, c_ulong};
use core::sync::atomic::{AtomicI32, Ordering};

use crate::contract::{CLONE_NODE, NO_FD};
use crate::kernel::{self, Errno};
use crate::setup;
use crate::uapi::{self, Pair, IOC_PAIR};

/// The flags of pipe2(2) that the device knows.
pub const PAIR_FLAGS: c_int = libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_DIRECT;

/// Where a descriptor of the clone node is put if the one that was inherited is gone: far from what
/// programs count on, and below the usual limit of 1024.
const LOWEST_FD: c_int = 960;

/// The descriptor that was opened here, or -1.
///
/// A child of vfork(2) shares this number but not the descriptor, and the program may close it at
/// any time: so it is a hint, which [`is_clone_node`] verifies.
static OPENED: AtomicI32 = AtomicI32::new(-1);

/// Why there is no pair.
pub enum Refusal {
    /// The clone node cannot be opened.
    NoNode(Errno),
    /// The driver said this.
    Driver(Errno),
}

/// Two descriptors on a fresh queue, as pipe2(2) gives them.
pub fn pair(flags: c_int) -> Result<[c_int; 2], Refusal> {
    let inherited = setup::get().clone_fd;
    let inherited = if inherited == NO_FD {
        -1
    } else {
        inherited as c_int
    };
    let mut answer = Err(Errno::from(libc::EBADF));
    for node in [inherited, OPENED.load(Ordering::Relaxed)] {
        if is_clone_node(node) {
            answer = pair_from(node, flags);
            // Not ours any more: closed, and perhaps used again, since it was looked at.
            if !matches!(answer, Err(libc::EBADF | libc::ENOTTY)) {
                return answer.map_err(Refusal::Driver);
            }
        }
    }
    let node = open_node().map_err(|errno| match answer {
        Err(libc::ENOTTY) => Refusal::Driver(libc::ENOTTY),
        _ => Refusal::NoNode(errno),
    })?;
    let answer = pair_from(node, flags);
    let kept = OPENED.load(Ordering::Relaxed);
    let is_kept = !is_clone_node(kept)
        && OPENED
            .compare_exchange(kept, node, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok();
    if !is_kept {
        kernel::close(node);
    }
    answer.map_err(Refusal::Driver)
}

/// The capacity of the queue behind a descriptor, or `None` if there is no queue behind it.
pub fn capacity(fd: c_int) -> Option<u64> {
    let mut info = uapi::Info {
        size: size_of::<uapi::Info>() as u32,
        ..Default::default()
    };
    kernel::ioctl_structure(fd, uapi::IOC_INFO, &mut info).ok()?;
    Some(info.capacity_bytes)
}

/// Changes it, as `F_SETPIPE_SZ` does.
pub fn resize(fd: c_int, capacity_bytes: u32) -> Result<c_int, Errno> {
    let answer = kernel::ioctl_number(fd, uapi::IOC_RESIZE, c_ulong::from(capacity_bytes))?;
    Ok(answer as c_int)
}

/// Whether it is a character device with this driver's number.
pub fn is_queue(status: &libc::stat) -> bool {
    let major = setup::get().clone_major;
    major != 0
        && status.st_mode & libc::S_IFMT == libc::S_IFCHR
        && libc::major(status.st_rdev) == major
}

fn pair_from(node: c_int, flags: c_int) -> Result<[c_int; 2], Errno> {
    let mut pair = Pair {
        size: size_of::<Pair>() as u32,
        flags: flags as u32,
        ..Default::default()
    };
    kernel::ioctl_structure(node, IOC_PAIR, &mut pair)?;
    Ok([pair.read_fd, pair.write_fd])
}

fn is_clone_node(fd: c_int) -> bool {
    fd >= 0
        && kernel::fstat(fd).is_ok_and(|status| {
            is_queue(&status) && libc::minor(status.st_rdev) == setup::get().clone_minor
        })
}

/// Opens the clone node at a high number: the low ones belong to the program, and pipe(2) promises
/// the lowest that are free.
fn open_node() -> Result<c_int, Errno> {
    if setup::get().clone_major == 0 {
        return Err(libc::ENODEV);
    }
    let low = kernel::open(CLONE_NODE, libc::O_ACCMODE | libc::O_CLOEXEC)?;
    // A limit below that number (RLIMIT_NOFILE) gives EINVAL: then high is where it may be.
    let high = kernel::duplicate(low, LOWEST_FD).or_else(|_| kernel::duplicate(low, low + 3));
    kernel::close(low);
    let high = high?;
    // Somebody may have removed the node and made another thing of this name.
    if is_clone_node(high) {
        return Ok(high);
    }
    kernel::close(high);
    Err(libc::ENODEV)
}

// SPDX-License-Identifier: MIT

//! Memory whose first access stops until the test lets it go on: userfaultfd(2).
//!
//! With it a test holds a thread in the middle of the kernel's copy from or to user memory.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, FromRawFd};

use nix::errno::Errno;
use nix::libc;
use nix::poll::{poll, PollFd, PollFlags};

use super::memory::{Mapping, Span, PAGE_BYTES};

// include/uapi/linux/userfaultfd.h
const UFFD_API: u64 = 0xAA;
const UFFDIO_API: u32 = 0xC018_AA3F;
const UFFDIO_REGISTER: u32 = 0xC020_AA00;
const UFFDIO_COPY: u32 = 0xC028_AA03;
const REGISTER_MODE_MISSING: u64 = 1;
const EVENT_PAGEFAULT: u8 = 0x12;
/// Size of `struct uffd_msg`, whose first byte is the event.
const MESSAGE_BYTES: usize = 32;

/// How long a fault may take to come, in milliseconds.
const FAULT_TIMEOUT_MS: u16 = 5000;

#[repr(C)]
struct Api {
    api: u64,
    features: u64,
    ioctls: u64,
}

#[repr(C)]
struct Register {
    start: u64,
    len: u64,
    mode: u64,
    ioctls: u64,
}

#[repr(C)]
struct Copy {
    to: u64,
    from: u64,
    len: u64,
    mode: u64,
    copied: i64,
}

/// Can this kernel do it?
pub fn probe() -> nix::Result<()> {
    open().map(drop)
}

/// A page that stops whoever touches it first.
pub struct Trap {
    faults: File,
    page: Span,
}

impl Trap {
    /// Sets the trap on one page of the mapping, which must be open and not yet touched.
    pub fn set(mapping: &Mapping, page: usize) -> Self {
        let faults = open().expect("userfaultfd");
        let page = mapping.span(page * PAGE_BYTES, PAGE_BYTES);
        let mut register = Register {
            start: page.address() as u64,
            len: PAGE_BYTES as u64,
            mode: REGISTER_MODE_MISSING,
            ioctls: 0,
        };
        // SAFETY: the number belongs to this structure, and the pages to nobody.
        unsafe { ioctl(&faults, UFFDIO_REGISTER, &mut register) }.expect("UFFDIO_REGISTER");
        Self { faults, page }
    }

    /// Waits until somebody stands in the trap.
    #[track_caller]
    pub fn wait_for_fault(&mut self) {
        let mut fds = [PollFd::new(self.faults.as_fd(), PollFlags::POLLIN)];
        let ready = poll(&mut fds, FAULT_TIMEOUT_MS).expect("poll");
        assert_eq!(ready, 1, "nobody touched the page");
        let mut message = [0; MESSAGE_BYTES];
        self.faults.read_exact(&mut message).expect("a message");
        assert_eq!(message[0], EVENT_PAGEFAULT, "event of userfaultfd");
    }

    /// Puts these bytes into the page and lets everybody go on.
    pub fn release(self, bytes: &[u8; PAGE_BYTES]) {
        let mut copy = Copy {
            to: self.page.address() as u64,
            from: bytes.as_ptr().addr() as u64,
            len: PAGE_BYTES as u64,
            mode: 0,
            copied: 0,
        };
        // SAFETY: the number belongs to this structure; a page is read from `bytes` and written to
        // the page of the trap, to which there are no references.
        unsafe { ioctl(&self.faults, UFFDIO_COPY, &mut copy) }.expect("UFFDIO_COPY");
        assert_eq!(copy.copied, PAGE_BYTES as i64, "UFFDIO_COPY");
    }
}

fn open() -> nix::Result<File> {
    // SAFETY: a number is the only argument.
    let fd = Errno::result(unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC) })?;
    // SAFETY: a new descriptor that nobody else has.
    let file = unsafe { File::from_raw_fd(fd as i32) };
    let mut api = Api {
        api: UFFD_API,
        features: 0,
        ioctls: 0,
    };
    // SAFETY: the number belongs to this structure.
    unsafe { ioctl(&file, UFFDIO_API, &mut api) }?;
    Ok(file)
}

/// # Safety
///
/// `argument` must be of the structure that belongs to `request`, and what it makes the kernel
/// write must belong to nobody.
unsafe fn ioctl<T>(file: &File, request: u32, argument: &mut T) -> nix::Result<i32> {
    // SAFETY: the caller vouches for the pair of arguments.
    Errno::result(unsafe {
        libc::ioctl(file.as_raw_fd(), request as _, std::ptr::from_mut(argument))
    })
}

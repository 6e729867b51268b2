// SPDX-License-Identifier: MIT

//! Memory for the arguments of system calls: with holes, read only, or not there at all.

use std::ffi::c_void;
use std::num::NonZeroUsize;

use nix::sys::mman::{mmap_anonymous, mprotect, MapFlags, ProtFlags};

/// Size of a page of this machine, in bytes.
pub const PAGE_BYTES: usize = 4096;

/// An address and a length to hand to the kernel. Rust has no reference into it.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    address: usize,
    len: usize,
}

impl Span {
    /// The null pointer.
    pub const NULL: Self = Self { address: 0, len: 0 };

    /// Addresses that no system call may read or write.
    pub fn wrong(len: usize) -> [(&'static str, Self); 5] {
        [
            ("null", 0),
            // Page 0 is never mapped (vm.mmap_min_addr).
            ("just above null", 8),
            ("not canonical", 0x8000_0000_0000_0000),
            ("of the kernel", 0xffff_8880_0000_1000),
            ("the last", usize::MAX),
        ]
        .map(|(what, address)| (what, Self { address, len }))
    }

    /// The same address with another length, also one that leaves the mapping.
    pub fn with_len(self, len: usize) -> Self {
        Self { len, ..self }
    }

    /// Its length in bytes.
    pub fn len(self) -> usize {
        self.len
    }

    /// The address as a number.
    pub fn address(self) -> usize {
        self.address
    }

    /// The address as system calls want it.
    pub fn pointer(self) -> *mut c_void {
        std::ptr::without_provenance_mut(self.address)
    }
}

/// What may be done with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// Everything.
    Open,
    /// Reading.
    ReadOnly,
    /// Nothing: every access is a fault that cannot be repaired.
    Forbidden,
}

/// Fresh private pages. They are never given back: a [`Span`] into them stays good.
#[derive(Clone, Copy, Debug)]
pub struct Mapping {
    start: *mut u8,
    len: usize,
}

// SAFETY: the pages belong to nobody in particular; all access copies bytes through raw pointers.
unsafe impl Send for Mapping {}

impl Mapping {
    /// One page after the other as said, with a forbidden one behind the last.
    pub fn of(pages: &[Page]) -> Self {
        Self::with_flags(pages, MapFlags::empty())
    }

    /// The same below 4 GiB, where a 32-bit pointer reaches it.
    pub fn low(pages: &[Page]) -> Self {
        Self::with_flags(pages, MapFlags::MAP_32BIT)
    }

    fn with_flags(pages: &[Page], flags: MapFlags) -> Self {
        let len = pages.len() * PAGE_BYTES;
        let all = NonZeroUsize::new(len + PAGE_BYTES).expect("at least a page");
        // SAFETY: a new mapping, at an address that the kernel chooses.
        let start = unsafe {
            mmap_anonymous(
                None,
                all,
                ProtFlags::PROT_NONE,
                MapFlags::MAP_PRIVATE | flags,
            )
        }
        .expect("mmap");
        for (index, page) in pages.iter().enumerate() {
            let protection = match page {
                Page::Open => ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                Page::ReadOnly => ProtFlags::PROT_READ,
                Page::Forbidden => continue,
            };
            // SAFETY: a page of the mapping that was just made.
            unsafe { mprotect(start.byte_add(index * PAGE_BYTES), PAGE_BYTES, protection) }
                .expect("mprotect");
        }
        Self {
            start: start.as_ptr().cast(),
            len,
        }
    }

    /// `len` bytes at `offset`. They may reach into forbidden pages.
    pub fn span(&self, offset: usize, len: usize) -> Span {
        assert!(
            offset + len <= self.len + PAGE_BYTES,
            "outside of the mapping"
        );
        Span {
            address: self.start.addr() + offset,
            len,
        }
    }

    /// Changes what may be done with all pages.
    pub fn protect(&self, page: Page) {
        let protection = match page {
            Page::Open => ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
            Page::ReadOnly => ProtFlags::PROT_READ,
            Page::Forbidden => ProtFlags::PROT_NONE,
        };
        let start = std::ptr::NonNull::new(self.start).expect("a mapping is not at 0");
        // SAFETY: the pages of the mapping, to which there are no references.
        unsafe { mprotect(start.cast(), self.len, protection) }.expect("mprotect");
    }

    /// All pages.
    pub fn all(&self) -> Span {
        self.span(0, self.len)
    }

    /// Copies bytes in. The pages there must be open.
    pub fn store(&self, offset: usize, bytes: &[u8]) {
        assert!(offset + bytes.len() <= self.len, "outside of the mapping");
        // SAFETY: inside the mapping, which is never unmapped and to which there are no references.
        // A page that is not open ends the test with SIGSEGV, which is no undefined behaviour.
        unsafe {
            self.start
                .add(offset)
                .copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
    }

    /// Copies bytes out. The pages there must be readable.
    pub fn load(&self, offset: usize, len: usize) -> Vec<u8> {
        assert!(offset + len <= self.len, "outside of the mapping");
        let mut bytes = vec![0; len];
        // SAFETY: as in `store`.
        unsafe {
            self.start
                .add(offset)
                .copy_to_nonoverlapping(bytes.as_mut_ptr(), len);
        }
        bytes
    }
}

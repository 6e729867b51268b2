// SPDX-License-Identifier: GPL-2.0

//! The memory of a [`Ring`](super::Ring) for those who hold one of its locks: copies to and from the user,
//! and headers of records.

use crate::model::packet::HEADER_BYTES;
use crate::model::ring;
use core::mem::MaybeUninit;
use core::slice;
use kernel::iov::{IovIterDest, IovIterSource};

/// The memory of a ring whose lock of one side is held.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) start: *mut u8,
    pub(super) capacity_bytes: usize,
}

impl Place {
    /// Copies `len_bytes` bytes from `index` on to the user. Returns how many could be copied.
    ///
    /// # Safety
    ///
    /// The caller holds the read lock of the ring, and these bytes are queued.
    #[inline(always)]
    pub(super) unsafe fn copy_out(
        self,
        index: u32,
        len_bytes: usize,
        to: &mut IovIterDest<'_>,
    ) -> usize {
        let mut done_bytes = 0;
        for span in ring::spans(index, len_bytes, self.capacity_bytes) {
            // SAFETY: The span lies within the memory, and within `tail..head`, which is initialised
            // and belongs to the holder of the read lock.
            let bytes =
                unsafe { slice::from_raw_parts(self.start.add(span.start), span.len_bytes) };
            let copied_bytes = to.copy_to_iter(bytes);
            done_bytes += copied_bytes;
            if copied_bytes < span.len_bytes || done_bytes == len_bytes {
                break;
            }
        }
        done_bytes
    }

    /// The header at `index`.
    ///
    /// # Safety
    ///
    /// As for [`copy_out`](Self::copy_out).
    pub(super) unsafe fn load_header(self, index: u32) -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        let mut at = 0;
        for span in ring::spans(index, HEADER_BYTES, self.capacity_bytes) {
            // SAFETY: As in `copy_out`.
            let bytes =
                unsafe { slice::from_raw_parts(self.start.add(span.start), span.len_bytes) };
            header[at..at + span.len_bytes].copy_from_slice(bytes);
            at += span.len_bytes;
        }
        header
    }

    /// Copies `len_bytes` bytes from the user to `index`. Returns how many could be copied.
    ///
    /// # Safety
    ///
    /// The caller holds the write lock of the ring, and there is room for them.
    #[inline(always)]
    pub(super) unsafe fn copy_in(
        self,
        index: u32,
        len_bytes: usize,
        from: &mut IovIterSource<'_>,
    ) -> usize {
        let mut done_bytes = 0;
        for span in ring::spans(index, len_bytes, self.capacity_bytes) {
            // SAFETY: The caller's contract; nobody has another piece of the room now.
            let copied_bytes = from.copy_from_iter_raw(unsafe { self.room(span) }).len();
            done_bytes += copied_bytes;
            if copied_bytes < span.len_bytes || done_bytes == len_bytes {
                break;
            }
        }
        done_bytes
    }

    /// Puts a header to `index`.
    ///
    /// # Safety
    ///
    /// As for [`copy_in`](Self::copy_in).
    pub(super) unsafe fn store_header(self, index: u32, header: [u8; HEADER_BYTES]) {
        let mut at = 0;
        for span in ring::spans(index, HEADER_BYTES, self.capacity_bytes) {
            // SAFETY: As in `copy_in`.
            let room = unsafe { self.room(span) };
            for (to, byte) in room.iter_mut().zip(&header[at..]) {
                to.write(*byte);
            }
            at += span.len_bytes;
        }
    }

    /// A piece of the room behind the queued bytes.
    ///
    /// # Safety
    ///
    /// The caller holds the write lock of the ring for `'room` and has no other piece that overlaps.
    #[inline(always)]
    unsafe fn room<'room>(self, span: ring::Span) -> &'room mut [MaybeUninit<u8>] {
        // SAFETY: The span lies within the memory, and outside of `tail..written`, so it belongs to the
        // holder of the write lock. It may be uninitialised.
        unsafe {
            slice::from_raw_parts_mut(
                self.start.add(span.start).cast::<MaybeUninit<u8>>(),
                span.len_bytes,
            )
        }
    }
}

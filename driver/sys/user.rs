// SPDX-License-Identifier: GPL-2.0

//! Structures of the interface to and from user memory. Process context; may sleep.

use crate::uapi;
use kernel::prelude::*;
use kernel::transmute::{AsBytes, FromBytes};
use kernel::uaccess::{UserPtr, UserSlice};

// SAFETY: Integers only, so any bytes are a valid value.
unsafe impl FromBytes for uapi::Info {}
// SAFETY: Integers only and no padding (the sizes and offsets are asserted in uapi.rs).
unsafe impl AsBytes for uapi::Info {}

// SAFETY: Integers only, so any bytes are a valid value.
unsafe impl FromBytes for uapi::Pair {}
// SAFETY: Integers only and no padding (the sizes and offsets are asserted in uapi.rs).
unsafe impl AsBytes for uapi::Pair {}

// SAFETY: Integers only, so any bytes are a valid value.
unsafe impl FromBytes for uapi::Timeouts {}
// SAFETY: Integers only and no padding (the sizes and offsets are asserted in uapi.rs).
unsafe impl AsBytes for uapi::Timeouts {}

// SAFETY: Integers only, so any bytes are a valid value.
unsafe impl FromBytes for uapi::Transport {}
// SAFETY: Integers only and no padding (the sizes and offsets are asserted in uapi.rs).
unsafe impl AsBytes for uapi::Transport {}

// SAFETY: Integers only and no padding (the sizes and offsets are asserted in uapi.rs).
unsafe impl AsBytes for uapi::Stages {}
// SAFETY: Integers only, so zeros are a valid value.
unsafe impl Zeroable for uapi::Stages {}

/// The argument of an ioctl: a number, or a pointer to user memory.
#[derive(Clone, Copy)]
pub struct Argument(pub usize);

impl Argument {
    /// Reads the structure that it points to. `EFAULT` if it cannot be read.
    pub fn read<T: FromBytes>(self) -> Result<T> {
        UserSlice::new(UserPtr::from_addr(self.0), size_of::<T>())
            .reader()
            .read()
    }

    /// Writes `value` to where it points. `EFAULT` if that cannot be written.
    pub fn write<T: AsBytes>(self, value: &T) -> Result {
        UserSlice::new(UserPtr::from_addr(self.0), size_of::<T>())
            .writer()
            .write(value)
    }
}

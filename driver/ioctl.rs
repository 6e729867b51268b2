// SPDX-License-Identifier: GPL-2.0

//! ioctl(2): decoding and dispatch. The commands are described in `uapi.rs`.
//!
//! Any open end may use each of them. Process context; may sleep.

use crate::pipe::Pipe;
use crate::sys::user::Argument;
use crate::uapi;
use kernel::ioctl::{_IO, _IOWR};
use kernel::prelude::*;

/// `FIONREAD` of `include/uapi/asm-generic/ioctls.h`, which bindgen does not see.
const FIONREAD: u32 = 0x541B;

// The numbers that user space sees are those that the kernel's own encoder makes.
const _: () = {
    assert!(uapi::IOC_INFO == _IOWR::<uapi::Info>(uapi::IOC_TYPE as u32, 1));
    assert!(uapi::IOC_RESIZE == _IO(uapi::IOC_TYPE as u32, 2));
    assert!(uapi::IOC_RESET_COUNTERS == _IO(uapi::IOC_TYPE as u32, 3));
};

/// Carries out one command on a queue. An unknown one is `ENOTTY` to user space.
pub fn dispatch(pipe: &Pipe, command: u32, argument: Argument) -> Result<isize> {
    match command {
        FIONREAD => {
            // At most `MAX_CAPACITY_BYTES`, which is below i32::MAX.
            argument.write(&(pipe.queued_bytes() as i32))?;
            Ok(0)
        }
        uapi::IOC_INFO => {
            let asked: uapi::Info = argument.read()?;
            if asked.size as usize != size_of::<uapi::Info>() || asked.reserved != 0 {
                return Err(EINVAL);
            }
            argument.write(&pipe.info())?;
            Ok(0)
        }
        uapi::IOC_RESIZE => Ok(pipe.resize(argument.0 as u64)? as isize),
        uapi::IOC_RESET_COUNTERS => {
            if argument.0 != 0 {
                return Err(EINVAL);
            }
            pipe.reset_counters();
            Ok(0)
        }
        _ => Err(ENOIOCTLCMD),
    }
}

// SPDX-License-Identifier: GPL-2.0

//! ioctl(2): decoding and dispatch. The commands are described in `uapi.rs`.
//!
//! Any open end may use each of them, except that pairs come from the clone node. Process context; may
//! sleep.

use crate::file::{End, Source};
use crate::model::ring::capacity_for;
use crate::pipe::{self, Pipe};
use crate::sys::user::Argument;
use crate::uapi;
use kernel::fs::file::flags::{O_CLOEXEC, O_DIRECT, O_NONBLOCK};
use kernel::ioctl::{_IO, _IOW, _IOWR};
use kernel::prelude::*;

/// `FIONREAD` of `include/uapi/asm-generic/ioctls.h`, which bindgen does not see.
const FIONREAD: u32 = 0x541B;

// The numbers that user space sees are those that the kernel's own encoder makes.
const _: () = {
    let ioc_type = uapi::IOC_TYPE as u32;
    assert!(uapi::IOC_INFO == _IOWR::<uapi::Info>(ioc_type, 1));
    assert!(uapi::IOC_RESIZE == _IO(ioc_type, 2));
    assert!(uapi::IOC_RESET_COUNTERS == _IO(ioc_type, 3));
    assert!(uapi::IOC_PAIR == _IOWR::<uapi::Pair>(ioc_type, 4));
    assert!(uapi::IOC_SET_MODE == _IO(ioc_type, 5));
    assert!(uapi::IOC_SET_TIMEOUTS == _IOW::<uapi::Timeouts>(ioc_type, 6));
    assert!(uapi::IOC_GET_TIMEOUTS == _IOWR::<uapi::Timeouts>(ioc_type, 7));
    assert!(uapi::IOC_SET_TRANSPORT == _IOW::<uapi::Transport>(ioc_type, 8));
    assert!(uapi::IOC_GET_TRANSPORT == _IOWR::<uapi::Transport>(ioc_type, 9));
    assert!(uapi::IOC_DRAIN == _IO(ioc_type, 10));
    assert!(uapi::IOC_STAGES == _IOWR::<uapi::Stages>(ioc_type, 11));
};

/// Carries out one command on an open end. An unknown one is `ENOTTY` to user space.
pub fn dispatch(end: &End, command: u32, argument: Argument) -> Result<isize> {
    let pipe = end.pipe();
    match command {
        FIONREAD => {
            // At most `MAX_CAPACITY_BYTES`, which is below i32::MAX.
            argument.write(&(pipe.queued_bytes() as i32))?;
            Ok(0)
        }
        uapi::IOC_INFO => {
            let asked: uapi::Info = argument.read()?;
            if asked.size as usize != size_of::<uapi::Info>() || asked.mode != 0 {
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
        uapi::IOC_PAIR => pair(end.source().ok_or(ENOIOCTLCMD)?, argument),
        uapi::IOC_SET_MODE => {
            // It decides what becomes of others' writes.
            if end.is_read_only() {
                return Err(EBADF);
            }
            pipe.set_packet_mode(is_packet_mode(argument.0 as u64)?);
            Ok(0)
        }
        uapi::IOC_SET_TIMEOUTS => {
            let timeouts = timeouts(argument)?;
            end.set_timeouts(timeouts.read_ns, timeouts.write_ns);
            Ok(0)
        }
        uapi::IOC_GET_TIMEOUTS => {
            let asked = timeouts(argument)?;
            let (read_ns, write_ns) = end.timeouts();
            argument.write(&uapi::Timeouts {
                read_ns,
                write_ns,
                ..asked
            })?;
            Ok(0)
        }
        uapi::IOC_SET_TRANSPORT => {
            // As for the mode.
            if end.is_read_only() {
                return Err(EBADF);
            }
            Pipe::set_transport(pipe, &argument.read()?)?;
            Ok(0)
        }
        uapi::IOC_GET_TRANSPORT => {
            let asked: uapi::Transport = argument.read()?;
            let transport = pipe.transport();
            if asked.size != transport.size || asked.reserved != 0 {
                return Err(EINVAL);
            }
            argument.write(&transport)?;
            Ok(0)
        }
        uapi::IOC_DRAIN => {
            if argument.0 != 0 {
                return Err(EINVAL);
            }
            pipe.drain()?;
            Ok(0)
        }
        uapi::IOC_STAGES => stages(pipe, argument),
        _ => Err(ENOIOCTLCMD),
    }
}

fn stages(pipe: &Pipe, argument: Argument) -> Result<isize> {
    let [size, reserved]: [u32; 2] = argument.read()?;
    if size as usize != size_of::<uapi::Stages>() || reserved != 0 {
        return Err(EINVAL);
    }
    // Too large for the stack.
    let mut stages = KBox::<uapi::Stages>::init(pin_init::init_zeroed(), GFP_KERNEL)?;
    stages.size = size;
    pipe.fill_stages(&mut stages);
    argument.write(&*stages)?;
    Ok(0)
}

fn pair(source: &Source, argument: Argument) -> Result<isize> {
    const FLAGS: u32 = O_CLOEXEC | O_NONBLOCK | O_DIRECT;
    let asked: uapi::Pair = argument.read()?;
    let is_valid = asked.size as usize == size_of::<uapi::Pair>()
        && asked.flags & !FLAGS == 0
        && asked.reserved == 0;
    if !is_valid {
        return Err(EINVAL);
    }
    let is_packet_mode = is_packet_mode(asked.mode.into())?;
    let capacity_bytes = match asked.capacity_bytes {
        0 => None,
        wanted_bytes => Some(capacity_for(wanted_bytes).ok_or(EINVAL)?),
    };
    if !capacity_bytes.is_none_or(pipe::may_have) {
        return Err(EPERM);
    }
    let (pair, capacity_bytes) = source.pair(asked.flags, capacity_bytes, is_packet_mode)?;
    argument.write(&uapi::Pair {
        capacity_bytes: capacity_bytes as u64,
        read_fd: pair.read_fd(),
        write_fd: pair.write_fd(),
        ..asked
    })?;
    // Last: what others can reach cannot be undone.
    pair.install();
    Ok(0)
}

fn is_packet_mode(mode: u64) -> Result<bool> {
    const STREAM: u64 = uapi::MODE_STREAM as u64;
    const PACKET: u64 = uapi::MODE_PACKET as u64;
    match mode {
        STREAM => Ok(false),
        PACKET => Ok(true),
        _ => Err(EINVAL),
    }
}

fn timeouts(argument: Argument) -> Result<uapi::Timeouts> {
    let asked: uapi::Timeouts = argument.read()?;
    if asked.size as usize != size_of::<uapi::Timeouts>() || asked.reserved != 0 {
        return Err(EINVAL);
    }
    Ok(asked)
}

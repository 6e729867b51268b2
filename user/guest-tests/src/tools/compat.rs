// SPDX-License-Identifier: MIT

//! System calls as a 32-bit program makes them, from this 64-bit one.
//!
//! `int $0x80` always enters the 32-bit table (arch/x86/entry/entry_64_compat.S), so the driver's
//! `compat_ioctl` is reached without a 32-bit program. Pointers must lie below 4 GiB.

use std::arch::asm;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::wait::WaitStatus;

use super::memory::Span;
use super::process::Process;

/// Numbers of arch/x86/entry/syscalls/syscall_32.tbl.
const SYS_GETPID: u32 = 20;
const SYS_IOCTL: u32 = 54;

/// Can this kernel do it? Where it cannot, the instruction kills (SIGSEGV), so a child tries.
pub fn probe() -> Result<(), String> {
    let child = Process::start("32-bit probe", || {
        let is_itself = syscall(SYS_GETPID, [0; 3]) == Ok(std::process::id() as i32);
        std::process::exit(i32::from(!is_itself));
    });
    match child.wait() {
        WaitStatus::Exited(_, 0) => Ok(()),
        _ => Err("no system calls of 32-bit programs (CONFIG_IA32_EMULATION)".to_owned()),
    }
}

/// ioctl(2) of a 32-bit program, with an address.
pub fn ioctl_at(fd: BorrowedFd, request: u32, argument: Span) -> nix::Result<i32> {
    let address = u32::try_from(argument.address()).expect("a span below 4 GiB");
    syscall(SYS_IOCTL, [fd.as_raw_fd() as u32, request, address])
}

/// ioctl(2) of a 32-bit program, with a number that is no address.
pub fn ioctl_value(fd: BorrowedFd, request: u32, argument: u32) -> nix::Result<i32> {
    syscall(SYS_IOCTL, [fd.as_raw_fd() as u32, request, argument])
}

fn syscall(number: u32, [first, second, third]: [u32; 3]) -> nix::Result<i32> {
    let result: i32;
    // SAFETY: only called with the numbers above. getpid touches no memory, and ioctl only a `Span`,
    // which Rust knows nothing of. The kernel keeps all registers but the result, except r8 to r11,
    // which it clears. LLVM reserves rbx, so it is exchanged for the time of the call.
    unsafe {
        asm!(
            "xchg rbx, {first}",
            "int 0x80",
            "xchg rbx, {first}",
            first = inout(reg) u64::from(first) => _,
            inlateout("eax") number => result,
            in("ecx") second,
            in("edx") third,
            out("r8") _,
            out("r9") _,
            out("r10") _,
            out("r11") _,
        );
    }
    match result {
        -4095..=-1 => Err(Errno::from_raw(-result)),
        _ => Ok(result),
    }
}

// SPDX-License-Identifier: GPL-2.0

//! The registers of QEMU's edu device (its `docs/specs/edu.rst` and `hw/misc/edu.c`), all of 32 bits.

use crate::sys::mmio;

/// Length of BAR 0.
pub const BAR_BYTES: usize = 1 << 20;

/// BAR 0.
pub type Bar = mmio::Bar<BAR_BYTES>;

type Register = mmio::Register<BAR_BYTES>;

/// Read: [`IDENTITY`], with the version in the upper half.
pub const IDENTIFICATION: Register = Register::at(0x00);
/// The lower half of [`IDENTIFICATION`].
pub const IDENTITY: u32 = 0x00ed;

/// Bit 7: interrupt when a factorial is done. Not used, and cleared.
pub const STATUS: Register = Register::at(0x20);

/// Read: the causes that are not acknowledged. They are ORed, so two interrupts may become one.
pub const CAUSES: Register = Register::at(0x24);
/// Write: adds causes, and interrupts.
pub const RAISE: Register = Register::at(0x60);
/// Write: takes causes away. With none left the line falls.
pub const ACKNOWLEDGE: Register = Register::at(0x64);

/// The cause that is ours to raise: there are carriers on the list.
pub const CAUSE_DOORBELL: u32 = 0x1;
/// The device raises it at the end of a transfer.
pub const CAUSE_DMA: u32 = 0x100;

/// Address to copy from.
pub const DMA_SOURCE: Register = Register::at(0x80);
/// Address to copy to.
pub const DMA_DESTINATION: Register = Register::at(0x88);
/// Bytes to copy.
pub const DMA_COUNT: Register = Register::at(0x90);
/// Write: starts a transfer. Read: its lowest bit says whether it runs.
pub const DMA_COMMAND: Register = Register::at(0x98);

/// Start, or running.
pub const DMA_RUN: u32 = 1;
/// From the device to memory; else the other way.
pub const DMA_TO_MEMORY: u32 = 2;
/// Interrupt at the end.
pub const DMA_INTERRUPT: u32 = 4;

/// Bits of an address in memory. The device drops the others.
pub const DMA_ADDRESS_BITS: u32 = 28;
/// Where the device's own buffer is, for it.
pub const BUFFER: u32 = 0x4_0000;
/// Length of that buffer.
pub const BUFFER_BYTES: usize = 4096;
/// Most bytes of a transfer. QEMU only logs a longer one and copies anyway. Before 8.2.1 it ends itself, and
/// already for one that reaches the end of the buffer ("edu: fix DMA range upper bound check"); hence
/// one less.
pub const MOST_BYTES: usize = BUFFER_BYTES - 1;

/// What is read of a device that is no more.
pub const GONE: u32 = !0;

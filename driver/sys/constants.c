// SPDX-License-Identifier: GPL-2.0
/*
 * The numbers that request.rs writes out because bindgen cannot read macros with casts, compared
 * with the headers of the kernel that is built for. No code comes of this file.
 */
#include <linux/build_bug.h>
#include <linux/fs.h>

static_assert((__force unsigned int)FMODE_READ == 1 << 0);
static_assert((__force unsigned int)FMODE_WRITE == 1 << 1);
static_assert((__force unsigned int)FMODE_NOWAIT == 1 << 27);
static_assert(IOCB_NOWAIT == 0x8);
static_assert(IOCB_NOSIGNAL == 0x100);

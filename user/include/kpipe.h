/* SPDX-License-Identifier: MIT */
/*
 * kpipe.h - the interface of the kpipe driver for C and C++ programs.
 *
 * The same as driver/uapi.rs, which explains every field and every error; the test
 * user/abi/tests/c_header.rs compares the two. An example:
 *
 *	struct kpipe_info info = { .size = sizeof(info) };
 *	int fd = open("/dev/kpipe0", O_RDONLY);		// waits for a writer
 *
 *	if (fd >= 0 && ioctl(fd, KPIPE_IOC_INFO, &info) == 0)
 *		printf("%llu bytes queued\n", (unsigned long long)info.queued_bytes);
 */
#ifndef KPIPE_H
#define KPIPE_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* Version of this interface, in kpipe_info.version. */
#define KPIPE_VERSION 1

/* Type byte of the ioctl numbers. */
#define KPIPE_IOC_TYPE 0xBE

/* Prefix of the node names: /dev/kpipe0, /dev/kpipe1, ... */
#define KPIPE_NAME "kpipe"

/* A write of at most this many bytes is atomic. */
#define KPIPE_PIPE_BUF_BYTES 4096

/* Capacities of a queue, in bytes: smallest, initial, largest without CAP_SYS_RESOURCE, largest. */
#define KPIPE_MIN_CAPACITY_BYTES 4096
#define KPIPE_DEFAULT_CAPACITY_BYTES 65536
#define KPIPE_UNPRIVILEGED_CAPACITY_BYTES (1 << 20)
#define KPIPE_MAX_CAPACITY_BYTES (1 << 30)

/* What one side of a queue has done since the counters were last zero. */
struct kpipe_counters {
	__u64 bytes;		/* moved */
	__u64 operations;	/* that moved at least one byte */
	__u64 sleeps;		/* because the queue was empty (read) or full (write) */
	__u64 wakeups;		/* of such sleepers, by the queue */
};

/* Answer to KPIPE_IOC_INFO. Set size to sizeof(struct kpipe_info) and all else to 0. */
struct kpipe_info {
	__u32 size;		/* of this structure in bytes, set by the caller */
	__u32 version;		/* KPIPE_VERSION of the driver */
	__u32 index;		/* the N of /dev/kpipeN */
	__u32 readers;		/* descriptions open for reading */
	__u32 writers;		/* descriptions open for writing */
	__u32 reserved;		/* 0 */
	__u64 capacity_bytes;
	__u64 queued_bytes;
	struct kpipe_counters read;
	struct kpipe_counters write;
};

/* Fills in a struct kpipe_info. */
#define KPIPE_IOC_INFO _IOWR(KPIPE_IOC_TYPE, 1, struct kpipe_info)

/* Argument: the capacity in bytes, an unsigned long by value. Returns the actual capacity. */
#define KPIPE_IOC_RESIZE _IO(KPIPE_IOC_TYPE, 2)

/* Argument: 0UL. Sets all counters of the queue to zero. */
#define KPIPE_IOC_RESET_COUNTERS _IO(KPIPE_IOC_TYPE, 3)

#endif /* KPIPE_H */

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
#define KPIPE_VERSION 3

/* Type byte of the ioctl numbers. */
#define KPIPE_IOC_TYPE 0xBE

/* Name of the clone node, and prefix of the others: /dev/kpipe, /dev/kpipe0, /dev/kpipe1, ... */
#define KPIPE_NAME "kpipe"

/* Most queues with a name, and the minor number of the clone node. */
#define KPIPE_MAX_QUEUES 1024
#define KPIPE_CLONE_MINOR KPIPE_MAX_QUEUES

/* kpipe_info.index of a private queue. */
#define KPIPE_PRIVATE_INDEX 0xFFFFFFFFU

/* A write of at most this many bytes is atomic. */
#define KPIPE_PIPE_BUF_BYTES 4096

/* Capacities of a queue, in bytes: smallest, initial, largest without CAP_SYS_RESOURCE, largest. */
#define KPIPE_MIN_CAPACITY_BYTES 4096
#define KPIPE_DEFAULT_CAPACITY_BYTES 65536
#define KPIPE_UNPRIVILEGED_CAPACITY_BYTES (1 << 20)
#define KPIPE_MAX_CAPACITY_BYTES (1 << 30)

/* Capacity of a new queue above the soft limit of its user, and smallest one for packets. */
#define KPIPE_SMALL_CAPACITY_BYTES 8192

/* Soft limit on the queue and pipe memory of a user in bytes, unless the module was given another. */
#define KPIPE_DEFAULT_USER_SOFT_LIMIT_BYTES (64 << 20)

/* Modes: bytes, or every write is a packet (as with O_DIRECT). */
#define KPIPE_MODE_STREAM 0
#define KPIPE_MODE_PACKET 1

/* Transports: who brings written bytes to the reader. */
#define KPIPE_TRANSPORT_DIRECT 0	/* nobody: they are there */
#define KPIPE_TRANSPORT_TIMER 1		/* a timer is the interrupt */
#define KPIPE_TRANSPORT_DOORBELL 2	/* an interrupt of the edu device */
#define KPIPE_TRANSPORT_DMA 3		/* DMA of the edu device */

/* Bottom halves: where the interrupt's work is done. A timer has no thread. */
#define KPIPE_BOTTOM_HALF_HARD 0	/* in the hard interrupt handler */
#define KPIPE_BOTTOM_HALF_BH 1		/* in a workqueue of the soft interrupt */
#define KPIPE_BOTTOM_HALF_WORK 2	/* in a workqueue */
#define KPIPE_BOTTOM_HALF_THREAD 3	/* in the interrupt's thread */

/* kpipe_transport.flags: a write does not wait until its bytes have arrived. */
#define KPIPE_TRANSPORT_POSTED 1
#define KPIPE_TRANSPORT_LIMITED 2

/* A timer's tick in nanoseconds (usual and longest) and its bytes. */
#define KPIPE_DEFAULT_TICK_NS 1000000
#define KPIPE_MAX_TICK_NS 60000000000
#define KPIPE_DEFAULT_BYTES_PER_TICK 4096

/* The least of both without CAP_SYS_RESOURCE. */
#define KPIPE_UNPRIVILEGED_TICK_NS 50000
#define KPIPE_UNPRIVILEGED_BYTES_PER_TICK 64

/* Stages of a request, and buckets of the histogram of each. */
#define KPIPE_STAGES 6
#define KPIPE_HISTOGRAM_BUCKETS 256

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
	__u32 index;		/* the N of /dev/kpipeN, or KPIPE_PRIVATE_INDEX */
	__u32 readers;		/* descriptions open for reading */
	__u32 writers;		/* descriptions open for writing */
	__u32 mode;		/* KPIPE_MODE_... */
	__u64 capacity_bytes;
	__u64 queued_bytes;
	struct kpipe_counters read;
	struct kpipe_counters write;
};

/* For KPIPE_IOC_PAIR. Set size to sizeof(struct kpipe_pair) and what is not used to 0. */
struct kpipe_pair {
	__u32 size;		/* of this structure in bytes */
	__u32 flags;		/* O_CLOEXEC, O_NONBLOCK, O_DIRECT */
	__u64 capacity_bytes;	/* wanted, 0 for the usual one; actual on return */
	__u32 mode;		/* KPIPE_MODE_... */
	__u32 reserved;		/* 0 */
	__s32 read_fd;		/* on return */
	__s32 write_fd;		/* on return */
};

/* For KPIPE_IOC_{SET,GET}_TIMEOUTS. Set size to sizeof(struct kpipe_timeouts). */
struct kpipe_timeouts {
	__u32 size;		/* of this structure in bytes */
	__u32 reserved;		/* 0 */
	__u64 read_ns;		/* longest sleep of a read in nanoseconds; 0: no limit */
	__u64 write_ns;		/* longest sleep of a write in nanoseconds; 0: no limit */
};

/* For KPIPE_IOC_{SET,GET}_TRANSPORT. Set size to sizeof(struct kpipe_transport). */
struct kpipe_transport {
	__u32 size;		/* of this structure in bytes */
	__u32 transport;	/* KPIPE_TRANSPORT_... */
	__u32 bottom_half;	/* KPIPE_BOTTOM_HALF_... */
	__u32 flags;		/* KPIPE_TRANSPORT_POSTED, KPIPE_TRANSPORT_LIMITED, or 0 */
	__u64 tick_ns;		/* timer: from interrupt to interrupt; 0: the module's */
	__u32 bytes_per_tick;	/* timer: most bytes of one interrupt; 0: the module's */
	__u32 reserved;		/* 0 */
};

/* How long one stage of the requests took. */
struct kpipe_histogram {
	__u64 count;
	__u64 sum_ns;
	__u64 max_ns;
	__u32 buckets[KPIPE_HISTOGRAM_BUCKETS];	/* eight for each power of two */
};

/* Answer to KPIPE_IOC_STAGES. Set size to sizeof(struct kpipe_stages) and reserved to 0. */
struct kpipe_stages {
	__u32 size;		/* of this structure in bytes */
	__u32 reserved;		/* 0 */
	__u64 interrupts;
	__u64 transfers;
	struct kpipe_histogram stages[KPIPE_STAGES];
};

/* Fills in a struct kpipe_info. */
#define KPIPE_IOC_INFO _IOWR(KPIPE_IOC_TYPE, 1, struct kpipe_info)

/* Argument: the capacity in bytes, an unsigned long by value. Returns the actual capacity. */
#define KPIPE_IOC_RESIZE _IO(KPIPE_IOC_TYPE, 2)

/* Argument: 0UL. Sets all counters of the queue to zero. */
#define KPIPE_IOC_RESET_COUNTERS _IO(KPIPE_IOC_TYPE, 3)

/* On the clone node /dev/kpipe: two descriptors on a new private queue, as pipe2(2). */
#define KPIPE_IOC_PAIR _IOWR(KPIPE_IOC_TYPE, 4, struct kpipe_pair)

/* Argument: KPIPE_MODE_... as an unsigned long by value. */
#define KPIPE_IOC_SET_MODE _IO(KPIPE_IOC_TYPE, 5)

/* Limits the sleeps of this open file description, as SO_RCVTIMEO and SO_SNDTIMEO do. */
#define KPIPE_IOC_SET_TIMEOUTS _IOW(KPIPE_IOC_TYPE, 6, struct kpipe_timeouts)
#define KPIPE_IOC_GET_TIMEOUTS _IOWR(KPIPE_IOC_TYPE, 7, struct kpipe_timeouts)

/*
 * Who carries the bytes of this queue. It must be empty to set it. Without CAP_SYS_RESOURCE: no
 * bottom half HARD or THREAD, and no timer or limited doorbell that interrupts more often than above.
 */
#define KPIPE_IOC_SET_TRANSPORT _IOW(KPIPE_IOC_TYPE, 8, struct kpipe_transport)
#define KPIPE_IOC_GET_TRANSPORT _IOWR(KPIPE_IOC_TYPE, 9, struct kpipe_transport)

/* Argument: 0UL. Waits until all bytes written before have arrived. */
#define KPIPE_IOC_DRAIN _IO(KPIPE_IOC_TYPE, 10)

/* How long the stages of the requests took. */
#define KPIPE_IOC_STAGES _IOWR(KPIPE_IOC_TYPE, 11, struct kpipe_stages)

#endif /* KPIPE_H */

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The tracepoints, events/kpipe/ in tracefs: the life of a read and of a write. trace.rs calls them.
 *
 * A request is one call of read(2) or write(2). Numbers begin at 1 and are given only while
 * kpipe_enter is on: 0 is a call that began before, whose sleeps are not told. What the device does
 * carries the number of the write. Every function here may be called in any context, a hard interrupt too.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM kpipe

#if !defined(KPIPE_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define KPIPE_TRACE_H

#include <linux/tracepoint.h>
#include <linux/types.h>

/* enum Side in trace.rs */
#define KPIPE_READ 0
#define KPIPE_WRITE 1

#define kpipe_side_name(side) \
	__print_symbolic(side, { KPIPE_READ, "read" }, { KPIPE_WRITE, "write" })

/* What happens to a call; side says whether it is one that reads or one that writes. */
DECLARE_EVENT_CLASS(kpipe_call,
	TP_PROTO(u8 side, s32 queue, u64 request, u64 bytes),
	TP_ARGS(side, queue, request, bytes),
	TP_STRUCT__entry(
		__field(u64, request)
		__field(u64, bytes)
		__field(s32, queue)
		__field(u8, side)
	),
	TP_fast_assign(
		__entry->request = request;
		__entry->bytes = bytes;
		__entry->queue = queue;
		__entry->side = side;
	),
	TP_printk("queue=%d request=%llu side=%s bytes=%llu", __entry->queue, __entry->request,
		  kpipe_side_name(__entry->side), __entry->bytes)
);

/* A call begins; bytes is what it asks for. */
DEFINE_EVENT(kpipe_call, kpipe_enter,
	TP_PROTO(u8 side, s32 queue, u64 request, u64 bytes),
	TP_ARGS(side, queue, request, bytes)
);

/* It gives up the processor; bytes is what is still to be moved. */
DEFINE_EVENT(kpipe_call, kpipe_sleep,
	TP_PROTO(u8 side, s32 queue, u64 request, u64 bytes),
	TP_ARGS(side, queue, request, bytes)
);

/* It has the processor again, woken or not. */
DEFINE_EVENT(kpipe_call, kpipe_awake,
	TP_PROTO(u8 side, s32 queue, u64 request, u64 bytes),
	TP_ARGS(side, queue, request, bytes)
);

/* Somebody of this side is woken, by request, for bytes that arrived or for room of as many. */
DEFINE_EVENT(kpipe_call, kpipe_wake,
	TP_PROTO(u8 side, s32 queue, u64 request, u64 bytes),
	TP_ARGS(side, queue, request, bytes)
);

/* It ends; result is the bytes moved or an errno below 0. */
TRACE_EVENT(kpipe_leave,
	TP_PROTO(u8 side, s32 queue, u64 request, s64 result),
	TP_ARGS(side, queue, request, result),
	TP_STRUCT__entry(
		__field(u64, request)
		__field(u64, bytes)
		__field(s32, queue)
		__field(u8, side)
		__field(s64, result)
	),
	TP_fast_assign(
		__entry->request = request;
		__entry->bytes = max_t(s64, result, 0);
		__entry->queue = queue;
		__entry->side = side;
		__entry->result = result;
	),
	TP_printk("queue=%d request=%llu side=%s bytes=%llu result=%lld", __entry->queue,
		  __entry->request, kpipe_side_name(__entry->side), __entry->bytes,
		  __entry->result)
);

/* What the device and its driver do with bytes on their way. */
DECLARE_EVENT_CLASS(kpipe_carry,
	TP_PROTO(s32 queue, u64 request, u64 bytes),
	TP_ARGS(queue, request, bytes),
	TP_STRUCT__entry(
		__field(u64, request)
		__field(u64, bytes)
		__field(s32, queue)
	),
	TP_fast_assign(
		__entry->request = request;
		__entry->bytes = bytes;
		__entry->queue = queue;
	),
	TP_printk("queue=%d request=%llu bytes=%llu", __entry->queue, __entry->request,
		  __entry->bytes)
);

/* A transfer is given to the device. */
DEFINE_EVENT(kpipe_carry, kpipe_transfer,
	TP_PROTO(s32 queue, u64 request, u64 bytes),
	TP_ARGS(queue, request, bytes)
);

/* The hard interrupt handler has found that its transfer is done. */
DEFINE_EVENT(kpipe_carry, kpipe_interrupt,
	TP_PROTO(s32 queue, u64 request, u64 bytes),
	TP_ARGS(queue, request, bytes)
);

DEFINE_EVENT(kpipe_carry, kpipe_bottom_half_begin,
	TP_PROTO(s32 queue, u64 request, u64 bytes),
	TP_ARGS(queue, request, bytes)
);

DEFINE_EVENT(kpipe_carry, kpipe_bottom_half_end,
	TP_PROTO(s32 queue, u64 request, u64 bytes),
	TP_ARGS(queue, request, bytes)
);

#endif /* KPIPE_TRACE_H */

/* Found through -I in Kbuild. */
#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>

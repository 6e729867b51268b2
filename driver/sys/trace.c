// SPDX-License-Identifier: GPL-2.0
/*
 * Defines the tracepoints, and for each a function rust_do_trace_NAME for trace.rs.
 */
#define CREATE_TRACE_POINTS
#define CREATE_RUST_TRACE_POINTS
#include "trace.h"

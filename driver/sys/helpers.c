// SPDX-License-Identifier: GPL-2.0
/*
 * What Rust cannot reach because bindgen leaves it out, in the smallest pieces: macros with casts
 * (compared here with the numbers that the Rust files write out) and the inside of
 * struct pipe_inode_info and struct user_struct.
 */
#include <linux/build_bug.h>
#include <linux/cred.h>
#include <linux/fs.h>
#include <linux/irqreturn.h>
#include <linux/pipe_fs_i.h>
#include <linux/sched/user.h>
#include <linux/signal.h>
#include <linux/splice.h>

static_assert((__force unsigned int)FMODE_READ == 1 << 0);
static_assert((__force unsigned int)FMODE_WRITE == 1 << 1);
static_assert((__force unsigned int)FMODE_CAN_ODIRECT == 1 << 22);
static_assert((__force unsigned int)FMODE_NOWAIT == 1 << 27);
static_assert(IOCB_NOWAIT == 0x8);
static_assert(IOCB_NOSIGNAL == 0x100);
static_assert(SPLICE_F_NONBLOCK == 0x2);
static_assert(POLL_IN == 1);
static_assert(POLL_OUT == 2);
static_assert(IRQ_NONE == 0);
static_assert(IRQ_HANDLED == 1);
static_assert(IRQ_WAKE_THREAD == 2);

struct user_struct *kpipe_current_user(void);
long kpipe_account(struct user_struct *user, long pages);
bool kpipe_target_is_full(struct pipe_inode_info *pipe);
bool kpipe_target_is_broken(struct pipe_inode_info *pipe);
struct wait_queue_head *kpipe_target_wait(struct pipe_inode_info *pipe);
bool kpipe_source_is_empty(struct pipe_inode_info *pipe);
bool kpipe_source_is_ended(struct pipe_inode_info *pipe);
struct wait_queue_head *kpipe_source_wait(struct pipe_inode_info *pipe);

/* The user who pays for what the calling task allocates; a new reference. */
struct user_struct *kpipe_current_user(void)
{
	return get_current_user();
}

/* Counts pages for a user, where pipes count theirs too. Returns all that the user has. */
long kpipe_account(struct user_struct *user, long pages)
{
	return atomic_long_add_return(pages, &user->pipe_bufs);
}

/*
 * All of these may be called without the pipe's lock, like pipe_readable() and pipe_writable() in
 * fs/pipe.c.
 */

/* Has a pipe no free slot? */
bool kpipe_target_is_full(struct pipe_inode_info *pipe)
{
	union pipe_index index = { .head_tail = READ_ONCE(pipe->head_tail) };

	return pipe_full(index.head, index.tail, READ_ONCE(pipe->max_usage));
}

/* Has a pipe no readers? */
bool kpipe_target_is_broken(struct pipe_inode_info *pipe)
{
	return !READ_ONCE(pipe->readers);
}

/* Where the writers of a pipe wait. */
struct wait_queue_head *kpipe_target_wait(struct pipe_inode_info *pipe)
{
	return &pipe->wr_wait;
}

/* Has a pipe no data? */
bool kpipe_source_is_empty(struct pipe_inode_info *pipe)
{
	union pipe_index index = { .head_tail = READ_ONCE(pipe->head_tail) };

	return pipe_empty(index.head, index.tail);
}

/* Has a pipe no writers? */
bool kpipe_source_is_ended(struct pipe_inode_info *pipe)
{
	return !READ_ONCE(pipe->writers);
}

/* Where the readers of a pipe wait. */
struct wait_queue_head *kpipe_source_wait(struct pipe_inode_info *pipe)
{
	return &pipe->rd_wait;
}

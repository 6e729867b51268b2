/* SPDX-License-Identifier: MIT */
/*
 * two_queues QUEUE...: reads several queues at once with poll(2), prints what each one gives, and at the end what
 * the driver counted (ioctl(2), user/include/kpipe.h). It ends when every queue is at its end of file.
 *
 *	cc -I user/include -o two_queues docs/examples/two_queues.c
 *	./two_queues /dev/kpipe0 /dev/kpipe1 & echo hello >/dev/kpipe0; echo you >/dev/kpipe1
 */
#include <errno.h>
#include <fcntl.h>
#include <kpipe.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define MAX_QUEUES 16

static void fail(const char *what)
{
	fprintf(stderr, "two_queues: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* What the driver has to say about an open queue. */
static void print_info(const char *name, int fd)
{
	struct kpipe_info info = { .size = sizeof(info) };

	if (ioctl(fd, KPIPE_IOC_INFO, &info) < 0)
		fail(name);
	printf("%s: end of file after %llu bytes, %llu of %llu still queued\n", name,
	       (unsigned long long)info.read.bytes, (unsigned long long)info.queued_bytes,
	       (unsigned long long)info.capacity_bytes);
	fflush(stdout);
}

/* Reads what is there. Whether more may come. */
static int read_some(const char *name, int fd)
{
	char block[4096];
	ssize_t length = read(fd, block, sizeof(block));

	if (length < 0) {
		/* Somebody else took it between poll and read. */
		if (errno == EAGAIN || errno == EINTR)
			return 1;
		fail(name);
	}
	if (length == 0)
		return 0;
	printf("%s: %.*s", name, (int)length, block);
	fflush(stdout);
	return 1;
}

int main(int argc, char **argv)
{
	struct pollfd fds[MAX_QUEUES];
	int count = argc - 1, open_queues = count, i;

	if (count < 1 || count > MAX_QUEUES) {
		fprintf(stderr, "usage: two_queues QUEUE... (1 to %d of them)\n", MAX_QUEUES);
		return 2;
	}
	for (i = 0; i < count; i++) {
		/* Without O_NONBLOCK open(2) would wait for a writer of this queue, one after the other. */
		fds[i].fd = open(argv[i + 1], O_RDONLY | O_NONBLOCK | O_CLOEXEC);
		fds[i].events = POLLIN;
		if (fds[i].fd < 0)
			fail(argv[i + 1]);
		/* Only our own bytes shall be counted. */
		if (ioctl(fds[i].fd, KPIPE_IOC_RESET_COUNTERS, 0UL) < 0)
			fail(argv[i + 1]);
	}
	while (open_queues > 0) {
		if (poll(fds, count, -1) < 0 && errno != EINTR)
			fail("poll");
		for (i = 0; i < count; i++) {
			/* POLLHUP: the last writer has closed. Before the first one came there is no event at all. */
			if (fds[i].fd < 0 || !(fds[i].revents & (POLLIN | POLLHUP)))
				continue;
			if (read_some(argv[i + 1], fds[i].fd))
				continue;
			print_info(argv[i + 1], fds[i].fd);
			close(fds[i].fd);
			/* poll(2) leaves out what is negative. */
			fds[i].fd = -1;
			open_queues--;
		}
	}
	return 0;
}

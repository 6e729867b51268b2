#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""two_queues.py QUEUE...: the same as two_queues.c, with select.poll and fcntl.ioctl.

The numbers are those of user/include/kpipe.h.
"""

import fcntl
import os
import select
import struct
import sys

# struct kpipe_info: six numbers of 32 bits; capacity and queued bytes; four counters each for reads and writes.
INFO = struct.Struct("=6I 2Q 4Q 4Q")


def ioc(direction, number, size):
    """_IOC() of linux/ioctl.h."""
    return direction << 30 | size << 16 | 0xBE << 8 | number


IOC_INFO = ioc(3, 1, INFO.size)
IOC_RESET_COUNTERS = ioc(0, 3, 0)


def info(fd):
    """Capacity, queued bytes and bytes read."""
    answer = fcntl.ioctl(fd, IOC_INFO, INFO.pack(INFO.size, *[0] * 15))
    fields = INFO.unpack(answer)
    return fields[6], fields[7], fields[8]


def main():
    names = {}
    poll = select.poll()
    for name in sys.argv[1:]:
        # Without O_NONBLOCK it would wait for a writer of this queue, one after the other.
        fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK)
        # Only our own bytes shall be counted.
        fcntl.ioctl(fd, IOC_RESET_COUNTERS, 0)
        poll.register(fd, select.POLLIN)
        names[fd] = name
    while names:
        for fd, _ in poll.poll():
            try:
                block = os.read(fd, 4096)
            except BlockingIOError:
                # Somebody else took it between poll and read.
                continue
            if block:
                print(f"{names[fd]}: {block.decode()}", end="", flush=True)
                continue
            capacity, queued, read = info(fd)
            print(f"{names[fd]}: end of file after {read} bytes, {queued} of {capacity} still queued", flush=True)
            poll.unregister(fd)
            os.close(fd)
            del names[fd]


if __name__ == "__main__":
    main()

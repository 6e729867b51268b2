// SPDX-License-Identifier: MIT

//! [`Error`]: what can go wrong with a queue, named so that a program can react and worded so that
//! a person knows the next step. Reading and writing give plain [`std::io::Error`]s instead, as
//! std's traits want.

use crate::{Queue, Wait};
use kpipe_abi::uapi;
use nix::errno::Errno;
use std::path::Path;

/// [`std::result::Result`] with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Why a queue could not be opened, asked or set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There are no queues at all.
    #[error("{queue}: the kpipe module is not loaded: load it with `insmod kpipe.ko` as root, or start a VM that has it with `make shell`")]
    NotLoaded {
        /// The queue asked for.
        queue: Queue,
    },
    /// The module is loaded, but with fewer queues.
    #[error("{queue}: no such queue: the module was loaded with {loaded} (`kpipe stat` lists them); for more: `rmmod kpipe; insmod kpipe.ko queues=N`")]
    NoSuchQueue {
        /// The queue asked for.
        queue: Queue,
        /// How many queues there are.
        loaded: usize,
    },
    /// A path that does not exist and could not be a queue's.
    #[error("{queue}: no such file; a queue is named by its number (0), name (kpipe0) or path (/dev/kpipe0)")]
    NotFound {
        /// The queue asked for.
        queue: Queue,
    },
    /// The node's mode does not let this user in.
    #[error("{queue}: permission denied: become root, or load the module with a mode for everybody: `insmod kpipe.ko mode=0666`")]
    PermissionDenied {
        /// The queue asked for.
        queue: Queue,
    },
    /// Its transport needs a device that is not there, or was there while it is still open for somebody.
    #[error("{queue}: its device is gone: bind one to the driver, or set another transport, once nobody has the queue open")]
    DeviceGone {
        /// The queue asked for.
        queue: Queue,
    },
    /// Opened for writing with [`Wait::Never`], and nobody has it open for reading (`ENXIO`).
    #[error("{queue}: nobody has it open for reading: start a reader first, for example `kpipe recv {queue}`")]
    NoReader {
        /// The queue asked for.
        queue: Queue,
    },
    /// A file of another kind, which answers to none of the driver's calls.
    #[error("{queue}: not a kpipe queue; a queue is named by its number (0), name (kpipe0) or path (/dev/kpipe0)")]
    NotAQueue {
        /// What was opened.
        queue: Queue,
    },
    /// The driver knows the call, but not in this form.
    #[error("{queue}: the loaded module speaks another version of the interface than this program (version {}): rebuild both", uapi::VERSION)]
    OtherVersion {
        /// The queue asked.
        queue: Queue,
    },
    /// More is queued than would fit, or more is in flight than is copied at once.
    #[error("{queue}: more bytes are queued than fit into {capacity_bytes}, or more than 1 MiB is on its way: let a reader take them, or drain it, first")]
    Busy {
        /// The queue to be resized.
        queue: Queue,
        /// The capacity asked for.
        capacity_bytes: u64,
    },
    /// Above the limit for everybody, or above the soft limit on the memory of a user's queues and pipes.
    #[error(
        "{queue}: only root (CAP_SYS_RESOURCE) may ask for more than {} bytes, or for more memory in all than the module's user_soft_limit",
        uapi::UNPRIVILEGED_CAPACITY_BYTES
    )]
    CapacityNotPermitted {
        /// The queue to be resized.
        queue: Queue,
    },
    /// Above the limit for root.
    #[error(
        "{queue}: no queue may have more than {} bytes",
        uapi::MAX_CAPACITY_BYTES
    )]
    CapacityTooLarge {
        /// The queue to be resized.
        queue: Queue,
    },
    /// Bytes are queued or on their way: who carries them cannot change.
    #[error(
        "{queue}: the queue is not empty: let a reader take what is queued, then set the transport"
    )]
    NotEmpty {
        /// The queue whose transport was to be set.
        queue: Queue,
    },
    /// The transport needs a device, and there is none (any more).
    #[error("{queue}: there is no edu device for it: start QEMU with `-device edu` (`make shell` does), or bind it to the driver in /sys/bus/pci/drivers/kpipe")]
    NoDevice {
        /// The queue.
        queue: Queue,
    },
    /// A transport that could take a processor from everybody else.
    #[error("{queue}: only root (CAP_SYS_RESOURCE) may ask for the bottom halves hard and thread, for a tick below {} us, or for less than {} bytes per tick", uapi::UNPRIVILEGED_TICK_NS / 1000, uapi::UNPRIVILEGED_BYTES_PER_TICK)]
    TransportNotPermitted {
        /// The queue.
        queue: Queue,
    },
    /// The timer, which has no interrupt of its own, with a thread for it.
    #[error("{queue}: a timer has no thread as its bottom half: take bh, work or hard")]
    NoThread {
        /// The queue.
        queue: Queue,
    },
    /// The settings of a transport are out of bounds.
    #[error("{queue}: no such transport: a tick is longer than {} s, or this kernel knows less than this program", uapi::MAX_TICK_NS / 1_000_000_000)]
    NoSuchTransport {
        /// The queue.
        queue: Queue,
    },
    /// Anything else, as the kernel says it.
    #[error("{queue}: {doing}: {}", source.desc())]
    Io {
        /// The queue.
        queue: Queue,
        /// Which call failed.
        doing: &'static str,
        /// The kernel's answer.
        source: Errno,
    },
}

impl Error {
    /// An open(2) of `queue` failed.
    pub(crate) fn of_open(queue: &Queue, wait: Wait, errno: Errno) -> Self {
        let is_node_of_ours = queue.index().is_some() || *queue == Queue::clone_node();
        let queue = queue.clone();
        match errno {
            // A node without its driver, or no node: made by hand, or left by another module.
            Errno::ENOENT | Errno::ENXIO | Errno::ENODEV if is_node_of_ours && !is_loaded() => {
                Self::NotLoaded { queue }
            }
            Errno::ENOENT if is_node_of_ours => Self::NoSuchQueue {
                queue,
                loaded: Queue::all().map_or(0, |queues| queues.len()),
            },
            Errno::ENOENT => Self::NotFound { queue },
            Errno::EACCES | Errno::EPERM => Self::PermissionDenied { queue },
            Errno::ENODEV if is_node_of_ours => Self::DeviceGone { queue },
            Errno::ENXIO if wait == Wait::Never => Self::NoReader { queue },
            source => Self::Io {
                queue,
                doing: "open",
                source,
            },
        }
    }

    /// `IOC_INFO` failed.
    pub(crate) fn of_info(queue: &Queue, errno: Errno) -> Self {
        match errno {
            Errno::EINVAL => Self::OtherVersion {
                queue: queue.clone(),
            },
            errno => Self::of_call(queue, "information", errno),
        }
    }

    /// `IOC_PAIR` with `capacity_bytes` failed.
    pub(crate) fn of_pair(node: &Queue, capacity_bytes: u64, errno: Errno) -> Self {
        match errno {
            Errno::EPERM | Errno::EINVAL => Self::of_resize(node, capacity_bytes, errno),
            errno => Self::of_call(node, "pair", errno),
        }
    }

    /// `IOC_RESIZE` to `capacity_bytes` failed.
    pub(crate) fn of_resize(queue: &Queue, capacity_bytes: u64, errno: Errno) -> Self {
        let queue = queue.clone();
        match errno {
            Errno::EBUSY => Self::Busy {
                queue,
                capacity_bytes,
            },
            Errno::EPERM => Self::CapacityNotPermitted { queue },
            Errno::EINVAL => Self::CapacityTooLarge { queue },
            errno => Self::of_call(&queue, "resize", errno),
        }
    }

    /// `IOC_SET_TRANSPORT` failed.
    pub(crate) fn of_transport(queue: &Queue, errno: Errno) -> Self {
        let is_of = queue.clone();
        match errno {
            Errno::EBUSY => Self::NotEmpty { queue: is_of },
            Errno::ENODEV => Self::NoDevice { queue: is_of },
            Errno::EPERM => Self::TransportNotPermitted { queue: is_of },
            Errno::EOPNOTSUPP => Self::NoThread { queue: is_of },
            Errno::EINVAL => Self::NoSuchTransport { queue: is_of },
            errno => Self::of_call(queue, "transport", errno),
        }
    }

    /// Another ioctl(2) failed.
    pub(crate) fn of_call(queue: &Queue, doing: &'static str, errno: Errno) -> Self {
        let queue = queue.clone();
        match errno {
            Errno::ENOTTY => Self::NotAQueue { queue },
            source => Self::Io {
                queue,
                doing,
                source,
            },
        }
    }
}

/// Is the module in the kernel? Without sysfs the answer is no, and only a wording depends on it.
fn is_loaded() -> bool {
    Path::new("/sys/module").join(uapi::NAME).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open_error(path: &str, wait: Wait, errno: Errno) -> Error {
        Error::of_open(&Queue::at(path), wait, errno)
    }

    #[test]
    fn a_missing_node_without_the_module_says_how_to_load_it() {
        if is_loaded() {
            return; // Only a machine without the module can tell.
        }
        for errno in [Errno::ENOENT, Errno::ENXIO, Errno::ENODEV] {
            let text = open_error("/dev/kpipe0", Wait::Never, errno).to_string();
            assert!(
                text.contains("/dev/kpipe0") && text.contains("insmod kpipe.ko"),
                "{text}"
            );
        }
    }

    #[test]
    fn open_errors_have_one_meaning_each() {
        let queue = Queue::at("/tmp/q");
        let of = |wait, errno| open_error("/tmp/q", wait, errno);
        assert_eq!(
            of(Wait::Never, Errno::ENXIO),
            Error::NoReader {
                queue: queue.clone()
            }
        );
        assert_eq!(
            of(Wait::Block, Errno::ENOENT),
            Error::NotFound {
                queue: queue.clone()
            }
        );
        assert_eq!(
            of(Wait::Block, Errno::EACCES),
            Error::PermissionDenied {
                queue: queue.clone()
            }
        );
        assert!(matches!(
            of(Wait::Block, Errno::ENXIO),
            Error::Io {
                source: Errno::ENXIO,
                ..
            }
        ));
    }

    #[test]
    fn resize_errors_name_the_limit() {
        let of = |errno| Error::of_resize(&Queue::number(1), 8192, errno).to_string();
        assert!(of(Errno::EPERM).contains("1048576"));
        assert!(of(Errno::EINVAL).contains("1073741824"));
        assert!(of(Errno::EBUSY).contains("8192"));
        assert!(of(Errno::ENOTTY).contains("not a kpipe queue"));
    }

    #[test]
    fn transport_errors_say_what_to_do() {
        let of = |errno| Error::of_transport(&Queue::number(1), errno).to_string();
        assert!(of(Errno::EBUSY).contains("not empty"));
        assert!(of(Errno::ENODEV).contains("-device edu"));
        assert!(of(Errno::EPERM).contains("below 50 us"));
        assert!(of(Errno::EOPNOTSUPP).contains("no thread"));
        assert!(of(Errno::EINVAL).contains("60 s"));
        assert!(of(Errno::ENOTTY).contains("not a kpipe queue"));
    }
}

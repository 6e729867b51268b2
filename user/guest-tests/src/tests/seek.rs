// SPDX-License-Identifier: MIT

//! A queue has no position and no length: what seeking and file operations give. lseek(2), pread(2).

use std::os::fd::AsFd;

use nix::fcntl::{fallocate, fcntl, posix_fadvise, FallocateFlags, FcntlArg, PosixFadviseAdvice};
use nix::sys::mman::{mmap, MapFlags, ProtFlags};
use nix::sys::stat::{fstat, SFlag};
use nix::unistd::{fdatasync, fsync, ftruncate, lseek, Whence};

use crate::tools::prelude::*;
use crate::tools::raw;

/// The table.
pub const TESTS: &[Test] = &[
    section("Seek and files", "it answers as a socket"),
    says("lseek, pread, pwrite: ESPIPE."),
    each!(lseek_is_espipe).and_socket(),
    each!(pread_and_pwrite_are_espipe).and_socket(),
    each!(vectors_with_an_offset_are_espipe).and_socket(),
    says("ftruncate, fsync, fallocate: as on a FIFO."),
    each!(ftruncate_is_einval),
    each!(fsync_is_einval).and_socket(),
    each!(fallocate_is_espipe).differs(&[&differences::NODE]),
    each!(advice_and_sync_of_a_range_are_espipe).differs(&[&differences::NODE]),
    each!(mmap_is_enodev),
    says("It is a FIFO to fstat(2), and answers F_SETPIPE_SZ and F_GETPIPE_SZ."),
    each!(fstat_says_fifo).differs(&[&differences::NODE]),
    each!(fcntl_tells_and_sets_the_pipe_size).differs(&[&differences::RESIZE]),
    each!(advisory_locks_work),
];

fn lseek_is_espipe(q: &Queue) {
    let (reader, writer) = q.pair();
    writer.write_all(b"abc");
    for end in [&reader, &writer] {
        for whence in [Whence::SeekSet, Whence::SeekCur, Whence::SeekEnd] {
            let what = format!("lseek with {whence:?}");
            expect(&what, lseek(end, 0, whence), Err(Errno::ESPIPE));
            expect(&what, lseek(end, 1, whence), Err(Errno::ESPIPE));
        }
    }
    expect("read", reader.read(3), Ok(b"abc".to_vec()));
}

fn pread_and_pwrite_are_espipe(q: &Queue) {
    let (reader, writer) = q.pair();
    writer.write_all(b"abc");
    for offset in [0, 1, 1 << 40] {
        let read = nix::sys::uio::pread(&reader, &mut [0; 3], offset);
        expect(&format!("pread at {offset}"), read, Err(Errno::ESPIPE));
        let written = nix::sys::uio::pwrite(&writer, b"def", offset);
        expect(&format!("pwrite at {offset}"), written, Err(Errno::ESPIPE));
    }
    expect("read", reader.read(10), Ok(b"abc".to_vec()));
}

fn vectors_with_an_offset_are_espipe(q: &Queue) {
    let (reader, writer) = q.pair();
    writer.write_all(b"abc");
    let mut buffer = [0; 3];
    let mut vector = [std::io::IoSliceMut::new(&mut buffer)];
    let read = nix::sys::uio::preadv(&reader, &mut vector, 0);
    expect("preadv", read, Err(Errno::ESPIPE));
    let vector = [std::io::IoSlice::new(b"def")];
    let written = nix::sys::uio::pwritev(&writer, &vector, 0);
    expect("pwritev", written, Err(Errno::ESPIPE));
    expect("read", reader.read(10), Ok(b"abc".to_vec()));
}

fn ftruncate_is_einval(q: &Queue) {
    let (reader, writer) = q.pair();
    writer.write_all(b"abc");
    expect("ftruncate", ftruncate(&writer, 0), Err(Errno::EINVAL));
    let truncated = nix::unistd::truncate(q.path(), 0);
    expect("truncate of the node", truncated, Err(Errno::EINVAL));
    expect("read", reader.read(10), Ok(b"abc".to_vec()));
}

fn fsync_is_einval(q: &Queue) {
    let (reader, writer) = q.pair();
    for end in [&reader, &writer] {
        expect("fsync", fsync(end), Err(Errno::EINVAL));
        expect("fdatasync", fdatasync(end), Err(Errno::EINVAL));
    }
}

fn fallocate_is_espipe(q: &Queue) {
    let (_reader, writer) = q.pair();
    // vfs_fallocate() knows FIFOs by their type, and of all others only files.
    let wanted = if q.differs(&differences::NODE) {
        Errno::ENODEV
    } else {
        Errno::ESPIPE
    };
    let result = fallocate(&writer, FallocateFlags::empty(), 0, 4096);
    expect("fallocate", result, Err(wanted));
}

fn advice_and_sync_of_a_range_are_espipe(q: &Queue) {
    let (reader, _writer) = q.pair();
    expect(
        "sync_file_range",
        raw::sync_file_range(reader.as_fd()),
        Err(Errno::ESPIPE),
    );
    // generic_fadvise() refuses FIFOs by their type, and ignores advice on other special files.
    let wanted = if q.differs(&differences::NODE) {
        Ok(())
    } else {
        Err(Errno::ESPIPE)
    };
    let advice = PosixFadviseAdvice::POSIX_FADV_SEQUENTIAL;
    expect(
        "posix_fadvise",
        posix_fadvise(&reader, 0, 0, advice),
        wanted,
    );
}

fn mmap_is_enodev(q: &Queue) {
    let both = q.must_open(OFlag::O_RDWR);
    let page = std::num::NonZeroUsize::new(4096).expect("not zero");
    let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: at an address that the kernel chooses; it fails.
    let result = unsafe { mmap(None, page, protection, MapFlags::MAP_SHARED, &both, 0) };
    expect("mmap", result.err(), Some(Errno::ENODEV));
}

fn fstat_says_fifo(q: &Queue) {
    let (reader, writer) = q.pair();
    writer.write_all(b"abc");
    let stat = fstat(&reader).expect("fstat");
    let wanted = if q.differs(&differences::NODE) {
        SFlag::S_IFCHR
    } else {
        SFlag::S_IFIFO
    };
    expect(
        "type",
        SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT,
        wanted,
    );
    expect("size", stat.st_size, 0);
}

fn fcntl_tells_and_sets_the_pipe_size(q: &Queue) {
    let (reader, _writer) = q.pair();
    let (wanted_get, wanted_set) = if q.differs(&differences::RESIZE) {
        (Err(Errno::EBADF), Err(Errno::EBADF))
    } else {
        (Ok(65536), Ok(8192))
    };
    expect(
        "F_GETPIPE_SZ",
        fcntl(&reader, FcntlArg::F_GETPIPE_SZ),
        wanted_get,
    );
    expect(
        "F_SETPIPE_SZ",
        fcntl(&reader, FcntlArg::F_SETPIPE_SZ(8192)),
        wanted_set,
    );
}

fn advisory_locks_work(q: &Queue) {
    use nix::fcntl::{Flock, FlockArg};
    let first = std::fs::File::options()
        .read(true)
        .write(true)
        .open(q.path())
        .expect("open");
    let second = std::fs::File::options()
        .read(true)
        .write(true)
        .open(q.path())
        .expect("open");
    let lock = Flock::lock(first, FlockArg::LockExclusiveNonblock).map_err(|(_, e)| e);
    let lock = lock.expect("flock");
    let refused = Flock::lock(second, FlockArg::LockExclusiveNonblock).map_err(|(_, e)| e);
    expect("flock by another", refused.err(), Some(Errno::EWOULDBLOCK));
    drop(lock);
}

// SPDX-License-Identifier: GPL-2.0

//! Pairs of descriptors on something without a name, as pipe2(2) makes them.
//!
//! Both files are on one inode of a pseudo filesystem (`pairfs.c`), so that `/proc/self/fd/N` can be
//! opened again. The inode keeps its [`Anonymous`] object alive; every file has an [`OpenFile`] of its own.
//!
//! Process context; may sleep.

use super::fops::{attach, operations, OpenFile};
use super::request::OpenRequest;
use core::marker::PhantomData;
use core::ptr::NonNull;
use kernel::bindings;
use kernel::error::{from_err_ptr, to_result};
use kernel::fs::file::flags::{O_CLOEXEC, O_DIRECT, O_NONBLOCK, O_RDONLY};
use kernel::fs::file::{File, FileDescriptorReservation};
use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::sync::{Arc, ArcBorrow};

#[allow(improper_ctypes)] // An empty `lock_class_key` somewhere inside of `struct file`.
extern "C" {
    // pairfs.c
    fn kpipe_pairfs_pin() -> c_int;
    fn kpipe_pairfs_unpin();
    fn kpipe_pairfs_file(
        ops: *const PairOps,
        private_data: *mut c_void,
        flags: c_int,
    ) -> *mut bindings::file;
}

/// What the two files of a pair are ends of.
pub trait Anonymous: Send + Sync + 'static {
    /// The private data of an open file description.
    type File: OpenFile;

    /// One more open file, of a new pair or through `/proc/self/fd/N`. Never waits for a partner.
    fn open_end(self: Arc<Self>, request: OpenRequest) -> Result<KBox<Self::File>>;
}

/// `struct kpipe_pair_ops` of pairfs.c.
#[repr(C)]
struct PairOps {
    fops: bindings::file_operations,
    forget: unsafe extern "C" fn(*mut c_void),
}

/// What makes pairs on `T`.
pub struct Pairs<T> {
    ops: Pin<KBox<PairOps>>,
    _made: PhantomData<T>,
}

// SAFETY: The table is constant.
unsafe impl<T> Send for Pairs<T> {}
// SAFETY: The table is constant.
unsafe impl<T> Sync for Pairs<T> {}

impl<T: Anonymous> Pairs<T> {
    /// The result must live until the module is unloaded, or no pair may ever have been made with it: files
    /// point to it, and keep the module, but not this. So it belongs into what the module's own value owns
    /// (`file.rs` has it in the device, which is unregistered at rmmod).
    pub fn new(module: &'static ThisModule) -> Result<Self> {
        let ops = PairOps {
            fops: bindings::file_operations {
                open: Some(open::<T>),
                ..operations::<T::File>(module)
            },
            forget: forget::<T>,
        };
        Ok(Self {
            ops: KBox::pin(ops, GFP_KERNEL)?,
            _made: PhantomData,
        })
    }
}

/// A mounted filesystem for pairs.
///
/// # Invariants
///
/// Holds one pin.
pub struct Mount(());

impl Mount {
    /// Mounts it, unless it is mounted.
    pub fn new() -> Result<Self> {
        // SAFETY: Process context. INVARIANT: One pin.
        to_result(unsafe { kpipe_pairfs_pin() })?;
        Ok(Self(()))
    }

    /// A pair of open files on `object` with descriptors, which nobody sees before
    /// [`install`](Pair::install). `flags`: `O_CLOEXEC` and `O_NONBLOCK` for both ends, `O_DIRECT` for the
    /// write end.
    ///
    /// `EMFILE`, `ENFILE`: no free descriptor or file. `ENOMEM`. What [`Anonymous::open_end`] fails with.
    pub fn pair<T: Anonymous>(&self, pairs: &Pairs<T>, object: Arc<T>, flags: u32) -> Result<Pair> {
        let read_fd = FileDescriptorReservation::get_unused_fd_flags(flags & O_CLOEXEC)?;
        let write_fd = FileDescriptorReservation::get_unused_fd_flags(flags & O_CLOEXEC)?;
        let write_file = self.write_file(pairs, object, flags & (O_NONBLOCK | O_DIRECT))?;
        let read_file = reopen(&write_file, O_RDONLY | flags & O_NONBLOCK)?;
        Ok(Pair {
            read: (read_fd, read_file),
            write: (write_fd, write_file),
        })
    }

    fn write_file<T: Anonymous>(
        &self,
        pairs: &Pairs<T>,
        object: Arc<T>,
        flags: u32,
    ) -> Result<ARef<File>> {
        let object = Arc::into_raw(object).cast_mut().cast();
        // SAFETY: The table lives until the module is unloaded. There is a pin.
        let file = unsafe { kpipe_pairfs_file(&raw const *pairs.ops, object, flags as c_int) };
        let Ok(file) = from_err_ptr(file) else {
            // SAFETY: From `into_raw` above; it was not taken.
            drop(unsafe { Arc::from_raw(object.cast::<T>()) });
            return Err(from_err_ptr(file).err().unwrap_or(ENOMEM));
        };
        // SAFETY: A new file, whose only reference is ours now. If it fails below, that is dropped.
        let owned = unsafe { ARef::from_raw(NonNull::new_unchecked(file).cast::<File>()) };
        // SAFETY: The file is valid. `alloc_file_pseudo()` does not open it, so this is done here.
        let opened = unsafe { open::<T>((*file).f_inode, file) };
        to_result(opened)?;
        Ok(owned)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // SAFETY: The pin is ours by the invariant.
        unsafe { kpipe_pairfs_unpin() };
    }
}

/// Opens the same inode once more.
fn reopen(file: &File, flags: u32) -> Result<ARef<File>> {
    // SAFETY: The path of an open file is valid while the file is, and so are the credentials of the
    // running task.
    let opened = from_err_ptr(unsafe {
        bindings::dentry_open(
            &raw const (*file.as_ptr()).__bindgen_anon_1.f_path,
            flags as c_int,
            (*bindings::get_current()).cred,
        )
    })?;
    // SAFETY: A new file, whose only reference is ours now.
    Ok(unsafe { ARef::from_raw(NonNull::new_unchecked(opened).cast::<File>()) })
}

/// Two open files with a descriptor each. Dropped before they are installed, they are closed, and
/// nobody has seen them.
pub struct Pair {
    read: (FileDescriptorReservation, ARef<File>),
    write: (FileDescriptorReservation, ARef<File>),
}

impl Pair {
    /// The number of the descriptor for the read end.
    pub fn read_fd(&self) -> i32 {
        self.read.0.reserved_fd() as i32
    }

    /// The number of the descriptor for the write end.
    pub fn write_fd(&self) -> i32 {
        self.write.0.reserved_fd() as i32
    }

    /// Makes the descriptors usable. From here on another thread may have closed them.
    pub fn install(self) {
        self.read.0.fd_install(self.read.1);
        self.write.0.fd_install(self.write.1);
    }
}

/// # Safety
///
/// Called for a file in the course of being opened, on an inode of `kpipe_pairfs_file` for a `Pairs<T>`.
unsafe extern "C" fn open<T: Anonymous>(
    inode: *mut bindings::inode,
    file: *mut bindings::file,
) -> c_int {
    // SAFETY: The inode is valid and has an `Arc<T>`, which it gives back only when nobody has it open
    // or can open it.
    let object: Arc<T> = unsafe { ArcBorrow::from_raw((*inode).i_private.cast::<T>()) }.into();
    // SAFETY: The file is being opened by this task.
    let request = unsafe { OpenRequest::from_raw(file) };
    match object.open_end(request) {
        Ok(private) => {
            // SAFETY: Both are valid, and nobody else has the file yet. Its table is that of `Pairs<T>`.
            unsafe { attach(inode, file, private) };
            0
        }
        Err(error) => error.to_errno(),
    }
}

/// # Safety
///
/// Called by pairfs.c with what `Mount::write_file` gave to an inode, once.
unsafe extern "C" fn forget<T: Anonymous>(object: *mut c_void) {
    // SAFETY: The caller's contract: it is from `Arc::into_raw`.
    drop(unsafe { Arc::from_raw(object.cast::<T>()) });
}

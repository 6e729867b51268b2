// SPDX-License-Identifier: GPL-2.0

//! A character-device region: major and minors, a class, nodes in devtmpfs, and file operations
//! from a safe trait.
//!
//! `kernel::miscdevice` cannot serve here: it gives one minor, no poll, and holds a global mutex
//! around open, so a FIFO-like open that waits for its partner would stop every misc device of the
//! machine. See `fs/char_dev.c`, `drivers/base/class.c` and `Documentation/filesystems/vfs.rst`.
//!
//! [`Registration`] puts it all up and takes it all down. A [`Device`] makes one [`OpenFile`] per
//! open; the functions below them translate the calls of the VFS. All run in process context.

use super::request::{wait_of_file, OpenRequest, Request, FMODE_NOWAIT};
use super::splice;
use super::user::Argument;
use super::wait::PollTable;
use crate::model::ends::Wait;
use core::marker::PhantomData;
use core::ptr::{self, NonNull};
use kernel::bindings;
use kernel::error::{from_err_ptr, to_result};
use kernel::iov::{IovIterDest, IovIterSource};
use kernel::prelude::*;
use kernel::seq_file::SeqFile;

/// A driver: what an open on one of its minors gives.
pub trait Device: Send + Sync + 'static {
    /// The private data of an open file description.
    type File: OpenFile;

    /// open(2). May sleep for long: the VFS holds nothing that another open needs.
    fn open(&self, request: OpenRequest) -> Result<KBox<Self::File>>;
}

/// An open file description. Dropped at its last close (`release`).
pub trait OpenFile: Send + Sync + 'static {
    /// read(2), readv(2), splice(2) and what else ends in `read_iter`.
    fn read(&self, request: Request<'_>, to: &mut IovIterDest<'_>) -> Result<usize>;

    /// write(2), writev(2), splice(2) and what else ends in `write_iter`.
    fn write(&self, request: Request<'_>, from: &mut IovIterSource<'_>) -> Result<usize>;

    /// Waits until a read would not have to wait: there is data, or end of file. For splice(2).
    fn await_data(&self, wait: Wait) -> Result;

    /// Waits until a write would not have to wait. Returns how many bytes it may have. For splice(2).
    fn await_room(&self, wait: Wait) -> Result<usize>;

    /// poll(2) and its relatives: registers with the wait queues, then returns what is ready.
    fn poll<'open>(&'open self, table: &PollTable<'open>) -> u32;

    /// ioctl(2), from 64-bit and 32-bit programs alike.
    fn ioctl(&self, command: u32, argument: Argument) -> Result<isize>;

    /// The lines that `/proc/PID/fdinfo/FD` shows beside the general ones.
    fn show_fdinfo(&self, out: &SeqFile);
}

/// What to register.
pub struct Options {
    /// Name of the region, the class and (with a number behind it) the nodes.
    pub name: &'static CStr,
    /// Number of minors.
    pub count: u32,
    /// Permission bits of the nodes.
    pub mode: u16,
}

/// A registered region. Dropping it takes everything down.
///
/// Open files hold a reference to the module, so nothing is open any more when the module drops it.
// The order of the fields is the order in which they are undone: the reverse of the order in
// which `new` makes them.
pub struct Registration<T: Device> {
    _cdev: Cdev,
    _nodes: Nodes,
    _class: Class,
    _region: Region,
    _shared: Pin<KBox<Shared<T>>>,
}

impl<T: Device> Registration<T> {
    /// Registers `device`. Files may be opened from its last step on; before, an open gives `ENXIO`.
    /// If a step fails, those before it are undone, and nobody has a file open.
    pub fn new(module: &'static ThisModule, options: Options, device: T) -> Result<Self> {
        let shared = KBox::pin(
            Shared {
                fops: operations::<T>(module),
                device,
            },
            GFP_KERNEL,
        )?;
        let region = Region::new(&options)?;
        let class = Class::new(options.name)?;
        let nodes = Nodes::new(&class, &region, &options)?;
        let cdev = Cdev::new(module, &region, &shared)?;
        Ok(Self {
            _cdev: cdev,
            _nodes: nodes,
            _class: class,
            _region: region,
            _shared: shared,
        })
    }
}

/// What all open files share. `f_op` of each points to the first field, and so to this.
#[repr(C)]
struct Shared<T> {
    fops: bindings::file_operations,
    device: T,
}

// SAFETY: The table of operations is constant; the device is `Send`.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: The table of operations is constant; the device is `Sync`.
unsafe impl<T: Sync> Sync for Shared<T> {}

fn operations<T: Device>(module: &'static ThisModule) -> bindings::file_operations {
    bindings::file_operations {
        owner: module.as_ptr(),
        open: Some(open::<T>),
        release: Some(release::<T>),
        read_iter: Some(read_iter::<T>),
        write_iter: Some(write_iter::<T>),
        poll: Some(poll::<T>),
        unlocked_ioctl: Some(unlocked_ioctl::<T>),
        compat_ioctl: Some(compat_ioctl::<T>),
        show_fdinfo: Some(show_fdinfo::<T>),
        splice_read: Some(splice_read::<T>),
        splice_write: Some(splice_write::<T>),
        // No llseek: `stream_open` below makes lseek, pread and pwrite fail with ESPIPE.
        ..pin_init::zeroed()
    }
}

/// # Safety
///
/// Called by the VFS for a file of a [`Registration<T>`] that is being opened.
unsafe extern "C" fn open<T: Device>(
    inode: *mut bindings::inode,
    file: *mut bindings::file,
) -> c_int {
    // SAFETY: `chrdev_open()` has set `f_op` to the `fops` of the registration, which is the first
    // field of a `Shared<T>`. The file holds a reference to the module (`fops.owner`), so it stays.
    let shared = unsafe { &*(*file).f_op.cast::<Shared<T>>() };
    // SAFETY: Both are valid. A stream has no position: reads and writes need no lock for it, and
    // seeking fails.
    unsafe { bindings::stream_open(inode, file) };
    // SAFETY: A file being opened is not shared. `RWF_NOWAIT` is honoured by `Request::wait`.
    unsafe { (*file).f_mode |= FMODE_NOWAIT };
    // SAFETY: The inode is valid; its number does not change.
    let minor = unsafe { (*inode).i_rdev } & ((1 << MINOR_BITS) - 1);
    // SAFETY: The file is valid and being opened by this task.
    let request = unsafe { OpenRequest::from_raw(minor, file) };
    match shared.device.open(request) {
        Ok(private) => {
            // SAFETY: As above. `release` takes the box back.
            unsafe { (*file).private_data = KBox::into_raw(private).cast() };
            0
        }
        Err(error) => error.to_errno(),
    }
}

/// # Safety
///
/// Called by the VFS at the last close of a file that [`open`] opened.
unsafe extern "C" fn release<T: Device>(
    _inode: *mut bindings::inode,
    file: *mut bindings::file,
) -> c_int {
    // SAFETY: `private_data` is the box that `open` put there, and nobody uses the file any more.
    drop(unsafe { KBox::from_raw((*file).private_data.cast::<T::File>()) });
    0
}

/// The private data of an open file.
///
/// # Safety
///
/// `file` was opened by [`open`] for the same `T`, and is not released during `'open`.
unsafe fn private<'open, T: Device>(file: *mut bindings::file) -> &'open T::File {
    // SAFETY: `private_data` is the box that `open` put there; only `release` takes it away.
    unsafe { &*(*file).private_data.cast::<T::File>() }
}

/// # Safety
///
/// Called by the VFS with a valid kiocb of a file that [`open`] opened, and an iterator to write to.
unsafe extern "C" fn read_iter<T: Device>(
    kiocb: *mut bindings::kiocb,
    iter: *mut bindings::iov_iter,
) -> isize {
    // SAFETY: The kiocb holds the file open during the call.
    let file = unsafe { private::<T>((*kiocb).ki_filp) };
    // SAFETY: Valid during the call.
    let request = unsafe { Request::from_raw(kiocb) };
    // SAFETY: The VFS passes a destination, for this call alone.
    let to = unsafe { IovIterDest::from_raw(iter) };
    size_or_errno(file.read(request, to))
}

/// # Safety
///
/// Called by the VFS with a valid kiocb of a file that [`open`] opened, and an iterator to read from.
unsafe extern "C" fn write_iter<T: Device>(
    kiocb: *mut bindings::kiocb,
    iter: *mut bindings::iov_iter,
) -> isize {
    // SAFETY: The kiocb holds the file open during the call.
    let file = unsafe { private::<T>((*kiocb).ki_filp) };
    // SAFETY: Valid during the call.
    let request = unsafe { Request::from_raw(kiocb) };
    // SAFETY: The VFS passes a source, for this call alone.
    let from = unsafe { IovIterSource::from_raw(iter) };
    size_or_errno(file.write(request, from))
}

/// # Safety
///
/// Called by `fs/splice.c` for a file that [`open`] opened, with a locked pipe.
unsafe extern "C" fn splice_read<T: Device>(
    file: *mut bindings::file,
    position: *mut bindings::loff_t,
    pipe: *mut bindings::pipe_inode_info,
    len_bytes: usize,
    flags: c_uint,
) -> isize {
    // SAFETY: The caller holds the file open.
    let private = unsafe { private::<T>(file) };
    // SAFETY: The file is valid.
    let wait = unsafe { wait_of_file(file) };
    // SAFETY: The caller's contract.
    let result = unsafe { splice::read(private, file, position, pipe, len_bytes, flags, wait) };
    size_or_errno(result)
}

/// # Safety
///
/// Called by `fs/splice.c` for a file that [`open`] opened, with a pipe that is not locked.
unsafe extern "C" fn splice_write<T: Device>(
    pipe: *mut bindings::pipe_inode_info,
    file: *mut bindings::file,
    position: *mut bindings::loff_t,
    len_bytes: usize,
    flags: c_uint,
) -> isize {
    // SAFETY: The caller holds the file open.
    let private = unsafe { private::<T>(file) };
    // SAFETY: The file is valid.
    let wait = unsafe { wait_of_file(file) };
    // SAFETY: The caller's contract.
    let result = unsafe { splice::write(private, pipe, file, position, len_bytes, flags, wait) };
    size_or_errno(result)
}

/// # Safety
///
/// Called by the VFS for a file that [`open`] opened, with a poll table or null.
unsafe extern "C" fn poll<T: Device>(
    file: *mut bindings::file,
    table: *mut bindings::poll_table,
) -> bindings::__poll_t {
    // SAFETY: The caller holds the file open; `'open` ends with its release.
    let private = unsafe { private::<T>(file) };
    // SAFETY: Both are valid during the call.
    let table = unsafe { PollTable::from_raw(file, table) };
    private.poll(&table)
}

/// # Safety
///
/// Called by the VFS for a file that [`open`] opened.
unsafe extern "C" fn unlocked_ioctl<T: Device>(
    file: *mut bindings::file,
    command: c_uint,
    argument: c_ulong,
) -> c_long {
    // SAFETY: The caller holds the file open.
    let private = unsafe { private::<T>(file) };
    size_or_errno(private.ioctl(command, Argument(argument)))
}

/// # Safety
///
/// Called by the VFS for a file that [`open`] opened.
unsafe extern "C" fn compat_ioctl<T: Device>(
    file: *mut bindings::file,
    command: c_uint,
    argument: c_ulong,
) -> c_long {
    // The structures are the same for both widths; only the upper half of the argument means
    // nothing (`compat_ptr()`).
    let argument = argument as u32 as c_ulong;
    // SAFETY: The same contract.
    unsafe { unlocked_ioctl::<T>(file, command, argument) }
}

/// # Safety
///
/// Called by procfs with a valid `seq_file`, for a file that [`open`] opened.
unsafe extern "C" fn show_fdinfo<T: Device>(
    out: *mut bindings::seq_file,
    file: *mut bindings::file,
) {
    // SAFETY: The caller holds the file open.
    let private = unsafe { private::<T>(file) };
    // SAFETY: Valid, and used by this call alone.
    private.show_fdinfo(unsafe { SeqFile::from_raw(out) });
}

fn size_or_errno<N: TryInto<isize>>(result: Result<N>) -> isize {
    match result {
        // No size in the kernel exceeds isize::MAX (`MAX_RW_COUNT` bounds reads and writes).
        Ok(size) => size.try_into().unwrap_or(isize::MAX),
        Err(error) => error.to_errno() as isize,
    }
}

/// `MINORBITS` of `include/linux/kdev_t.h`.
const MINOR_BITS: u32 = bindings::MINORBITS;

/// A range of device numbers, from minor 0 on.
struct Region {
    first: bindings::dev_t,
    count: u32,
}

impl Region {
    fn new(options: &Options) -> Result<Self> {
        let mut first = 0;
        // SAFETY: `first` is valid for writes; the name is static.
        to_result(unsafe {
            bindings::alloc_chrdev_region(&mut first, 0, options.count, options.name.as_char_ptr())
        })?;
        Ok(Self {
            first,
            count: options.count,
        })
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: Allocated by `new` with the same numbers.
        unsafe { bindings::unregister_chrdev_region(self.first, self.count) };
    }
}

/// A device class of the driver core, which owns its memory: the core may free it later than us.
struct Class(NonNull<bindings::class>);

// SAFETY: The driver core locks its classes; this is a handle to destroy one.
unsafe impl Send for Class {}
// SAFETY: As above; there is nothing to do with a shared handle.
unsafe impl Sync for Class {}

impl Class {
    fn new(name: &'static CStr) -> Result<Self> {
        // SAFETY: The name is static.
        let class = from_err_ptr(unsafe { bindings::class_create(name.as_char_ptr()) })?;
        // SAFETY: The class is valid and has no devices yet, so nobody reads the field.
        unsafe { (*class).devnode = Some(devnode) };
        NonNull::new(class).map(Self).ok_or(ENOMEM)
    }
}

impl Drop for Class {
    fn drop(&mut self) {
        // SAFETY: Created by `new`; its devices are gone (`Nodes` is dropped first).
        unsafe { bindings::class_destroy(self.0.as_ptr()) };
    }
}

/// Tells devtmpfs the permission bits of a node; they travel in the driver data of its device.
///
/// # Safety
///
/// Called by the driver core with a device of [`Nodes`], and a mode to set or null.
unsafe extern "C" fn devnode(
    device: *const bindings::device,
    mode: *mut bindings::umode_t,
) -> *mut c_char {
    if !mode.is_null() {
        // SAFETY: Both are valid during the call.
        unsafe { *mode = (*device).driver_data as usize as bindings::umode_t };
    }
    // The node has the device's own name.
    ptr::null_mut()
}

/// The `struct cdev` that leads from the numbers to the operations.
///
/// Allocated by `cdev_alloc()` and not embedded: its kobject may be released later than us.
struct Cdev(NonNull<bindings::cdev>);

// SAFETY: A handle to delete the cdev, which any thread may do.
unsafe impl Send for Cdev {}
// SAFETY: As above; there is nothing to do with a shared handle.
unsafe impl Sync for Cdev {}

impl Cdev {
    fn new<T: Device>(
        module: &'static ThisModule,
        region: &Region,
        shared: &Pin<KBox<Shared<T>>>,
    ) -> Result<Self> {
        // SAFETY: No preconditions.
        let cdev = NonNull::new(unsafe { bindings::cdev_alloc() }).ok_or(ENOMEM)?;
        // Deletes it again if `cdev_add` fails: deleting what was not added drops the reference.
        let this = Self(cdev);
        // SAFETY: The cdev is ours until it is added. The operations are pinned, and outlive it
        // (see the order of the fields of `Registration`).
        unsafe {
            (*cdev.as_ptr()).owner = module.as_ptr();
            (*cdev.as_ptr()).ops = &raw const shared.fops;
        }
        // SAFETY: The cdev is complete and the numbers are ours.
        to_result(unsafe { bindings::cdev_add(cdev.as_ptr(), region.first, region.count) })?;
        Ok(this)
    }
}

impl Drop for Cdev {
    fn drop(&mut self) {
        // SAFETY: Allocated by `new`, deleted once.
        unsafe { bindings::cdev_del(self.0.as_ptr()) };
    }
}

/// The devices in sysfs and with them the nodes in devtmpfs.
struct Nodes {
    class: NonNull<bindings::class>,
    first: bindings::dev_t,
    made: u32,
    _class: PhantomData<Class>,
}

// SAFETY: The driver core locks its devices; this is a handle to destroy them.
unsafe impl Send for Nodes {}
// SAFETY: As above; there is nothing to do with a shared handle.
unsafe impl Sync for Nodes {}

impl Nodes {
    fn new(class: &Class, region: &Region, options: &Options) -> Result<Self> {
        let mut nodes = Self {
            class: class.0,
            first: region.first,
            made: 0,
            _class: PhantomData,
        };
        for number in 0..options.count {
            // SAFETY: The class is registered, the number is ours, and the arguments fit the
            // format. The driver data is a number, see `devnode`.
            from_err_ptr(unsafe {
                bindings::device_create(
                    class.0.as_ptr(),
                    ptr::null_mut(),
                    region.first + number,
                    options.mode as usize as *mut c_void,
                    c"%s%u".as_char_ptr(),
                    options.name.as_char_ptr(),
                    number,
                )
            })?;
            nodes.made = number + 1;
        }
        Ok(nodes)
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for number in (0..self.made).rev() {
            // SAFETY: Created by `new`; the class still stands (see the fields of `Registration`).
            unsafe { bindings::device_destroy(self.class.as_ptr(), self.first + number) };
        }
    }
}

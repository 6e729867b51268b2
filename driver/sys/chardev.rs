// SPDX-License-Identifier: GPL-2.0

//! A character-device region: major and minors, a class, nodes in devtmpfs.
//!
//! `kernel::miscdevice` cannot serve here: it gives one minor, no poll, and holds a global mutex
//! around open, so a FIFO-like open that waits for its partner would stop every misc device of the
//! machine. See `fs/char_dev.c`, `drivers/base/class.c` and `Documentation/filesystems/vfs.rst`.
//!
//! [`Registration`] puts it all up and takes it all down. A [`Device`] makes one [`OpenFile`] per
//! open; the functions below them translate the calls of the VFS. All run in process context.

use super::fops::{attach, operations, OpenFile};
use super::request::OpenRequest;
use core::marker::PhantomData;
use core::ptr::{self, NonNull};
use kernel::bindings;
use kernel::error::{from_err_ptr, to_result};
use kernel::prelude::*;

/// A driver: what an open on one of its minors gives.
pub trait Device: Send + Sync + 'static {
    /// The private data of an open file description.
    type File: OpenFile;

    /// open(2) of the node with this minor number. May sleep for long: the VFS holds nothing that another
    /// open needs. `ENXIO`: there is no such node.
    fn open(&self, minor: u32, request: OpenRequest) -> Result<KBox<Self::File>>;
}

/// What to register.
pub struct Options {
    /// Name of the region, the class and (with a number behind it) the nodes.
    pub name: &'static CStr,
    /// Number of nodes with a number. They have the minor numbers from 0 on.
    pub count: u32,
    /// Minor number of one more node, which has the bare name. Above all others.
    pub bare_minor: u32,
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
                fops: bindings::file_operations {
                    open: Some(open::<T>),
                    ..operations::<T::File>(module)
                },
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
    // SAFETY: The inode is valid; its number does not change.
    let minor = unsafe { (*inode).i_rdev } & ((1 << MINOR_BITS) - 1);
    // SAFETY: The file is valid and being opened by this task.
    let request = unsafe { OpenRequest::from_raw(file) };
    match shared.device.open(minor, request) {
        Ok(private) => {
            // SAFETY: Both are valid, and the file is being opened by this task. Its table is that of
            // the registration.
            unsafe { attach(inode, file, private) };
            0
        }
        Err(error) => error.to_errno(),
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
        let count = options.bare_minor + 1;
        // SAFETY: `first` is valid for writes; the name is static.
        to_result(unsafe {
            bindings::alloc_chrdev_region(&mut first, 0, count, options.name.as_char_ptr())
        })?;
        Ok(Self { first, count })
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
    made: KVec<u32>,
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
            made: KVec::with_capacity(options.count as usize + 1, GFP_KERNEL)?,
            _class: PhantomData,
        };
        for number in 0..options.count {
            nodes.make(number, options, c"%s%u")?;
        }
        nodes.make(options.bare_minor, options, c"%s")?;
        Ok(nodes)
    }

    /// Makes one node. `format` takes the name and the minor number, or the name alone.
    fn make(&mut self, minor: u32, options: &Options, format: &'static CStr) -> Result {
        // SAFETY: The class is registered, the number is ours, and the arguments fit the format. The
        // driver data is a number, see `devnode`.
        from_err_ptr(unsafe {
            bindings::device_create(
                self.class.as_ptr(),
                ptr::null_mut(),
                self.first + minor,
                options.mode as usize as *mut c_void,
                format.as_char_ptr(),
                options.name.as_char_ptr(),
                minor,
            )
        })?;
        // There is room for all.
        self.made.push(minor, GFP_KERNEL)?;
        Ok(())
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for minor in self.made.iter().rev() {
            // SAFETY: Created by `make`; the class still stands (see the fields of `Registration`).
            unsafe { bindings::device_destroy(self.class.as_ptr(), self.first + minor) };
        }
    }
}

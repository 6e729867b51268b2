// SPDX-License-Identifier: MIT

//! The functions of libc that this library stands before, found by dlsym(3).

use core::ffi::{c_char, c_int, c_uint, c_void, CStr};
use core::sync::atomic::{AtomicPtr, Ordering};

/// fcntl().
pub type Fcntl = unsafe extern "C" fn(c_int, c_int, ...) -> c_int;
/// open().
pub type Open = unsafe extern "C" fn(*const c_char, c_int, ...) -> c_int;
/// openat().
pub type OpenAt = unsafe extern "C" fn(c_int, *const c_char, c_int, ...) -> c_int;
/// __open_2().
pub type Open2 = unsafe extern "C" fn(*const c_char, c_int) -> c_int;
/// __openat_2().
pub type OpenAt2 = unsafe extern "C" fn(c_int, *const c_char, c_int) -> c_int;
/// creat().
pub type Creat = unsafe extern "C" fn(*const c_char, libc::mode_t) -> c_int;
/// fopen().
pub type Fopen = unsafe extern "C" fn(*const c_char, *const c_char) -> *mut libc::FILE;
/// freopen().
pub type Freopen =
    unsafe extern "C" fn(*const c_char, *const c_char, *mut libc::FILE) -> *mut libc::FILE;
/// fstat(); `struct stat64` is the same on x86-64.
pub type Fstat = unsafe extern "C" fn(c_int, *mut libc::stat) -> c_int;
/// __fxstat(), what fstat() was before glibc 2.33.
pub type Fxstat = unsafe extern "C" fn(c_int, c_int, *mut libc::stat) -> c_int;
/// fstatat().
pub type FstatAt = unsafe extern "C" fn(c_int, *const c_char, *mut libc::stat, c_int) -> c_int;
/// statx().
pub type Statx =
    unsafe extern "C" fn(c_int, *const c_char, c_int, c_uint, *mut libc::statx) -> c_int;

/// A function per line: its Rust name, its symbol, its type.
macro_rules! functions {
    ($($name:ident, $symbol:literal, $kind:ty;)*) => {
        $(
            /// The next function of this name behind this library.
            pub fn $name() -> $kind {
                static FOUND: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());
                let function = find(&FOUND, $symbol);
                // SAFETY: `function` is libc's function of this name, whose type this is.
                unsafe { core::mem::transmute::<*mut c_void, $kind>(function) }
            }
        )*

        /// Finds all of them, so that no later call has to.
        pub fn find_all() {
            $( $name(); )*
        }
    };
}

functions! {
    fcntl, c"fcntl", Fcntl;
    fcntl64, c"fcntl64", Fcntl;
    open, c"open", Open;
    open64, c"open64", Open;
    openat, c"openat", OpenAt;
    openat64, c"openat64", OpenAt;
    open_2, c"__open_2", Open2;
    open64_2, c"__open64_2", Open2;
    openat_2, c"__openat_2", OpenAt2;
    openat64_2, c"__openat64_2", OpenAt2;
    creat, c"creat", Creat;
    creat64, c"creat64", Creat;
    fopen, c"fopen", Fopen;
    fopen64, c"fopen64", Fopen;
    freopen, c"freopen", Freopen;
    freopen64, c"freopen64", Freopen;
    fstat, c"fstat", Fstat;
    fstat64, c"fstat64", Fstat;
    fxstat, c"__fxstat", Fxstat;
    fxstat64, c"__fxstat64", Fxstat;
    fstatat, c"fstatat", FstatAt;
    fstatat64, c"fstatat64", FstatAt;
    statx, c"statx", Statx;
}

fn find(found: &AtomicPtr<c_void>, symbol: &CStr) -> *mut c_void {
    let known = found.load(Ordering::Relaxed);
    if !known.is_null() {
        return known;
    }
    // SAFETY: the symbol ends with a zero.
    let function = unsafe { libc::dlsym(libc::RTLD_NEXT, symbol.as_ptr()) };
    let function = if function.is_null() {
        absent as *mut c_void
    } else {
        function
    };
    found.store(function, Ordering::Relaxed);
    function
}

/// Stands for what this libc does not have. A program that was linked with this libc does not call
/// it. As an answer, null is a failure of fopen() but a success of open(), so there is none.
extern "C" fn absent() -> ! {
    std::process::abort()
}

// SPDX-License-Identifier: MIT

//! What this process was told by `kpipe exec`, and the ledger that it shares with the others.
//!
//! Both are taken when the library is loaded, or by the first call that comes before: the
//! constructor of another library may make a pipe. Nothing is allocated and no descriptor is kept.

use core::ffi::{c_int, CStr};
use std::sync::OnceLock;

use crate::contract::{
    Entry, Ledger, Setup, LEDGER_VERSION, NO_FD, PATHS_MAX_BYTES, PATHS_VARIABLE, SETUP_VARIABLE,
};
use crate::kernel;
use crate::text::Text;

/// What this process does.
pub struct State {
    /// False if `kpipe exec` did not start it: then everything is libc's.
    pub is_active: bool,
    /// See [`Setup::clone_fd`].
    pub clone_fd: u32,
    /// See [`Setup::clone_major`].
    pub clone_major: u32,
    /// See [`Setup::clone_minor`].
    pub clone_minor: u32,
    /// See [`Setup::reports_fifo`].
    pub reports_fifo: bool,
    /// See [`PATHS_VARIABLE`]. A copy: the program may change its environment.
    pub paths: Text<PATHS_MAX_BYTES>,
    ledger: &'static Ledger,
}

static STATE: OnceLock<State> = OnceLock::new();

/// For a process that cannot reach the common one: counted in vain.
static NOBODYS_LEDGER: Ledger = Ledger::new();

/// Runs when the library is loaded.
#[used]
#[link_section = ".init_array"]
static ON_LOAD: extern "C" fn() = on_load;

extern "C" fn on_load() {
    let errno = kernel::errno();
    get();
    crate::libc_next::find_all();
    kernel::set_errno(errno);
}

/// What this process does.
pub fn get() -> &'static State {
    STATE.get_or_init(State::from_environment)
}

/// Where it is counted.
pub fn ledger() -> &'static Ledger {
    get().ledger
}

impl State {
    fn from_environment() -> Self {
        let setup = environment(SETUP_VARIABLE).and_then(|text| Setup::parse(text.to_bytes()));
        let Some(setup) = setup else {
            return Self {
                is_active: false,
                clone_fd: NO_FD,
                clone_major: 0,
                clone_minor: 0,
                reports_fifo: false,
                paths: Text::new(),
                ledger: &NOBODYS_LEDGER,
            };
        };
        let mut paths = Text::new();
        if let Some(text) = environment(PATHS_VARIABLE) {
            paths.push(text.to_bytes());
        }
        let ledger = find_ledger(&setup).unwrap_or(&NOBODYS_LEDGER);
        ledger.count(Entry::Programs);
        Self {
            is_active: true,
            clone_fd: setup.clone_fd,
            clone_major: setup.clone_major,
            clone_minor: setup.clone_minor,
            reports_fifo: setup.reports_fifo != 0,
            paths,
            ledger,
        }
    }
}

fn environment(name: &CStr) -> Option<&'static CStr> {
    // SAFETY: the name ends with a zero.
    let value = unsafe { libc::getenv(name.as_ptr()) };
    if value.is_null() {
        return None;
    }
    // SAFETY: a string that ends with a zero. It is used only in from_environment(), before the
    // program could have changed its environment in another thread.
    Some(unsafe { CStr::from_ptr(value) })
}

/// By the inherited descriptor, or if it was closed by the one of `kpipe exec`, which is possible
/// for processes of the same user only.
fn find_ledger(setup: &Setup) -> Option<&'static Ledger> {
    if setup.ledger_fd == NO_FD {
        return None;
    }
    let is_ledger = |fd| {
        kernel::fstat(fd).is_ok_and(|status| {
            status.st_ino == setup.ledger_inode && status.st_size as usize >= size_of::<Ledger>()
        })
    };
    let inherited = setup.ledger_fd as c_int;
    if is_ledger(inherited) {
        return map_ledger(inherited);
    }
    let mut path = Text::<64>::new();
    path.push(b"/proc/");
    path.push_number(setup.owner_pid.into());
    path.push(b"/fd/");
    path.push_number(setup.ledger_fd.into());
    let opened = kernel::open(path.as_c_str()?, libc::O_RDWR | libc::O_CLOEXEC).ok()?;
    let ledger = is_ledger(opened).then(|| map_ledger(opened)).flatten();
    kernel::close(opened);
    ledger
}

fn map_ledger(fd: c_int) -> Option<&'static Ledger> {
    // SAFETY: a new mapping of a whole file; nothing else is at that place.
    let place = unsafe {
        libc::mmap(
            core::ptr::null_mut(),
            size_of::<Ledger>(),
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            fd,
            0,
        )
    };
    if place == libc::MAP_FAILED {
        return None;
    }
    // SAFETY: the mapping is never removed, starts at a page and is as large as a ledger; the file
    // is sealed against shrinking; every bit pattern is a valid Ledger, which consists of atomics,
    // so that other processes may change it.
    let ledger: &'static Ledger = unsafe { &*place.cast::<Ledger>() };
    (ledger.get(Entry::Version) == u64::from(LEDGER_VERSION)).then_some(ledger)
}

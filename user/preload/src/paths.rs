// SPDX-License-Identifier: MIT

//! open(2) and its family: an open of a path that was named with `kpipe exec --path` goes to a queue.
//!
//! Only where a FIFO is, or nothing yet: a pattern that matches a file or a folder leaves it alone.

use core::ffi::{c_char, c_int, CStr};

use crate::contract::{parse_number, Entry, PATHS_MAX_BYTES};
use crate::kernel;
use crate::libc_next::{self, Creat, Fopen, Freopen, Open, Open2, OpenAt, OpenAt2};
use crate::setup;
use crate::text::Text;

/// Long enough for every path that the kernel takes (`PATH_MAX`), twice.
type PathText = Text<8192>;

/// Where an open leads, if not to where the program says.
struct Queue(Text<32>);

/// Each function: its symbol, its arguments before and after the path, the function behind it, the
/// folder that a relative path is relative to, and what it says when it fails.
macro_rules! opening {
    ($symbol:ident[$($before:ident: $before_kind:ty)?]($($after:ident: $kind:ty),*) -> $answer:ty,
     $next:ident: $next_kind:ty, $folder:expr, $failed:expr) => {
        /// The function of libc with this name.
        ///
        /// # Safety
        /// As in libc.
        #[no_mangle]
        pub unsafe extern "C" fn $symbol(
            $($before: $before_kind,)? path: *const c_char, $($after: $kind),*
        ) -> $answer {
            let next: $next_kind = libc_next::$next();
            // SAFETY: the caller has promised a string that ends with a zero, or a bad address;
            // redirect() looks at it only if paths were named, as libc would have to.
            let queue = unsafe { redirect($folder, path) };
            let there = queue.as_ref().and_then(Queue::path).map_or(path, CStr::as_ptr);
            // SAFETY: the caller's arguments, or a path of ours that ends with a zero.
            let answer = unsafe { next($($before,)? there, $($after),*) };
            if queue.is_some() && answer != $failed {
                setup::ledger().count(Entry::Opens);
            }
            answer
        }
    };
}

const HERE: c_int = libc::AT_FDCWD;
const NO_FILE: *mut libc::FILE = core::ptr::null_mut();

opening!(open[](flags: c_int, mode: libc::mode_t) -> c_int, open: Open, HERE, -1);
opening!(open64[](flags: c_int, mode: libc::mode_t) -> c_int, open64: Open, HERE, -1);
opening!(openat[folder: c_int](flags: c_int, mode: libc::mode_t) -> c_int, openat: OpenAt, folder, -1);
opening!(openat64[folder: c_int](flags: c_int, mode: libc::mode_t) -> c_int, openat64: OpenAt, folder, -1);
opening!(__open_2[](flags: c_int) -> c_int, open_2: Open2, HERE, -1);
opening!(__open64_2[](flags: c_int) -> c_int, open64_2: Open2, HERE, -1);
opening!(__openat_2[folder: c_int](flags: c_int) -> c_int, openat_2: OpenAt2, folder, -1);
opening!(__openat64_2[folder: c_int](flags: c_int) -> c_int, openat64_2: OpenAt2, folder, -1);
opening!(creat[](mode: libc::mode_t) -> c_int, creat: Creat, HERE, -1);
opening!(creat64[](mode: libc::mode_t) -> c_int, creat64: Creat, HERE, -1);
opening!(fopen[](mode: *const c_char) -> *mut libc::FILE, fopen: Fopen, HERE, NO_FILE);
opening!(fopen64[](mode: *const c_char) -> *mut libc::FILE, fopen64: Fopen, HERE, NO_FILE);
opening!(freopen[](mode: *const c_char, file: *mut libc::FILE) -> *mut libc::FILE, freopen: Freopen, HERE, NO_FILE);
opening!(freopen64[](mode: *const c_char, file: *mut libc::FILE) -> *mut libc::FILE, freopen64: Freopen, HERE, NO_FILE);

impl Queue {
    fn path(&self) -> Option<&CStr> {
        self.0.as_c_str()
    }
}

/// # Safety
/// `path` is null or a string that ends with a zero.
unsafe fn redirect(folder: c_int, path: *const c_char) -> Option<Queue> {
    let state = setup::get();
    if path.is_null() || state.paths.as_bytes().is_empty() {
        return None;
    }
    // SAFETY: the caller's promise, and it is not null.
    let path = unsafe { CStr::from_ptr(path) };
    let errno = kernel::errno();
    let queue = absolute(folder, path).and_then(|full| find(&state.paths, &full));
    let queue = queue.filter(|_| is_fifo_or_nothing(folder, path));
    kernel::set_errno(errno);
    queue
}

/// The path from the root, without `.`, `..` and double slashes. Symbolic links stay as they are.
fn absolute(folder: c_int, path: &CStr) -> Option<PathText> {
    let mut start = [0; PATHS_MAX_BYTES];
    let path = path.to_bytes();
    let start = match path {
        [b'/', ..] => &[],
        // Relative to an open folder: not reached, except by FIFOs' own names.
        _ if folder != libc::AT_FDCWD => return None,
        _ => {
            let len = kernel::working_folder(&mut start)?;
            start.get(..len)?
        }
    };
    let mut full = PathText::new();
    let parts = [start, path];
    let parts = parts
        .iter()
        .flat_map(|part| part.split(|&byte| byte == b'/'));
    for part in parts {
        match part {
            b"" | b"." => {}
            b".." => full.pop_from_last(b'/'),
            name => {
                full.push(b"/");
                full.push(name);
            }
        }
    }
    Some(full)
}

/// The first line whose pattern matches.
fn find(lines: &Text<PATHS_MAX_BYTES>, path: &PathText) -> Option<Queue> {
    let path = path.as_c_str()?;
    lines
        .as_bytes()
        .split(|&byte| byte == b'\n')
        .find_map(|line| {
            let equals = line.iter().rposition(|&byte| byte == b'=')?;
            let number = parse_number(&line[equals + 1..])?;
            let mut pattern = PathText::new();
            pattern.push(&line[..equals]);
            let pattern = pattern.as_c_str()?;
            // SAFETY: both strings end with a zero.
            let matches =
                unsafe { libc::fnmatch(pattern.as_ptr(), path.as_ptr(), libc::FNM_PATHNAME) };
            (matches == 0).then(|| {
                let mut queue = Text::new();
                queue.push(b"/dev/kpipe");
                queue.push_number(number);
                Queue(queue)
            })
        })
}

fn is_fifo_or_nothing(folder: c_int, path: &CStr) -> bool {
    match kernel::stat_at(folder, path) {
        Ok(status) => status.st_mode & libc::S_IFMT == libc::S_IFIFO,
        Err(errno) => errno == libc::ENOENT,
    }
}

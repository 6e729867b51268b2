// SPDX-License-Identifier: GPL-2.0

//! Error numbers that `kernel::error` of 7.2 does not have.

use kernel::bindings;
use kernel::prelude::*;

/// `EOPNOTSUPP`: this does not go together.
pub fn not_supported() -> Error {
    Error::from_errno(-(bindings::EOPNOTSUPP as c_int))
}

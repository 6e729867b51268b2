// SPDX-License-Identifier: MIT

//! [`Text`]: a short string that needs no allocation.

use core::ffi::CStr;

/// Up to `N` - 1 bytes and a zero. What does not fit makes it useless: then it is no string.
pub struct Text<const N: usize> {
    bytes: [u8; N],
    len: usize,
    is_too_long: bool,
}

impl<const N: usize> Text<N> {
    /// Nothing.
    pub const fn new() -> Self {
        Self {
            bytes: [0; N],
            len: 0,
            is_too_long: false,
        }
    }

    /// Adds bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        match self.bytes.get_mut(self.len..self.len + bytes.len() + 1) {
            Some(place) => {
                place[..bytes.len()].copy_from_slice(bytes);
                place[bytes.len()] = 0;
                self.len += bytes.len();
            }
            None => self.is_too_long = true,
        }
    }

    /// Adds a number in decimal.
    pub fn push_number(&mut self, number: u64) {
        let mut digits = [0; 20];
        let mut rest = number;
        let mut first = digits.len();
        loop {
            first -= 1;
            digits[first] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.push(&digits[first..]);
    }

    /// Cuts off what begins with the last `separator`, if there is one.
    pub fn pop_from_last(&mut self, separator: u8) {
        let last = self.bytes[..self.len]
            .iter()
            .rposition(|&byte| byte == separator);
        if let Some(last) = last {
            self.bytes[last] = 0;
            self.len = last;
        }
    }

    /// The bytes, without a zero; none if they did not fit.
    pub fn as_bytes(&self) -> &[u8] {
        if self.is_too_long {
            return &[];
        }
        &self.bytes[..self.len]
    }

    /// The string, unless it did not fit.
    pub fn as_c_str(&self) -> Option<&CStr> {
        if self.is_too_long {
            return None;
        }
        CStr::from_bytes_until_nul(&self.bytes).ok()
    }
}

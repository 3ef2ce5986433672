//! Deterministic CBOR (RFC 8949 §4.2.1), as much of it as a manifest needs (SPEC section 7.2).

use alloc::vec::Vec;
use core::ops::Range;

use crate::error::{Error, ErrorCode, Result};
use crate::limits::{MAX_CBOR_DEPTH, MAX_MANIFEST_LEN};

/// Keys in order, each with where it was.
pub(crate) fn sorted<'k>(keys: impl Iterator<Item = &'k [u8]>) -> Vec<(&'k [u8], usize)> {
    let mut order: Vec<_> = keys.enumerate().map(|(at, key)| (key, at)).collect();
    order.sort_unstable();
    order
}

/// Writes one item after another. Maps sort themselves.
#[derive(Debug, Default)]
pub struct Writer {
    out: Vec<u8>,
    depth: usize,
}

impl Writer {
    /// Nothing written yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What was written.
    ///
    /// # Errors
    /// `limit_exceeded`.
    pub fn finish(self) -> Result<Vec<u8>> {
        if self.out.len() > MAX_MANIFEST_LEN { Err(TOO_LONG) } else { Ok(self.out) }
    }

    /// `null`.
    pub fn null(&mut self) {
        self.out.push(0xF6);
    }

    /// `false` or `true`.
    pub fn bool(&mut self, value: bool) {
        self.out.push(if value { 0xF5 } else { 0xF4 });
    }

    /// An integer, -2^64 … 2^64-1.
    ///
    /// # Errors
    /// `invalid_argument`.
    pub fn int(&mut self, value: i128) -> Result<()> {
        const RANGE: Error = Error::new(ErrorCode::InvalidArgument, "an integer in a checkpoint's fields is outside -2^64 to 2^64-1");
        let (major, argument) = if value < 0 { (1, -1 - value) } else { (0, value) };
        self.head(major, u64::try_from(argument).map_err(|_| RANGE)?);
        Ok(())
    }

    /// A finite float: an integer if it is one of at most 2^53 in magnitude, else the shortest form that keeps its value.
    ///
    /// # Errors
    /// `invalid_argument`.
    #[expect(clippy::cast_possible_truncation, reason = "each narrower form is used only if it gives the same value back")]
    pub fn float(&mut self, value: f64) -> Result<()> {
        const EXACT: f64 = 9_007_199_254_740_992.0;
        if !value.is_finite() {
            return Err(Error::new(ErrorCode::InvalidArgument, "a number in a checkpoint's fields is not finite"));
        }
        if value.abs() <= EXACT && value == (value as i64) as f64 {
            return self.int(i128::from(value as i64));
        }
        let single = value as f32;
        if f64::from(single) != value {
            self.out.push(0xFB);
            self.out.extend_from_slice(&value.to_bits().to_be_bytes());
        } else if let Some(half) = half_bits(single) {
            self.out.push(0xF9);
            self.out.extend_from_slice(&half.to_be_bytes());
        } else {
            self.out.push(0xFA);
            self.out.extend_from_slice(&single.to_bits().to_be_bytes());
        }
        Ok(())
    }

    /// A text.
    pub fn text(&mut self, value: &str) {
        self.head(3, value.len() as u64);
        self.out.extend_from_slice(value.as_bytes());
    }

    /// A byte string.
    pub fn bytes(&mut self, value: &[u8]) {
        self.head(2, value.len() as u64);
        self.out.extend_from_slice(value);
    }

    /// An array of `len` items, which `items` writes.
    ///
    /// # Errors
    /// `limit_exceeded` (nesting, length) and what `items` answers.
    pub fn array<E: From<Error>>(&mut self, len: usize, items: impl FnOnce(&mut Self) -> core::result::Result<(), E>) -> core::result::Result<(), E> {
        self.nested(|writer| {
            writer.head(4, len as u64);
            items(writer)
        })
    }

    /// A map, whose entries `entries` writes in any order.
    ///
    /// # Errors
    /// `invalid_argument` (a key twice, or another number of entries than `len`), `limit_exceeded` (nesting, length) and what `entries` answers.
    pub fn map<E: From<Error>>(
        &mut self,
        len: usize,
        entries: impl FnOnce(&mut Entries<'_>) -> core::result::Result<(), E>,
    ) -> core::result::Result<(), E> {
        self.nested(|writer| {
            writer.head(5, len as u64);
            let start = writer.out.len();
            let mut written = Entries { writer, entries: Vec::with_capacity(len.min(1024)) };
            entries(&mut written)?;
            let entries = written.entries;
            if entries.len() != len {
                return Err(Error::new(ErrorCode::InvalidArgument, "a map in a checkpoint's fields changed while it was written").into());
            }
            writer.sort(start, &entries)?;
            Ok(())
        })
    }

    fn nested<E: From<Error>>(&mut self, write: impl FnOnce(&mut Self) -> core::result::Result<(), E>) -> core::result::Result<(), E> {
        if self.depth >= MAX_CBOR_DEPTH {
            return Err(Error::new(ErrorCode::LimitExceeded, "a checkpoint's fields are nested deeper than MAX_CBOR_DEPTH").into());
        }
        if self.out.len() > MAX_MANIFEST_LEN {
            return Err(TOO_LONG.into());
        }
        self.depth += 1;
        let written = write(self);
        self.depth -= 1;
        written
    }

    /// Puts the entries of a map, which lie from `start` on, in the order of their encoded keys.
    fn sort(&mut self, start: usize, entries: &[(Range<usize>, usize)]) -> Result<()> {
        let key = |(key, _): &(Range<usize>, usize)| self.out.get(key.clone()).unwrap_or_default();
        if !entries.is_sorted_by(|left, right| key(left) < key(right)) {
            let order = sorted(entries.iter().map(key));
            if order.windows(2).any(|pair| matches!(pair, [left, right] if left.0 == right.0)) {
                return Err(Error::new(ErrorCode::InvalidArgument, "a map in a checkpoint's fields has a key twice"));
            }
            let mut sorted = Vec::with_capacity(self.out.len() - start);
            for (key, end) in order.iter().filter_map(|(_, at)| entries.get(*at)) {
                sorted.extend_from_slice(self.out.get(key.start..*end).unwrap_or_default());
            }
            self.out.truncate(start);
            self.out.append(&mut sorted);
        }
        Ok(())
    }

    /// The shortest head for an argument.
    fn head(&mut self, major: u8, argument: u64) {
        let major = major << 5;
        let bytes = argument.to_be_bytes();
        let (info, len) = match argument {
            0..=23 => return self.out.push(major | bytes[7]),
            24..=0xFF => (24, 1),
            0x100..=0xFFFF => (25, 2),
            0x1_0000..=0xFFFF_FFFF => (26, 4),
            _ => (27, 8),
        };
        self.out.push(major | info);
        self.out.extend_from_slice(bytes.get(8 - len..).unwrap_or_default());
    }
}

/// The entries of a map that is being written.
#[derive(Debug)]
pub struct Entries<'w> {
    writer: &'w mut Writer,
    /// Where each key lies, and where its value ends.
    entries: Vec<(Range<usize>, usize)>,
}

impl Entries<'_> {
    /// A key, and the one item that `value` writes.
    ///
    /// # Errors
    /// What `value` answers.
    pub fn entry<E: From<Error>>(
        &mut self,
        key: &str,
        value: impl FnOnce(&mut Writer) -> core::result::Result<(), E>,
    ) -> core::result::Result<(), E> {
        let start = self.writer.out.len();
        self.writer.text(key);
        let end = self.writer.out.len();
        value(self.writer)?;
        self.entries.push((start..end, self.writer.out.len()));
        Ok(())
    }
}

/// Reads items strictly: heads are the shortest, lengths definite.
#[derive(Debug)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    /// The argument of the next head, which has this major type.
    pub(crate) fn head(&mut self, major: u8) -> Result<u64> {
        let (&first, rest) = self.0.split_first().ok_or(BROKEN)?;
        if first >> 5 != major {
            return Err(BROKEN);
        }
        let (argument, least, rest) = match first & 0x1F {
            info @ 0..=23 => (u64::from(info), 0, rest),
            24 => take::<1>(rest).map(|(bytes, rest)| (u64::from(bytes[0]), 24, rest))?,
            25 => take(rest).map(|(bytes, rest)| (u64::from(u16::from_be_bytes(bytes)), 1 << 8, rest))?,
            26 => take(rest).map(|(bytes, rest)| (u64::from(u32::from_be_bytes(bytes)), 1 << 16, rest))?,
            27 => take(rest).map(|(bytes, rest)| (u64::from_be_bytes(bytes), 1 << 32, rest))?,
            _ => return Err(BROKEN),
        };
        if argument < least {
            return Err(BROKEN);
        }
        self.0 = rest;
        Ok(argument)
    }

    pub(crate) fn bool(&mut self) -> Result<bool> {
        match self.head(7)? {
            20 => Ok(false),
            21 => Ok(true),
            _ => Err(BROKEN),
        }
    }

    pub(crate) fn text(&mut self) -> Result<&'a str> {
        core::str::from_utf8(self.string(3)?).map_err(|_| BROKEN)
    }

    pub(crate) fn text_or_null(&mut self) -> Result<Option<&'a str>> {
        if self.0.first() == Some(&0xF6) {
            self.0 = self.0.get(1..).unwrap_or_default();
            return Ok(None);
        }
        self.text().map(Some)
    }

    pub(crate) fn byte_array<const N: usize>(&mut self) -> Result<&'a [u8; N]> {
        self.string(2)?.try_into().map_err(|_| BROKEN)
    }

    pub(crate) fn end(&self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(BROKEN) }
    }

    fn string(&mut self, major: u8) -> Result<&'a [u8]> {
        let len = usize::try_from(self.head(major)?).map_err(|_| BROKEN)?;
        let (string, rest) = self.0.split_at_checked(len).ok_or(BROKEN)?;
        self.0 = rest;
        Ok(string)
    }
}

fn take<const N: usize>(bytes: &[u8]) -> Result<([u8; N], &[u8])> {
    bytes.split_first_chunk().map(|(head, rest)| (*head, rest)).ok_or(BROKEN)
}

/// The binary16 bits of a single that has that value exactly.
fn half_bits(value: f32) -> Option<u16> {
    let bits = value.to_bits();
    let sign = (bits >> 16) & 0x8000;
    let exponent = i32::try_from((bits >> 23) & 0xFF).ok()? - 127;
    let mantissa = bits & 0x7F_FFFF;
    let half = match exponent {
        -14..=15 if mantissa.trailing_zeros() >= 13 => {
            let biased = u32::try_from(exponent + 15).ok()?;
            (biased << 10) | (mantissa >> 13)
        }
        // Subnormal in binary16: the implicit bit becomes explicit and everything moves right.
        -24..=-15 => {
            let shift = u32::try_from(-1 - exponent).ok()?;
            let significand = mantissa | 0x80_0000;
            if significand.trailing_zeros() < shift {
                return None;
            }
            significand >> shift
        }
        _ => return None,
    };
    u16::try_from(sign | half).ok()
}

const BROKEN: Error = Error::new(ErrorCode::Malformed, "the manifest record is no deterministic CBOR of its form");
pub(crate) const TOO_LONG: Error = Error::new(ErrorCode::LimitExceeded, "a checkpoint's names and versions are longer than MAX_MANIFEST_LEN");

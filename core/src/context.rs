//! Contexts: what an envelope is bound to (SPEC section 3).

use alloc::{format, vec::Vec};
use core::fmt;
use core::ops::Range;

use crate::error::{Error, ErrorCode, Result};
use crate::limits::{MAX_CONTEXT_BYTES, MAX_CONTEXT_KEY_LEN, MAX_CONTEXT_PAIRS, MAX_TENANT_LEN, MIN_CONTEXT_PAIRS};

const TENANT: &str = "tenant";
const PURPOSE: &str = "purpose";
const VERSION: &str = "version";

/// A value before it is encoded (SPEC section 3.1).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// Itself; under the key `version`, `s:` and itself.
    Text(&'a str),
    /// `i:` and its decimal digits; -2^63 … 2^64-1.
    Int(i128),
    /// `i:` if it is integral and at most 2^53 in magnitude, `f:` and the bits otherwise.
    Float(f64),
    /// Netstrings.
    List(&'a [&'a str]),
}

/// An immutable, encoded set of pairs. `Debug` shows its keys only.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Context {
    canonical: Vec<u8>,
    count: u16,
    /// Where the tenant lies in the canonical bytes: every seal and open compares it.
    tenant: Range<usize>,
}

impl Context {
    /// What every context extends, and none itself. (What is merged writes the count of its pairs.)
    pub(crate) const EMPTY: Self = Self { canonical: Vec::new(), count: 0, tenant: 0..0 };

    /// Encodes a context. The pairs come in any order.
    ///
    /// # Errors
    /// `tenant_required`, `invalid_context`.
    pub fn new(pairs: &[(&str, Value<'_>)]) -> Result<Self> {
        Self::EMPTY.extend(pairs)
    }

    /// This context with more pairs. None may be there already.
    ///
    /// # Errors
    /// `invalid_context`.
    pub fn extend(&self, pairs: &[(&str, Value<'_>)]) -> Result<Self> {
        self.merged(pairs)?.checked()
    }

    /// Reads canonical bytes, strictly.
    ///
    /// # Errors
    /// `tenant_required`, `invalid_context`.
    pub fn from_canonical(bytes: &[u8]) -> Result<Self> {
        const BROKEN: Error = invalid("the canonical form of a context is broken");
        if bytes.len() > MAX_CONTEXT_BYTES {
            return Err(TOO_LONG);
        }
        let (count, mut rest) = bytes.split_first_chunk::<2>().ok_or(BROKEN)?;
        let count = u16::from_be_bytes(*count);
        let mut previous: Option<&str> = None;
        for _ in 0..count {
            let (key, after) = split_field(rest).ok_or(BROKEN)?;
            let (value, after) = split_field(after).ok_or(BROKEN)?;
            let key = core::str::from_utf8(key).map_err(|_| BROKEN)?;
            core::str::from_utf8(value).map_err(|_| BROKEN)?;
            check_key(key)?;
            if previous.is_some_and(|previous| previous >= key) {
                return Err(invalid("the keys of a context are strictly increasing"));
            }
            previous = Some(key);
            rest = after;
        }
        if !rest.is_empty() {
            return Err(BROKEN);
        }
        Self { canonical: bytes.into(), count, tenant: 0..0 }.checked()
    }

    /// The canonical bytes.
    #[must_use]
    pub fn canonical(&self) -> &[u8] {
        &self.canonical
    }

    /// Whose data it is.
    #[must_use]
    pub fn tenant(&self) -> &str {
        self.canonical.get(self.tenant.clone()).and_then(|tenant| core::str::from_utf8(tenant).ok()).unwrap_or_default()
    }

    /// What kind of value it names the place of.
    #[must_use]
    pub fn purpose(&self) -> &str {
        self.get(PURPOSE).unwrap_or_default()
    }

    /// The encoded value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.iter().find_map(|(name, value)| (name == key).then_some(value))
    }

    /// The pairs in canonical order, values encoded.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields().filter_map(|(key, value)| Some((core::str::from_utf8(key).ok()?, core::str::from_utf8(value).ok()?)))
    }

    /// The same as bytes. They were checked to be UTF-8 when they came in.
    fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest = self.canonical.get(2..).unwrap_or_default();
        core::iter::from_fn(move || {
            let (key, after) = split_field(rest)?;
            let (value, after) = split_field(after)?;
            rest = after;
            Some((key, value))
        })
    }

    /// Merges sorted new pairs into the sorted ones that are there.
    fn merged(&self, pairs: &[(&str, Value<'_>)]) -> Result<Self> {
        let count = pairs.len() + usize::from(self.count);
        if count > MAX_CONTEXT_PAIRS {
            return Err(invalid("a context has at most 32 pairs"));
        }
        // So few are sooner inserted than sorted.
        let mut added: Vec<&(&str, Value<'_>)> = Vec::with_capacity(pairs.len());
        for pair in pairs {
            added.insert(added.partition_point(|(key, _)| *key < pair.0), pair);
        }
        let mut canonical = Vec::with_capacity(self.canonical.len() + 32 * added.len());
        let count = u16::try_from(count).map_err(|_| TOO_LONG)?;
        canonical.extend_from_slice(&count.to_be_bytes());
        let mut present = self.fields().peekable();
        let mut previous: Option<&str> = None;
        for (key, value) in added {
            check_key(key)?;
            while let Some((name, encoded)) = present.next_if(|(name, _)| *name < key.as_bytes()) {
                put_field(&mut canonical, &[name])?;
                put_field(&mut canonical, &[encoded])?;
            }
            if previous == Some(key) || present.peek().is_some_and(|(name, _)| *name == key.as_bytes()) {
                return Err(Error::with(ErrorCode::InvalidContext, format!("the context has the key \"{key}\" twice")));
            }
            previous = Some(key);
            put_field(&mut canonical, &[key.as_bytes()])?;
            put_value(&mut canonical, key, *value)?;
        }
        for (name, encoded) in present {
            put_field(&mut canonical, &[name])?;
            put_field(&mut canonical, &[encoded])?;
        }
        if canonical.len() > MAX_CONTEXT_BYTES {
            return Err(TOO_LONG);
        }
        Ok(Self { canonical, count, tenant: 0..0 })
    }

    /// The rules beyond the form, and where the tenant lies.
    fn checked(mut self) -> Result<Self> {
        let (mut tenant, mut purpose_len, mut end) = (0..0, 0, 2);
        for (key, value) in self.fields() {
            end += 4 + key.len() + value.len();
            if key == TENANT.as_bytes() {
                tenant = end - value.len()..end;
            } else if key == PURPOSE.as_bytes() {
                purpose_len = value.len();
            }
        }
        self.tenant = tenant;
        check_tenant(self.tenant())?;
        if purpose_len == 0 {
            return Err(invalid("a context needs a purpose"));
        }
        if usize::from(self.count) < MIN_CONTEXT_PAIRS || usize::from(self.count) > MAX_CONTEXT_PAIRS {
            return Err(invalid("a context has 2 to 32 pairs"));
        }
        Ok(self)
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Context")?;
        f.debug_set().entries(self.iter().map(|(key, _)| key)).finish()
    }
}

/// A tenant has 1 to 1,024 bytes.
pub(crate) fn check_tenant(tenant: &str) -> Result<()> {
    if tenant.is_empty() {
        return Err(Error::new(ErrorCode::TenantRequired, "a tenant is required: nothing is sealed or opened for nobody"));
    }
    if tenant.len() > MAX_TENANT_LEN { Err(LONG_TENANT) } else { Ok(()) }
}

pub(crate) const LONG_TENANT: Error = invalid("a tenant has at most 1,024 bytes");
const LONG_INT: Error = invalid("an integer in a context has 64 bits");
const TOO_LONG: Error = invalid("a context has at most 65,536 bytes");

const fn invalid(message: &'static str) -> Error {
    Error::new(ErrorCode::InvalidContext, message)
}

fn check_key(key: &str) -> Result<()> {
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-');
    if key.is_empty() || key.len() > MAX_CONTEXT_KEY_LEN || !key.bytes().all(allowed) {
        return Err(invalid("a context's keys are 1 to 64 characters of a-z, 0-9, '_', '.' and '-'"));
    }
    Ok(())
}

fn put_value(out: &mut Vec<u8>, key: &str, value: Value<'_>) -> Result<()> {
    /// 2^53: up to here every integer is a float.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Int(_) | Value::Float(_) | Value::List(_) if key == TENANT || key == PURPOSE => Err(invalid("a tenant and a purpose are strings")),
        Value::List(_) if key == VERSION => Err(invalid("a version is a string or a number")),
        Value::Text(text) => put_field(out, &[if key == VERSION { b"s:" } else { b"" }, text.as_bytes()]),
        Value::Int(int) if int < i128::from(i64::MIN) || int > i128::from(u64::MAX) => Err(LONG_INT),
        Value::Int(int) => put_int(out, int),
        Value::Float(float) if !float.is_finite() => Err(invalid("a number in a context is finite")),
        #[expect(clippy::cast_possible_truncation, reason = "checked: integral and at most 2^53 in magnitude")]
        Value::Float(float) if float.abs() <= EXACT && float == (float as i64) as f64 => put_int(out, i128::from(float as i64)),
        Value::Float(float) => put_field(out, &[b"f:", base16ct::lower::encode_string(&float.to_bits().to_be_bytes()).as_bytes()]),
        Value::List(items) => {
            let mut netstrings = Vec::new();
            for item in items {
                netstrings.extend_from_slice(format!("{}:", item.len()).as_bytes());
                netstrings.extend_from_slice(item.as_bytes());
                netstrings.push(b',');
            }
            put_field(out, &[&netstrings])
        }
    }
}

fn put_int(out: &mut Vec<u8>, int: i128) -> Result<()> {
    let magnitude = u64::try_from(int.unsigned_abs()).map_err(|_| LONG_INT)?;
    let sign = if int < 0 { "-" } else { "" };
    put_field(out, &[format!("i:{sign}{magnitude}").as_bytes()])
}

/// A length of two bytes and the parts of a value.
fn put_field(out: &mut Vec<u8>, parts: &[&[u8]]) -> Result<()> {
    let len = parts.iter().map(|part| part.len()).sum::<usize>();
    out.extend_from_slice(&u16::try_from(len).map_err(|_| TOO_LONG)?.to_be_bytes());
    for part in parts {
        out.extend_from_slice(part);
    }
    Ok(())
}

fn split_field(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<2>()?;
    let (field, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
    Some((field, rest))
}

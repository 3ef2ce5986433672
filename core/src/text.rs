//! The text forms (SPEC section 5): a prefix and strict base64url.

use alloc::{string::String, vec, vec::Vec};

use base64::{Engine as _, decoded_len_estimate, engine::general_purpose::URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use crate::envelope::{Kind, MAGIC};
use crate::error::{Error, ErrorCode, Result};

const DATA: &str = "sealpoint:v1:";
const WRAPPED_KEY: &str = "sealpoint-wrap:v1:";
/// What every text form of every kind and version begins with.
const FAMILIES: [&str; 2] = ["sealpoint:", "sealpoint-"];

/// The text of an envelope.
#[must_use]
pub fn encode(envelope: &[u8], kind: Kind) -> String {
    let prefix = match kind {
        Kind::Data => DATA,
        Kind::WrappedKey => WRAPPED_KEY,
    };
    with_prefix(prefix, envelope)
}

/// The envelope of a text. The envelope itself is not parsed yet.
///
/// # Errors
/// `plaintext_refused`, `unsupported_version`, `malformed`.
pub fn decode(text: &str, kind: Kind) -> Result<Vec<u8>> {
    let (prefix, family) = match kind {
        Kind::Data => (DATA, "sealpoint:"),
        Kind::WrappedKey => (WRAPPED_KEY, "sealpoint-wrap:"),
    };
    let encoded = without_prefix(text, prefix, family)?;
    // What has the prefix never passes as plaintext: bytes without the magic are a broken envelope, not an unsealed value.
    let bytes = decode_base64(encoded.as_bytes()).unwrap_or_default();
    if bytes.first() != Some(&MAGIC) {
        return Err(Error::new(ErrorCode::Malformed, "the text is not the strict base64url of an envelope"));
    }
    Ok(bytes)
}

/// A prefix and base64url, in one allocation.
pub(crate) fn with_prefix(prefix: &str, bytes: &[u8]) -> String {
    let mut text = Vec::with_capacity(prefix.len() + bytes.len().div_ceil(3) * 4);
    text.extend_from_slice(prefix.as_bytes());
    text.resize(text.capacity(), 0);
    let encoded = URL_SAFE_NO_PAD.encode_slice(bytes, text.get_mut(prefix.len()..).unwrap_or_default()).unwrap_or_default();
    text.truncate(prefix.len() + encoded);
    String::from_utf8(text).unwrap_or_default()
}

/// What follows the prefix of one kind (step 1 of SPEC section 8). `family` is the prefix without its version.
pub(crate) fn without_prefix<'t>(text: &'t str, prefix: &str, family: &str) -> Result<&'t str> {
    text.strip_prefix(prefix).ok_or_else(|| {
        if text.starts_with(family) {
            Error::new(ErrorCode::UnsupportedVersion, "this release knows version 1 of the text form; a newer one may open this")
        } else if has_prefix(text.as_bytes()) {
            Error::new(
                ErrorCode::Malformed,
                "another kind of text was expected here: sealpoint: is data, sealpoint-wrap: a wrapped key, sealpoint-key: an exported key",
            )
        } else {
            Error::new(ErrorCode::PlaintextRefused, "this is not sealed: it does not begin like an envelope")
        }
    })
}

/// Strict base64url of what is secret: wiped also where it turns out to be none, as which it is empty.
pub(crate) fn decode_secret(encoded: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(decode_base64(encoded).unwrap_or_default())
}

/// Strict base64url. What turns out to be none is wiped.
fn decode_base64(encoded: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Zeroizing::new(vec![0; decoded_len_estimate(encoded.len())]);
    let len = URL_SAFE_NO_PAD.decode_slice(encoded, &mut bytes).ok()?;
    bytes.truncate(len);
    Some(core::mem::take(&mut *bytes))
}

/// Whether bytes begin like a text form, of whatever kind and version.
pub(crate) fn has_prefix(bytes: &[u8]) -> bool {
    FAMILIES.iter().any(|family| bytes.starts_with(family.as_bytes()))
}

/// Whether a value begins like anything sealed: such a value never passes as plaintext.
#[must_use]
pub fn is_sealed(bytes: &[u8]) -> bool {
    bytes.first() == Some(&MAGIC) || has_prefix(bytes)
}

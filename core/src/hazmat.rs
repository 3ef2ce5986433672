//! The parts of the format one by one, for known-answer tests only.
//!
//! **Dangerous.** These functions take salts and keys of the caller's choice, give derived keys away and have no tenant, no purpose and no context that
//! anybody checked. A salt that is used twice breaks confidentiality and integrity of both messages. No shipped binding enables the feature `hazmat`, and
//! `tests/check_core.sh` proves it.

use alloc::{vec, vec::Vec};

use zeroize::Zeroizing;

use crate::backend::Aead;
use crate::chunked::{self, COMMITMENT_LEN, MessageKey, SALT_LEN, Source, StreamKeys};
use crate::context::Context;
use crate::dek::{self, DekPurpose};
use crate::envelope::{self, HEADER_LEN, KEY_ID_LEN};
use crate::error::{Error, ErrorCode, Result};
use crate::expand::Expander;
use crate::kek::{self, Kek};
use crate::padding;
use crate::secret::Secret;

/// What a message of C2SP chunked encryption begins with: salt and commitment.
pub const MESSAGE_HEADER_LEN: usize = SALT_LEN + COMMITMENT_LEN;

/// `Expand` of SPEC section 2, with a pseudorandom key of any length (HKDF-Expand with SHA-512, RFC 5869), at most 128 bytes.
///
/// # Errors
/// `internal`: more than 128 bytes.
pub fn expand(prk: &[u8], info: &[u8], out: &mut [u8]) -> Result<()> {
    Expander::of_any_length(prk)?.expand_into(&[info], out)
}

/// `K_body` of SPEC section 2.
///
/// # Errors
/// `internal`.
pub fn body_key(dek: &Secret, suite: u8, purpose: DekPurpose, dek_id: &[u8; KEY_ID_LEN]) -> Result<Secret> {
    dek::body_key(&Expander::new(dek.expose())?, suite, purpose, dek_id)
}

/// `K_wrap` of SPEC section 2.
///
/// # Errors
/// `internal`.
pub fn wrap_key(kek: &Secret) -> Result<Secret> {
    kek::wrap_key(&Expander::new(kek.expose())?, Kek::from_secret(kek)?.kek_id())
}

/// `ctx` of SPEC section 4.
#[must_use]
pub fn context_hash(header: &[u8; HEADER_LEN], context: &Context) -> [u8; 32] {
    envelope::context_hash(header, context)
}

/// `K`, `base_nonce` and `commitment` of SPEC section 4, one after another.
///
/// # Errors
/// `internal`.
pub fn stream_keys(input_key: &[u8; 32], salt: &[u8; SALT_LEN], context: &[u8]) -> Result<Zeroizing<[u8; 76]>> {
    chunked::stream_keys(&Expander::new(input_key)?, salt, context)
}

/// `bucket` of SPEC section 4.1.
#[must_use]
pub const fn bucket(len: usize) -> usize {
    padding::bucket(len)
}

/// A C2SP chunked encryption, Cobblestone-256, under any key and context: salt, commitment, chunks.
///
/// # Errors
/// `internal`.
pub fn chunked_seal<A: Aead>(input_key: &[u8; 32], salt: &[u8; SALT_LEN], context: &[u8], plaintext: &[u8]) -> Result<Vec<u8>> {
    let (keys, commitment) = StreamKeys::derive(&Expander::new(input_key)?, salt, context)?;
    let mut message = vec![0; MESSAGE_HEADER_LEN + chunked::body_len(plaintext.len())];
    let (header, body) = message.split_at_mut(MESSAGE_HEADER_LEN);
    header.copy_from_slice(&[salt.as_slice(), &commitment].concat());
    MessageKey::<A>::new(&keys)?.seal(&Source { prefix: &[], payload: plaintext, len: plaintext.len() }, body)?;
    Ok(message)
}

/// Opens what [`chunked_seal`] makes.
///
/// # Errors
/// `malformed` (no valid length), `authentication_failed`.
pub fn chunked_open<A: Aead>(input_key: &[u8; 32], context: &[u8], message: &[u8]) -> Result<Vec<u8>> {
    const CUT_OFF: Error = Error::new(ErrorCode::Malformed, "the message is cut off");
    let (salt, rest) = message.split_first_chunk::<SALT_LEN>().ok_or(CUT_OFF)?;
    let (commitment, body) = rest.split_first_chunk::<COMMITMENT_LEN>().ok_or(CUT_OFF)?;
    let mut plaintext = vec![0; chunked::plaintext_len(body.len()).ok_or(CUT_OFF)?];
    let keys = StreamKeys::verify(&Expander::new(input_key)?, salt, context, commitment)?;
    MessageKey::<A>::new(&keys)?.open(body, 0..usize::MAX, &mut plaintext)?;
    Ok(plaintext)
}

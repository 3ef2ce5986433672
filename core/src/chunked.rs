//! C2SP chunked encryption, Cobblestone-256 (SPEC section 4): salt, commitment, chunks.

use core::ops::Range;

use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, Zeroizing};

use crate::backend::{Aead, NONCE_LEN, TAG_LEN};
use crate::error::{AUTHENTICATION_FAILED, Error, ErrorCode, Result};
use crate::expand::Expander;
use crate::limits::CHUNK_LEN;

pub(crate) const SALT_LEN: usize = 24;
pub(crate) const COMMITMENT_LEN: usize = 32;
const SEALED_CHUNK_LEN: usize = CHUNK_LEN + TAG_LEN;
const LABEL: &[u8] = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0";

/// The length of the chunks for `plaintext_len` bytes: the last chunk is always short, so a multiple of the chunk's length ends with an empty one.
pub(crate) const fn body_len(plaintext_len: usize) -> usize {
    plaintext_len + (plaintext_len / CHUNK_LEN + 1) * TAG_LEN
}

/// The plaintext's length, if `body_len` bytes are a valid chunking.
pub(crate) const fn plaintext_len(body_len: usize) -> Option<usize> {
    let full = body_len / SEALED_CHUNK_LEN;
    match (body_len % SEALED_CHUNK_LEN).checked_sub(TAG_LEN) {
        Some(rest) => Some(full * CHUNK_LEN + rest),
        None => None,
    }
}

/// `okm` of SPEC section 4: key, base nonce and commitment.
pub(crate) fn stream_keys(input_key: &Expander, salt: &[u8; SALT_LEN], context: &[u8]) -> Result<Zeroizing<[u8; 76]>> {
    let mut okm = Zeroizing::new([0_u8; 76]);
    input_key.expand_into(&[LABEL, salt, context], okm.as_mut_slice())?;
    Ok(okm)
}

/// Key and base nonce of one message.
pub(crate) struct StreamKeys(Zeroizing<[u8; 76]>);

impl StreamKeys {
    /// For a new message, and its commitment.
    pub(crate) fn derive(input_key: &Expander, salt: &[u8; SALT_LEN], context: &[u8]) -> Result<(Self, [u8; COMMITMENT_LEN])> {
        let keys = Self(stream_keys(input_key, salt, context)?);
        let (_, _, commitment) = keys.split()?;
        let commitment = *commitment;
        Ok((keys, commitment))
    }

    /// For an existing message, after its commitment was compared: in constant time, before any cipher gets the key.
    pub(crate) fn verify(input_key: &Expander, salt: &[u8; SALT_LEN], context: &[u8], commitment: &[u8; COMMITMENT_LEN]) -> Result<Self> {
        let keys = Self(stream_keys(input_key, salt, context)?);
        let (_, _, expected) = keys.split()?;
        if bool::from(expected.ct_eq(commitment)) { Ok(keys) } else { Err(AUTHENTICATION_FAILED) }
    }

    pub(crate) fn split(&self) -> Result<(&[u8; 32], &[u8; NONCE_LEN], &[u8; COMMITMENT_LEN])> {
        const LENGTHS: Error = Error::new(ErrorCode::Internal, "a derivation of the wrong length");
        let (key, rest) = self.0.split_first_chunk().ok_or(LENGTHS)?;
        let (base_nonce, rest) = rest.split_first_chunk().ok_or(LENGTHS)?;
        Ok((key, base_nonce, rest.first_chunk().ok_or(LENGTHS)?))
    }
}

/// The nonce of a chunk.
pub(crate) fn chunk_nonce(base_nonce: &[u8; NONCE_LEN], number: usize) -> [u8; NONCE_LEN] {
    let mut nonce = *base_nonce;
    let counter = (number as u64).to_be_bytes();
    nonce.iter_mut().rev().zip(counter.iter().rev()).for_each(|(byte, count)| *byte ^= count);
    nonce
}

/// The single-use key of one message.
pub(crate) struct MessageKey<A> {
    aead: A,
    base_nonce: [u8; NONCE_LEN],
}

impl<A: Aead> MessageKey<A> {
    pub(crate) fn new(keys: &StreamKeys) -> Result<Self> {
        let (key, base_nonce, _) = keys.split()?;
        Ok(Self { aead: A::new(key)?, base_nonce: *base_nonce })
    }

    /// Seals `source` into `body`, which has [`body_len`] of the source's length. Chunks that lie within the payload go straight from it to `body`.
    pub(crate) fn seal(&self, source: &Source<'_>, body: &mut [u8]) -> Result<()> {
        if body.len() != body_len(source.len) {
            return Err(Error::new(ErrorCode::Internal, "an output of the wrong length"));
        }
        for (number, chunk) in body.chunks_mut(SEALED_CHUNK_LEN).enumerate() {
            let nonce = chunk_nonce(&self.base_nonce, number);
            let Some((data, tag)) = chunk.split_last_chunk_mut::<TAG_LEN>() else {
                return Err(Error::new(ErrorCode::Internal, "a chunk without room for its tag"));
            };
            let start = number * CHUNK_LEN;
            *tag = match source.payload_range(start, data.len()) {
                Some(payload) => self.aead.seal(&nonce, payload, data)?,
                None => {
                    source.copy(start, data);
                    self.aead.seal_in_place(&nonce, data)?
                }
            };
        }
        Ok(())
    }

    /// Opens the chunks of `body` whose numbers are in `chunks` into `out`, which has exactly their plaintext's length. On an error `out` is wiped.
    pub(crate) fn open(&self, body: &[u8], chunks: Range<usize>, out: &mut [u8]) -> Result<()> {
        let opened = self.open_chunks(body, chunks, out);
        if opened.is_err() {
            out.zeroize();
        }
        opened
    }

    fn open_chunks(&self, body: &[u8], chunks: Range<usize>, out: &mut [u8]) -> Result<()> {
        const WRONG_LENGTH: Error = Error::new(ErrorCode::Internal, "an output of the wrong length");
        let mut rest = out;
        for (number, chunk) in body.chunks(SEALED_CHUNK_LEN).enumerate().take(chunks.end).skip(chunks.start) {
            let (data, tag) = chunk.split_last_chunk::<TAG_LEN>().ok_or(AUTHENTICATION_FAILED)?;
            let (plain, after) = rest.split_at_mut_checked(data.len()).ok_or(WRONG_LENGTH)?;
            self.aead.open(&chunk_nonce(&self.base_nonce, number), data, tag, plain)?;
            rest = after;
        }
        if rest.is_empty() { Ok(()) } else { Err(WRONG_LENGTH) }
    }
}

/// A plaintext in up to three parts, so that nothing has to be staged: what stands before the payload, the payload, and padding to `len`.
pub(crate) struct Source<'a> {
    pub(crate) prefix: &'a [u8],
    pub(crate) payload: &'a [u8],
    /// The whole length. What follows prefix and payload is 0x80 and zeros.
    pub(crate) len: usize,
}

impl<'a> Source<'a> {
    /// The `len` bytes from `start`, if all of them are payload.
    fn payload_range(&self, start: usize, len: usize) -> Option<&'a [u8]> {
        let from = start.checked_sub(self.prefix.len())?;
        self.payload.get(from..from.checked_add(len)?)
    }

    /// Copies the bytes from `start` on.
    fn copy(&self, start: usize, out: &mut [u8]) {
        let mut rest = out;
        let mut skip = start;
        for part in [self.prefix, self.payload, &[0x80]] {
            let from = skip.min(part.len());
            skip -= from;
            let part = part.get(from..).unwrap_or_default();
            let (head, tail) = rest.split_at_mut(part.len().min(rest.len()));
            head.copy_from_slice(part.get(..head.len()).unwrap_or_default());
            rest = tail;
        }
        rest.fill(0);
    }
}

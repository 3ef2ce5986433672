//! Envelopes: the layout of SPEC sections 4 and 6, and the order in which they are parsed (section 8).

use alloc::{string::String, vec::Vec};
use core::fmt;

use sha2::{Digest as _, Sha256};
use zeroize::Zeroize as _;

use crate::backend::{Aead, TAG_LEN};
use crate::chunked::{self, COMMITMENT_LEN, MessageKey, SALT_LEN, Source, StreamKeys};
use crate::context::Context;
use crate::error::{Error, ErrorCode, Result};
use crate::expand::Expander;
use crate::limits::{CHUNK_LEN, MAX_CONTENT_TYPE_LEN, MAX_PAYLOAD_LEN};
use crate::padding;
use crate::secret::fill_random;

/// The first byte of everything binary here.
pub const MAGIC: u8 = 0xC1;
/// The format's version.
pub const VERSION: u8 = 0x01;
/// The one suite: Cobblestone-256.
pub const SUITE: u8 = 0x01;
/// The length of a dek_id or kek_id.
pub const KEY_ID_LEN: usize = 16;

pub(crate) const HEADER_LEN: usize = 5 + KEY_ID_LEN;
/// The length of what stands before the chunks: header, salt, commitment.
pub const HEAD_LEN: usize = HEADER_LEN + SALT_LEN + COMMITMENT_LEN;
const MIN_LEN: usize = HEAD_LEN + TAG_LEN;
const MAX_INNER_LEN: usize = padding::bucket(1 + MAX_CONTENT_TYPE_LEN + MAX_PAYLOAD_LEN + 1);
const MAX_LEN: usize = HEAD_LEN + chunked::body_len(MAX_INNER_LEN);

const SHORT: Error = Error::new(ErrorCode::Malformed, "the envelope is cut off or has no valid length");
const MALFORMED_INNER: Error = Error::new(ErrorCode::Malformed, "what was sealed is no valid inner plaintext");

/// What kind of thing an envelope holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A payload under a DEK.
    Data,
    /// A DEK under a local KEK.
    WrappedKey,
}

impl Kind {
    const fn byte(self) -> u8 {
        match self {
            Self::Data => 0x53,
            Self::WrappedKey => 0x57,
        }
    }
}

/// Whether a payload's length is hidden in a bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Padding {
    /// The envelope shows the payload's exact length.
    #[default]
    None,
    /// The envelope shows a bucket (SPEC section 4.1). For values whose length gives them away.
    Bucket,
}

impl Padding {
    const fn encoding(self) -> u8 {
        match self {
            Self::None => 0x00,
            Self::Bucket => 0x01,
        }
    }
}

/// An opened payload. `Debug` shows its length only.
#[derive(Clone, PartialEq, Eq)]
pub struct Opened {
    /// What the serializer called the payload; may be empty.
    pub content_type: String,
    /// The payload.
    pub payload: Vec<u8>,
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").field("payload_len", &self.payload.len()).finish_non_exhaustive()
    }
}

/// What stands before the chunks of a well-formed envelope (steps 1 to 6 of SPEC section 8). Nothing in it is authenticated yet.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    header: &'a [u8; HEADER_LEN],
    key_id: &'a [u8; KEY_ID_LEN],
    pub(crate) padding: Padding,
    salt: &'a [u8; SALT_LEN],
    commitment: &'a [u8; COMMITMENT_LEN],
    pub(crate) inner_len: usize,
}

impl<'a> Head<'a> {
    /// Takes the beginning of an envelope of the given kind and of `len` bytes apart: `start` is its first [`HEAD_LEN`] bytes, all of it if it is shorter,
    /// or more.
    ///
    /// # Errors
    /// `plaintext_refused`, `malformed`, `unsupported_version`, `unsupported_suite`, `unsupported_encoding`, `limit_exceeded`.
    pub fn parse(start: &'a [u8], len: usize, kind: Kind) -> Result<Self> {
        if start.first() != Some(&MAGIC) {
            return Err(not_an_envelope(start));
        }
        if start.get(1).ok_or(SHORT)? != &kind.byte() {
            return Err(Error::new(ErrorCode::Malformed, "another kind of envelope was expected here"));
        }
        if start.get(2).ok_or(SHORT)? != &VERSION {
            return Err(Error::new(ErrorCode::UnsupportedVersion, "this release knows version 1 of the format; a newer one may open this"));
        }
        if start.get(3).ok_or(SHORT)? != &SUITE {
            return Err(Error::new(ErrorCode::UnsupportedSuite, "this release knows suite 1 (Cobblestone-256)"));
        }
        let padding = match (kind, start.get(4).ok_or(SHORT)?) {
            (_, 0x00) => Padding::None,
            (Kind::Data, 0x01) => Padding::Bucket,
            _ => return Err(Error::new(ErrorCode::UnsupportedEncoding, "this release knows the content encodings plain and padded")),
        };
        let (header, rest) = start.split_first_chunk::<HEADER_LEN>().ok_or(SHORT)?;
        let (salt, rest) = rest.split_first_chunk::<SALT_LEN>().ok_or(SHORT)?;
        let commitment = rest.first_chunk::<COMMITMENT_LEN>().ok_or(SHORT)?;
        let inner_len = len.checked_sub(HEAD_LEN).and_then(chunked::plaintext_len).ok_or(SHORT)?;
        match kind {
            Kind::WrappedKey if inner_len != 32 => return Err(SHORT),
            Kind::Data if len > MAX_LEN => return Err(TOO_LARGE),
            _ => {}
        }
        let key_id = header.last_chunk().ok_or(SHORT)?;
        Ok(Self { header, key_id, padding, salt, commitment, inner_len })
    }

    /// The dek_id, or the kek_id of a wrapped key.
    #[must_use]
    pub const fn key_id(&self) -> &'a [u8; KEY_ID_LEN] {
        self.key_id
    }

    /// The key of the message and its base nonce, after the commitment was compared.
    pub(crate) fn verify(&self, input_key: &Expander, context: &Context) -> Result<StreamKeys> {
        StreamKeys::verify(input_key, self.salt, &context_hash(self.header, context), self.commitment)
    }
}

/// The parts of a well-formed envelope (steps 1 to 6 of SPEC section 8). Nothing in it is authenticated yet.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    head: Head<'a>,
    body: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// Takes an envelope of the given kind apart.
    ///
    /// # Errors
    /// `plaintext_refused`, `malformed`, `unsupported_version`, `unsupported_suite`, `unsupported_encoding`, `limit_exceeded`.
    pub fn parse(bytes: &'a [u8], kind: Kind) -> Result<Self> {
        let head = Head::parse(bytes, bytes.len(), kind)?;
        Ok(Self { head, body: bytes.get(HEAD_LEN..).ok_or(SHORT)? })
    }

    /// The dek_id, or the kek_id of a wrapped key.
    #[must_use]
    pub const fn key_id(&self) -> &'a [u8; KEY_ID_LEN] {
        self.head.key_id
    }

    /// The first 16 bytes of the commitment: what a manifest names a value by (SPEC section 7.2).
    #[must_use]
    pub fn short_commitment(&self) -> [u8; 16] {
        self.head.commitment.first_chunk().copied().unwrap_or_default()
    }

    /// The commitment compared, the message's key.
    fn message_key<A: Aead>(&self, input_key: &Expander, context: &Context) -> Result<MessageKey<A>> {
        MessageKey::new(&self.head.verify(input_key, context)?)
    }

    /// Opens a body that is no inner plaintext but raw bytes (a wrapped key) into `out`, which has their length.
    pub(crate) fn open_raw<A: Aead>(&self, input_key: &Expander, context: &Context, out: &mut [u8]) -> Result<()> {
        self.message_key::<A>(input_key, context)?.open(self.body, 0..usize::MAX, out)
    }

    /// Opens the payload into the buffer that `allocate` gives for its length, and returns the content type.
    ///
    /// Only the first chunk is staged, to learn where the payload begins; the others go straight to the output. A padded payload of several chunks is staged
    /// whole, since its length is known only at its end.
    pub(crate) fn open_into<'o, A, F>(&self, input_key: &Expander, context: &Context, allocate: F) -> Result<String>
    where
        A: Aead,
        F: FnOnce(usize) -> Result<&'o mut [u8]>,
    {
        let key = self.message_key::<A>(input_key, context)?;
        let one_pass = self.head.padding == Padding::None && self.head.inner_len >= CHUNK_LEN;
        let (staged_len, staged_chunks) = if one_pass { (CHUNK_LEN, 0..1) } else { (self.head.inner_len, 0..usize::MAX) };
        let mut staged = Vec::new();
        staged.try_reserve_exact(staged_len).map_err(|_| Error::new(ErrorCode::LimitExceeded, "no memory to open this envelope"))?;
        staged.resize(staged_len, 0);
        key.open(self.body, staged_chunks, &mut staged)?;
        let opened = self.release(&key, &staged, one_pass, allocate);
        if opened.is_err() {
            staged.zeroize();
        }
        opened
    }

    /// Copies what was staged into the output, after the rest was opened.
    fn release<'o, A, F>(&self, key: &MessageKey<A>, staged: &[u8], one_pass: bool, allocate: F) -> Result<String>
    where
        A: Aead,
        F: FnOnce(usize) -> Result<&'o mut [u8]>,
    {
        const WRONG_LENGTH: Error = Error::new(ErrorCode::Internal, "an output of the wrong length");
        let (content_type, head) = split_content_type(inner_of(staged, self.head.padding)?)?;
        let payload_len = head.len() + (self.head.inner_len - staged.len());
        if payload_len > MAX_PAYLOAD_LEN {
            return Err(TOO_LARGE);
        }
        let out = allocate(payload_len)?;
        if out.len() != payload_len {
            return Err(WRONG_LENGTH);
        }
        let (front, back) = out.split_at_mut_checked(head.len()).ok_or(WRONG_LENGTH)?;
        if one_pass {
            key.open(self.body, 1..usize::MAX, back)?;
        }
        front.copy_from_slice(head);
        Ok(content_type.into())
    }
}

/// The length of the envelope for a payload and a content type of these lengths.
///
/// # Errors
/// `limit_exceeded`.
pub fn sealed_len(payload_len: usize, content_type_len: usize, padding: Padding) -> Result<usize> {
    Ok(HEAD_LEN + chunked::body_len(inner_len(payload_len, content_type_len, padding)?))
}

/// At least the payload's length of a data envelope of this length; 0 if none has it.
#[must_use]
pub fn payload_bound(sealed_len: usize) -> usize {
    sealed_len.checked_sub(HEAD_LEN).filter(|_| sealed_len <= MAX_LEN).and_then(chunked::plaintext_len).map_or(0, |len| len.saturating_sub(1))
}

/// The length of a wrapped key.
pub const WRAPPED_KEY_LEN: usize = HEAD_LEN + chunked::body_len(32);

/// Seals a payload into `out`, which has [`sealed_len`] bytes. A salt is given only by known-answer tests.
pub(crate) fn seal_into<A: Aead>(
    input_key: &Expander,
    key_id: &[u8; KEY_ID_LEN],
    context: &Context,
    (content_type, payload, padding): (&str, &[u8], Padding),
    salt: Option<&[u8; SALT_LEN]>,
    out: &mut [u8],
) -> Result<()> {
    check_content_type(content_type)?;
    let len = inner_len(payload.len(), content_type.len(), padding)?;
    let prefix = prefix(content_type)?;
    let source = Source { prefix: prefix.get(..=content_type.len()).unwrap_or_default(), payload, len };
    seal_source::<A>(input_key, header(Kind::Data, padding, key_id), context, &source, salt, out)
}

/// What stands before the payload: a length byte and the content type, in an array for the longest one, small enough for the stack.
pub(crate) fn prefix(content_type: &str) -> Result<[u8; 1 + MAX_CONTENT_TYPE_LEN]> {
    let mut prefix = [0; 1 + MAX_CONTENT_TYPE_LEN];
    if let Some((first, rest)) = prefix.split_first_mut() {
        *first = u8::try_from(content_type.len()).map_err(|_| LONG_CONTENT_TYPE)?;
        rest.iter_mut().zip(content_type.bytes()).for_each(|(to, from)| *to = from);
    }
    Ok(prefix)
}

/// What a content type is made of.
pub(crate) fn check_content_type(content_type: &str) -> Result<()> {
    if content_type.bytes().all(|byte| (0x20..=0x7E).contains(&byte)) {
        return Ok(());
    }
    Err(Error::new(ErrorCode::InvalidArgument, "a content type is printable ASCII"))
}

/// Seals the 32 bytes of a key into `out`, which has [`WRAPPED_KEY_LEN`] bytes.
pub(crate) fn seal_key_into<A: Aead>(
    input_key: &Expander,
    kek_id: &[u8; KEY_ID_LEN],
    context: &Context,
    key: &[u8; 32],
    salt: Option<&[u8; SALT_LEN]>,
    out: &mut [u8],
) -> Result<()> {
    let source = Source { prefix: &[], payload: key, len: key.len() };
    seal_source::<A>(input_key, header(Kind::WrappedKey, Padding::None, kek_id), context, &source, salt, out)
}

fn seal_source<A: Aead>(
    input_key: &Expander,
    header: [u8; HEADER_LEN],
    context: &Context,
    source: &Source<'_>,
    salt: Option<&[u8; SALT_LEN]>,
    out: &mut [u8],
) -> Result<()> {
    const WRONG_LENGTH: Error = Error::new(ErrorCode::Internal, "an output of the wrong length");
    let (out_header, rest) = out.split_first_chunk_mut::<HEADER_LEN>().ok_or(WRONG_LENGTH)?;
    let (out_salt, rest) = rest.split_first_chunk_mut::<SALT_LEN>().ok_or(WRONG_LENGTH)?;
    let (out_commitment, body) = rest.split_first_chunk_mut::<COMMITMENT_LEN>().ok_or(WRONG_LENGTH)?;
    *out_header = header;
    match salt {
        Some(salt) => *out_salt = *salt,
        None => fill_random(out_salt)?,
    }
    let (keys, commitment) = StreamKeys::derive(input_key, out_salt, &context_hash(&header, context))?;
    *out_commitment = commitment;
    MessageKey::<A>::new(&keys)?.seal(source, body)
}

pub(crate) fn header(kind: Kind, padding: Padding, key_id: &[u8; KEY_ID_LEN]) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    if let Some((front, id)) = header.split_first_chunk_mut::<5>() {
        *front = [MAGIC, kind.byte(), VERSION, SUITE, padding.encoding()];
        id.copy_from_slice(key_id);
    }
    header
}

/// `ctx` of SPEC section 4: it keeps the info of the derivation at a fixed length, whatever is bound.
pub(crate) fn context_hash(header: &[u8; HEADER_LEN], context: &Context) -> [u8; 32] {
    Sha256::new().chain_update(b"sealpoint/v1/context\0").chain_update(header).chain_update(context.canonical()).finalize().into()
}

pub(crate) fn inner_len(payload_len: usize, content_type_len: usize, padding: Padding) -> Result<usize> {
    if payload_len > MAX_PAYLOAD_LEN {
        return Err(TOO_LARGE);
    }
    if content_type_len > MAX_CONTENT_TYPE_LEN {
        return Err(LONG_CONTENT_TYPE);
    }
    let len = 1 + content_type_len + payload_len;
    Ok(match padding {
        Padding::None => len,
        Padding::Bucket => padding::bucket(len + 1),
    })
}

/// The inner plaintext without its padding.
pub(crate) fn inner_of(staged: &[u8], padding: Padding) -> Result<&[u8]> {
    match padding {
        Padding::None => Ok(staged),
        Padding::Bucket => padding::unpadded_len(staged).and_then(|len| staged.get(..len)).ok_or(MALFORMED_INNER),
    }
}

pub(crate) fn split_content_type(inner: &[u8]) -> Result<(&str, &[u8])> {
    let (&len, rest) = inner.split_first().ok_or(MALFORMED_INNER)?;
    let (content_type, payload) = rest.split_at_checked(usize::from(len)).ok_or(MALFORMED_INNER)?;
    if !content_type.iter().all(|byte| (0x20..=0x7E).contains(byte)) {
        return Err(MALFORMED_INNER);
    }
    Ok((core::str::from_utf8(content_type).map_err(|_| MALFORMED_INNER)?, payload))
}

fn not_an_envelope(bytes: &[u8]) -> Error {
    if crate::text::has_prefix(bytes) {
        Error::new(ErrorCode::Malformed, "this is the text form of an envelope; pass it as text")
    } else {
        Error::new(ErrorCode::PlaintextRefused, "this is not sealed: it does not begin like an envelope")
    }
}

const TOO_LARGE: Error = Error::new(ErrorCode::LimitExceeded, "the payload is longer than MAX_PAYLOAD_LEN; split it");
const LONG_CONTENT_TYPE: Error = Error::new(ErrorCode::LimitExceeded, "the content type is longer than 255 bytes");

const _: () = assert!(MIN_LEN == 93 && WRAPPED_KEY_LEN == 125);

//! Messages whose AES-GCM runs elsewhere: in a browser, `WebCrypto` does it many times faster than anything that `WebAssembly` can.
//!
//! Format, derivation and commitment stay here; what leaves is the single-use key of one message. Whoever has it encrypts or decrypts chunks of
//! [`CHUNK_LEN`](crate::limits::CHUNK_LEN) bytes of the inner plaintext (SPEC section 4), each with its nonce of [`Message::nonce`], no additional data, and the tag appended.

use alloc::{boxed::Box, string::String, vec::Vec};
use core::fmt;
use core::ops::Range;

use crate::backend::{self, NONCE_LEN};
use crate::chunked::{SALT_LEN, StreamKeys, chunk_nonce};
use crate::context::Context;
use crate::dek::Dek;
use crate::envelope::{self, Head, Kind, Padding};
use crate::error::{Error, ErrorCode, Result};
use crate::limits::MAX_CONTENT_TYPE_LEN;
use crate::secret::{fill_random, scrubbed};

/// One message under a key of its own, which is wiped when this is dropped. `Debug` shows lengths only.
pub struct Message {
    /// On the heap, so that moving the message leaves no copy behind.
    keys: Box<StreamKeys>,
    head: Vec<u8>,
    prefix: Vec<u8>,
    padding: Padding,
    inner_len: usize,
}

impl Dek {
    /// Begins to seal a payload of this length.
    ///
    /// # Errors
    /// Those of [`Dek::seal_into`].
    pub fn begin_seal(&self, payload_len: usize, content_type: &str, padding: Padding, context: &Context) -> Result<Message> {
        envelope::check_content_type(content_type)?;
        let inner_len = envelope::inner_len(payload_len, content_type.len(), padding)?;
        self.count_seal(context)?;
        let header = envelope::header(Kind::Data, padding, &self.record().dek_id);
        let mut salt = [0; SALT_LEN];
        fill_random(&mut salt)?;
        let (keys, commitment) = scrubbed::<backend::Default, _>(|| {
            StreamKeys::derive(self.body(), &salt, &envelope::context_hash(&header, context)).map(|(keys, commitment)| (Box::new(keys), commitment))
        })?;
        let head = [header.as_slice(), &salt, &commitment].concat();
        let prefix = envelope::prefix(content_type)?.get(..=content_type.len()).unwrap_or_default().into();
        Ok(Message { keys, head, prefix, padding, inner_len })
    }

    /// Begins to open an envelope of `len` bytes, after its commitment was compared: `start` is its first [`envelope::HEAD_LEN`] bytes, all of it if it is shorter, or more.
    ///
    /// # Errors
    /// Those of [`Head::parse`]; `key_not_found` (the envelope names another key), `authentication_failed`.
    pub fn begin_open(&self, start: &[u8], len: usize, context: &Context) -> Result<Message> {
        let head = Head::parse(start, len, Kind::Data)?;
        self.check_open(head.key_id(), context)?;
        let keys = scrubbed::<backend::Default, _>(|| head.verify(self.body(), context).map(Box::new))?;
        Ok(Message { keys, head: Vec::new(), prefix: Vec::new(), padding: head.padding, inner_len: head.inner_len })
    }
}

impl Message {
    /// Sealing: what stands before the chunks, [`envelope::HEAD_LEN`] bytes. Opening: empty.
    #[must_use]
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// Sealing: what stands before the payload in the inner plaintext. Opening: empty.
    #[must_use]
    pub fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// Sealing: what follows the payload in the inner plaintext, and is followed by zeros up to [`Message::inner_len`].
    #[must_use]
    pub const fn suffix(&self) -> &[u8] {
        match self.padding {
            Padding::None => &[],
            Padding::Bucket => &[0x80],
        }
    }

    /// The length of the inner plaintext.
    #[must_use]
    pub const fn inner_len(&self) -> usize {
        self.inner_len
    }

    /// The single-use key. Whoever copies it wipes the copy.
    ///
    /// # Errors
    /// `internal`.
    pub fn key(&self) -> Result<&[u8; 32]> {
        self.keys.split().map(|(key, ..)| key)
    }

    /// The nonce of the chunk with this number, from 0.
    ///
    /// # Errors
    /// `internal`.
    pub fn nonce(&self, number: usize) -> Result<[u8; NONCE_LEN]> {
        self.keys.split().map(|(_, base_nonce, _)| chunk_nonce(base_nonce, number))
    }

    /// How many bytes of the opened inner plaintext [`Message::payload`] needs: its beginning, or all of it if it is padded.
    #[must_use]
    pub fn inner_head_len(&self) -> usize {
        match self.padding {
            Padding::None => self.inner_len.min(1 + MAX_CONTENT_TYPE_LEN),
            Padding::Bucket => self.inner_len,
        }
    }

    /// The content type, and where the payload lies in the inner plaintext, of which `inner` is the first [`Message::inner_head_len`] bytes.
    /// Every chunk has to be authenticated before this is asked.
    ///
    /// # Errors
    /// `malformed`; `invalid_argument`: another length.
    pub fn payload(&self, inner: &[u8]) -> Result<(String, Range<usize>)> {
        if inner.len() != self.inner_head_len() {
            return Err(Error::new(ErrorCode::InvalidArgument, "another length of the inner plaintext is needed"));
        }
        let unpadded = envelope::inner_of(inner, self.padding)?;
        let end = match self.padding {
            Padding::None => self.inner_len,
            Padding::Bucket => unpadded.len(),
        };
        let (content_type, _) = envelope::split_content_type(unpadded)?;
        Ok((content_type.into(), 1 + content_type.len()..end))
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message").field("inner_len", &self.inner_len).finish_non_exhaustive()
    }
}

//! Opened data encryption keys: what seals and opens payloads.

use alloc::{string::String, vec, vec::Vec};
use core::fmt;
use core::sync::atomic::{AtomicUsize, Ordering};

use subtle::ConstantTimeEq as _;

use crate::backend;
use crate::chunked::SALT_LEN;
use crate::context::{self, Context};
use crate::envelope::{self, Envelope, KEY_ID_LEN, Kind, Opened, Padding, SUITE};
use crate::error::{AUTHENTICATION_FAILED, Error, ErrorCode, Result};
use crate::expand::Expander;
use crate::limits::MAX_SEALS_PER_DEK;
use crate::secret::{Secret, fill_random, overwrite_stack, scrubbed};

/// What a DEK is for. One DEK has one purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DekPurpose {
    /// Payloads.
    Data = 1,
    /// Reserved: blind indexes.
    Index = 2,
    /// Payloads that an exported key may open.
    Client = 3,
    /// Reserved: the audit chain.
    Audit = 4,
}

impl DekPurpose {
    /// The purpose with this number (SPEC section 2).
    ///
    /// # Errors
    /// `invalid_argument`.
    pub fn from_number(number: u8) -> Result<Self> {
        Ok(match number {
            1 => Self::Data,
            2 => Self::Index,
            3 => Self::Client,
            4 => Self::Audit,
            _ => return Err(Error::new(ErrorCode::InvalidArgument, "a DEK's purpose is 1 (data), 2 (index), 3 (client) or 4 (audit)")),
        })
    }

    /// Its name in a wrap's context.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Index => "index",
            Self::Client => "client",
            Self::Audit => "audit",
        }
    }
}

/// What a key store records of a DEK, but for its wraps. Not trusted: see [`Dek::from_secret`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DekRecord {
    /// 16 random bytes.
    pub dek_id: [u8; KEY_ID_LEN],
    /// Whose key it is.
    pub tenant: String,
    /// What it is for.
    pub purpose: DekPurpose,
    /// The suite it seals with.
    pub suite: u8,
    /// 1, 2, … for one tenant and purpose.
    pub version: u32,
}

/// An opened DEK with its derived state. The key itself is not kept: only the state that seals and opens, wiped when dropped.
pub struct Dek {
    record: DekRecord,
    key_check: [u8; 32],
    body: Expander,
    seals: AtomicUsize,
}

impl Dek {
    /// A new random DEK with a new random dek_id; its secret is returned beside it, to be wrapped.
    ///
    /// # Errors
    /// `tenant_required`, `invalid_context`, `invalid_argument` (version 0), `internal` (no randomness).
    pub fn generate(tenant: &str, purpose: DekPurpose, version: u32) -> Result<(Self, Secret)> {
        let mut dek_id = [0; KEY_ID_LEN];
        fill_random(&mut dek_id)?;
        let secret = Secret::generate()?;
        let dek = Self::new(&secret, DekRecord { dek_id, tenant: tenant.into(), purpose, suite: SUITE, version })?;
        Ok((dek, secret))
    }

    /// A DEK whose secret came out of a wrap that authenticates, after its key check was compared (SPEC section 6.1).
    ///
    /// # Errors
    /// `authentication_failed` (another key than the record's), `unsupported_suite`, and those of [`Dek::generate`].
    pub fn from_secret(secret: &Secret, record: DekRecord, key_check: &[u8]) -> Result<Self> {
        let dek = Self::new(secret, record)?;
        if bool::from(dek.key_check.as_slice().ct_eq(key_check)) { Ok(dek) } else { Err(AUTHENTICATION_FAILED) }
    }

    pub(crate) fn new(secret: &Secret, record: DekRecord) -> Result<Self> {
        context::check_tenant(&record.tenant)?;
        if record.suite != SUITE {
            return Err(Error::new(ErrorCode::UnsupportedSuite, "this release knows suite 1 (Cobblestone-256)"));
        }
        if record.version == 0 {
            return Err(Error::new(ErrorCode::InvalidArgument, "the versions of a DEK begin at 1"));
        }
        let (key_check, body) = scrubbed::<backend::Default, _>(|| {
            let key = Expander::new(secret.expose())?;
            let head = [record.suite, record.purpose as u8];
            let tenant_len = u16::try_from(record.tenant.len()).map_err(|_| context::LONG_TENANT)?;
            let key_check = key.derive_public(&[
                b"sealpoint/v1/key-check\0",
                &head,
                &record.dek_id,
                &record.version.to_be_bytes(),
                &tenant_len.to_be_bytes(),
                record.tenant.as_bytes(),
            ])?;
            let body = Expander::new(body_key(&key, record.suite, record.purpose, &record.dek_id)?.expose())?;
            Ok::<_, Error>((key_check, body))
        })?;
        Ok(Self { record, key_check, body, seals: AtomicUsize::new(0) })
    }

    /// What a key store records of it.
    #[must_use]
    pub const fn record(&self) -> &DekRecord {
        &self.record
    }

    /// The 32 bytes by which an opened key is recognised; not secret.
    #[must_use]
    pub const fn key_check(&self) -> &[u8; 32] {
        &self.key_check
    }

    /// Seals a payload into `out`, which has [`envelope::sealed_len`] bytes.
    ///
    /// # Errors
    /// `limit_exceeded`, `invalid_context` (the context's tenant is not this key's), `invalid_argument` (the content type), `internal` (no randomness).
    pub fn seal_into(&self, payload: &[u8], content_type: &str, padding: Padding, context: &Context, out: &mut [u8]) -> Result<()> {
        self.seal_with::<backend::Default>(payload, content_type, padding, context, out)
    }

    /// Seals a payload into `out` with a backend of choice.
    ///
    /// # Errors
    /// Those of [`Dek::seal_into`].
    pub fn seal_with<A: backend::Aead>(&self, payload: &[u8], content_type: &str, padding: Padding, context: &Context, out: &mut [u8]) -> Result<()> {
        scrubbed::<A, _>(|| self.seal_salted::<A>(payload, content_type, padding, context, None, out))
    }

    /// Seals one payload of several that are sealed at once, with the next of their salts. The stack is overwritten once, when the salts are dropped.
    ///
    /// # Errors
    /// Those of [`Dek::seal_into`]; `internal`: more payloads than salts.
    pub fn seal_next_into(
        &self,
        salts: &mut Salts,
        payload: &[u8],
        content_type: &str,
        padding: Padding,
        context: &Context,
        out: &mut [u8],
    ) -> Result<()> {
        let salt = salts.0.pop().ok_or(Error::new(ErrorCode::Internal, "more payloads than salts"))?;
        self.seal_salted::<backend::Default>(payload, content_type, padding, context, Some(&salt), out)
    }

    /// Seals a payload.
    ///
    /// # Errors
    /// Those of [`Dek::seal_into`].
    pub fn seal(&self, payload: &[u8], content_type: &str, padding: Padding, context: &Context) -> Result<Vec<u8>> {
        let mut out = vec![0; envelope::sealed_len(payload.len(), content_type.len(), padding)?];
        self.seal_into(payload, content_type, padding, context, &mut out)?;
        Ok(out)
    }

    /// Seals with a given salt, for known-answer tests only: a salt used twice breaks both envelopes.
    ///
    /// # Errors
    /// Those of [`Dek::seal_into`].
    #[cfg(feature = "hazmat")]
    pub fn seal_with_salt<A: backend::Aead>(
        &self,
        payload: &[u8],
        content_type: &str,
        padding: Padding,
        context: &Context,
        salt: &[u8; SALT_LEN],
    ) -> Result<Vec<u8>> {
        let mut out = vec![0; envelope::sealed_len(payload.len(), content_type.len(), padding)?];
        scrubbed::<A, _>(|| self.seal_salted::<A>(payload, content_type, padding, context, Some(salt), &mut out))?;
        Ok(out)
    }

    fn seal_salted<A: backend::Aead>(
        &self,
        payload: &[u8],
        content_type: &str,
        padding: Padding,
        context: &Context,
        salt: Option<&[u8; SALT_LEN]>,
        out: &mut [u8],
    ) -> Result<()> {
        self.count_seal(context)?;
        envelope::seal_into::<A>(&self.body, &self.record.dek_id, context, (content_type, payload, padding), salt, out)
    }

    /// Opens an envelope into the buffer that `allocate` gives for the payload's length, and returns the content type. After an error the buffer holds no plaintext.
    ///
    /// # Errors
    /// Those of [`Envelope::parse`]; `key_not_found` (the envelope names another key), `authentication_failed`, `malformed`, `limit_exceeded`, and what `allocate` answers.
    pub fn open_into<'o, F>(&self, bytes: &[u8], context: &Context, allocate: F) -> Result<String>
    where
        F: FnOnce(usize) -> Result<&'o mut [u8]>,
    {
        self.open_with::<backend::Default, F>(&Envelope::parse(bytes, Kind::Data)?, context, allocate)
    }

    /// Opens an envelope that is already parsed, with a backend of choice.
    ///
    /// # Errors
    /// Those of [`Dek::open_into`] after parsing.
    pub fn open_with<'o, A, F>(&self, envelope: &Envelope<'_>, context: &Context, allocate: F) -> Result<String>
    where
        A: backend::Aead,
        F: FnOnce(usize) -> Result<&'o mut [u8]>,
    {
        self.check_open(envelope.key_id(), context)?;
        scrubbed::<A, _>(|| envelope.open_into::<A, F>(&self.body, context, allocate))
    }

    /// Whether this key may seal for the context, and once more at all.
    pub(crate) fn count_seal(&self, context: &Context) -> Result<()> {
        if context.tenant() != self.record.tenant {
            return Err(Error::new(ErrorCode::InvalidContext, "the context names another tenant than the key's"));
        }
        if self.seals.fetch_add(1, Ordering::Relaxed) as u64 >= MAX_SEALS_PER_DEK {
            return Err(Error::new(ErrorCode::LimitExceeded, "this DEK has sealed as much as one key may; rotate it"));
        }
        Ok(())
    }

    /// Whether this key is the one that an envelope names, and the context's tenant its own.
    pub(crate) fn check_open(&self, key_id: &[u8; KEY_ID_LEN], context: &Context) -> Result<()> {
        if key_id != &self.record.dek_id {
            return Err(Error::new(ErrorCode::KeyNotFound, "the envelope was sealed under another key"));
        }
        if context.tenant() != self.record.tenant {
            return Err(AUTHENTICATION_FAILED);
        }
        Ok(())
    }

    pub(crate) const fn body(&self) -> &Expander {
        &self.body
    }

    /// Opens an envelope.
    ///
    /// # Errors
    /// Those of [`Dek::open_into`].
    pub fn open(&self, bytes: &[u8], context: &Context) -> Result<Opened> {
        let mut payload = Vec::new();
        let content_type = self.open_into(bytes, context, |len| {
            payload.resize(len, 0);
            Ok(&mut payload)
        })?;
        Ok(Opened { content_type, payload })
    }
}

/// Salts for payloads that are sealed at once: one call to the operating system for all. Each is used once. Draw them right before, keep none, and drop
/// them when the last payload is sealed, in the function that drew them: that overwrites the stack below, where the seals left copies of keys.
pub struct Salts(Vec<[u8; SALT_LEN]>);

impl Drop for Salts {
    fn drop(&mut self) {
        overwrite_stack::<backend::Default>();
    }
}

impl Salts {
    /// As many as there are payloads.
    ///
    /// # Errors
    /// `internal` (no randomness).
    pub fn draw(count: usize) -> Result<Self> {
        let mut salts = vec![[0; SALT_LEN]; count];
        fill_random(salts.as_flattened_mut())?;
        Ok(Self(salts))
    }
}

impl fmt::Debug for Salts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Salts").field("left", &self.0.len()).finish()
    }
}

/// `K_body` of SPEC section 2.
pub(crate) fn body_key(dek: &Expander, suite: u8, purpose: DekPurpose, dek_id: &[u8; KEY_ID_LEN]) -> Result<Secret> {
    dek.derive_key(&[b"sealpoint/v1/body\0", &[suite, purpose as u8], dek_id])
}

impl fmt::Debug for Dek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dek").field("purpose", &self.record.purpose).field("version", &self.record.version).finish_non_exhaustive()
    }
}

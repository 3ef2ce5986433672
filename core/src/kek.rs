//! Local key encryption keys, and the contexts that keys are wrapped in (SPEC sections 2 and 6).

use alloc::{format, vec, vec::Vec};
use core::fmt;

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::backend;
use crate::context::{Context, Value};
use crate::dek::DekPurpose;
use crate::envelope::{self, Envelope, KEY_ID_LEN, Kind, SUITE};
use crate::error::{Error, ErrorCode, Result};
use crate::expand::Expander;
use crate::secret::{KEY_LEN, Secret, scrubbed};
use crate::text::decode_secret;

/// A KEK whose 32 bytes this process holds. It wraps DEKs and nothing else; the bytes themselves are not kept.
pub struct Kek {
    kek_id: [u8; KEY_ID_LEN],
    wrap: Expander,
}

impl Kek {
    /// From 32 uniformly random bytes.
    ///
    /// # Errors
    /// `internal`.
    pub fn from_secret(secret: &Secret) -> Result<Self> {
        scrubbed::<backend::Default, _>(|| {
            let key = Expander::new(secret.expose())?;
            let kek_id = key.derive_public(&[b"sealpoint/v1/kek-id\0"])?;
            let wrap = Expander::new(wrap_key(&key, &kek_id)?.expose())?;
            Ok(Self { kek_id, wrap })
        })
    }

    /// From text: 43 or 44 characters of base64 (either alphabet) or 64 hex digits, white space around it ignored.
    ///
    /// # Errors
    /// `invalid_argument`, whose message says what was seen, never the value.
    pub fn from_text(text: &str) -> Result<Self> {
        let text = text.trim_matches(|c: char| c.is_ascii_whitespace());
        let decoded = match text.len() {
            64 => Zeroizing::new(base16ct::mixed::decode_vec(text).unwrap_or_default()),
            43 => decode_secret(&url_alphabet(text)),
            44 => decode_secret(&url_alphabet(text.strip_suffix('=').unwrap_or_default())),
            _ => return Err(refuse(text)),
        };
        if decoded.len() != KEY_LEN {
            return Err(refuse(text));
        }
        Self::from_key_bytes(&decoded)
    }

    /// From a file's or buffer's bytes: 32 bytes of binary, or a text as in [`Kek::from_text`].
    ///
    /// # Errors
    /// `invalid_argument`.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        if bytes.len() == KEY_LEN {
            return Self::from_key_bytes(bytes);
        }
        match core::str::from_utf8(bytes) {
            Ok(text) => Self::from_text(text),
            Err(_) => Err(Error::with(ErrorCode::InvalidArgument, format!("the KEK has {} bytes of binary data. {HOW}", bytes.len()))),
        }
    }

    /// A key that looks like text holds far less than 256 bits: a passphrase, or hex digits read as raw characters.
    fn from_key_bytes(bytes: &[u8]) -> Result<Self> {
        if bytes.iter().all(|byte| (0x20..0x7F).contains(byte)) {
            let kind = if bytes.iter().all(u8::is_ascii_hexdigit) {
                "hex digits read as raw characters, 128 bits at most"
            } else {
                "raw characters, as of a passphrase"
            };
            return Err(Error::with(ErrorCode::InvalidArgument, format!("the KEK's 32 bytes are printable ASCII ({kind}), not random bytes. {HOW}")));
        }
        if bytes.iter().all(|byte| Some(byte) == bytes.first()) {
            return Err(Error::with(ErrorCode::InvalidArgument, format!("the KEK is one byte repeated. {HOW}")));
        }
        Self::from_secret(&Secret::from_slice(bytes)?)
    }

    /// Names the KEK in what it wraps; not secret.
    #[must_use]
    pub const fn kek_id(&self) -> &[u8; KEY_ID_LEN] {
        &self.kek_id
    }

    /// Wraps a key: [`envelope::WRAPPED_KEY_LEN`] bytes.
    ///
    /// # Errors
    /// `internal`.
    pub fn wrap(&self, secret: &Secret, context: &Context) -> Result<Vec<u8>> {
        let mut out = vec![0; envelope::WRAPPED_KEY_LEN];
        scrubbed::<backend::Default, _>(|| {
            envelope::seal_key_into::<backend::Default>(&self.wrap, &self.kek_id, context, secret.expose(), None, &mut out)
        })?;
        Ok(out)
    }

    /// Wraps with a given salt, for known-answer tests only.
    ///
    /// # Errors
    /// `internal`.
    #[cfg(feature = "hazmat")]
    pub fn wrap_with_salt<A: backend::Aead>(&self, secret: &Secret, context: &Context, salt: &[u8; 24]) -> Result<Vec<u8>> {
        let mut out = vec![0; envelope::WRAPPED_KEY_LEN];
        scrubbed::<A, _>(|| envelope::seal_key_into::<A>(&self.wrap, &self.kek_id, context, secret.expose(), Some(salt), &mut out))?;
        Ok(out)
    }

    /// Opens a wrapped key.
    ///
    /// # Errors
    /// Those of [`Envelope::parse`]; `key_not_found` (wrapped under another KEK), `authentication_failed`.
    pub fn unwrap(&self, bytes: &[u8], context: &Context) -> Result<Secret> {
        self.unwrap_with::<backend::Default>(bytes, context)
    }

    /// Opens a wrapped key with a backend of choice.
    ///
    /// # Errors
    /// Those of [`Kek::unwrap`].
    pub fn unwrap_with<A: backend::Aead>(&self, bytes: &[u8], context: &Context) -> Result<Secret> {
        let envelope = Envelope::parse(bytes, Kind::WrappedKey)?;
        if envelope.key_id() != &self.kek_id {
            return Err(Error::new(ErrorCode::KeyNotFound, "the key was wrapped under another KEK"));
        }
        let mut secret = Secret::zeroed();
        scrubbed::<A, _>(|| envelope.open_raw::<A>(&self.wrap, context, secret.expose_mut()))?;
        Ok(secret)
    }
}

/// `K_wrap` of SPEC section 2.
pub(crate) fn wrap_key(kek: &Expander, kek_id: &[u8; KEY_ID_LEN]) -> Result<Secret> {
    kek.derive_key(&[b"sealpoint/v1/wrap\0", &[SUITE], kek_id])
}

impl fmt::Debug for Kek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kek").finish_non_exhaustive()
    }
}

/// What a wrapped DEK is bound to (SPEC section 6).
///
/// # Errors
/// `tenant_required`, `invalid_context`, `unsupported_suite`.
pub fn wrap_context(tenant: &str, dek_id: &[u8; KEY_ID_LEN], purpose: DekPurpose, suite: u8) -> Result<Context> {
    if suite != SUITE {
        return Err(Error::new(ErrorCode::UnsupportedSuite, "this release knows suite 1 (Cobblestone-256)"));
    }
    Context::new(&[
        ("dek.id", Value::Text(&base16ct::lower::encode_string(dek_id))),
        ("dek.purpose", Value::Text(purpose.name())),
        ("dek.suite", Value::Text("cobblestone-256")),
        ("purpose", Value::Text("wrap")),
        ("tenant", Value::Text(tenant)),
    ])
}

/// What an open-only wrap is bound to, from what an ordinary one is bound to (SPEC section 6.5).
///
/// # Errors
/// `invalid_context` (it is one already).
pub fn open_only_context(wrap: &Context) -> Result<Context> {
    wrap.extend(&[("dek.use", Value::Text("open"))])
}

/// What a key store's canary is bound to (SPEC section 6.2).
///
/// # Errors
/// `invalid_context`.
pub fn canary_context(kek_uri: &str) -> Result<Context> {
    Context::new(&[("kek_uri", Value::Text(kek_uri)), ("purpose", Value::Text("canary")), ("tenant", Value::Text("sealpoint"))])
}

/// What a key store's canary holds (SPEC section 6.2).
#[must_use]
pub fn canary_secret(kek_uri: &str) -> Secret {
    let mut secret = Secret::zeroed();
    let digest = Sha256::new().chain_update(b"sealpoint/v1/canary\0").chain_update(kek_uri.as_bytes()).finalize();
    secret.expose_mut().copy_from_slice(&digest);
    secret
}

const HOW: &str = "A KEK is 32 random bytes: 44 characters of base64, 64 hex digits, or a 32-byte binary file. `sealpoint keygen` makes a good one";

/// With `-` and `_` for `+` and `/`.
fn url_alphabet(text: &str) -> Zeroizing<Vec<u8>> {
    let mut url = Zeroizing::new(text.as_bytes().to_vec());
    for byte in url.iter_mut() {
        match byte {
            b'+' => *byte = b'-',
            b'/' => *byte = b'_',
            _ => {}
        }
    }
    url
}

/// Says what was seen without showing it.
fn refuse(text: &str) -> Error {
    let kind = if text.is_empty() {
        "an empty value"
    } else if text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        "hex digits"
    } else if !decode_secret(&url_alphabet(text.trim_end_matches('='))).is_empty() {
        "base64"
    } else if text.is_ascii() {
        "ASCII text"
    } else {
        "text with characters outside ASCII"
    };
    Error::with(
        ErrorCode::InvalidArgument,
        format!("the KEK has {} characters and looks like {kind}. {HOW}", text.chars().fold(0, |count, _| count + 1)),
    )
}

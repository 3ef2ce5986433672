//! Recovery keys: a KEK whose secret half is kept offline (SPEC section 6.4).

use alloc::{boxed::Box, string::String, vec::Vec};
use core::fmt;

use hpke::kem::XWing;
use hpke::rand_core::UnwrapErr;
use hpke::{Deserializable as _, Kem as _, OpModeR, OpModeS, Serializable as _};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::backend;
use crate::context::Context;
use crate::envelope::{KEY_ID_LEN, MAGIC, SUITE, VERSION};
use crate::error::{Error, ErrorCode, Result};
use crate::secret::{KEY_LEN, Secret, fill_random, scrubbed};
use crate::text;

/// The length of every recovery wrap, in bytes.
pub const RECOVERY_WRAP_LEN: usize = HEADER_LEN + ENC_LEN + KEY_LEN + 16;

const HEADER_LEN: usize = 21;
const ENC_LEN: usize = 1120;
const PUBLIC_LEN: usize = 1216;

const WRAP: Kind = Kind { byte: 0x52, len: RECOVERY_WRAP_LEN, prefix: "", family: "" };
const PUBLIC: Kind = Kind { byte: 0x50, len: HEADER_LEN + PUBLIC_LEN, prefix: "sealpoint-recovery-public:v1:", family: "sealpoint-recovery-public:" };
const SECRET: Kind = Kind { byte: 0x51, len: HEADER_LEN + KEY_LEN, prefix: "sealpoint-recovery-secret:v1:", family: "sealpoint-recovery-secret:" };

type PrivateKey = <XWing as hpke::Kem>::PrivateKey;
type PublicKey = <XWing as hpke::Kem>::PublicKey;
type EncappedKey = <XWing as hpke::Kem>::EncappedKey;
type Aead = hpke::aead::AesGcm256;
type Kdf = hpke::kdf::HkdfSha512;

/// The public half: it wraps DEKs and opens none. Not secret.
#[derive(Clone)]
pub struct RecoveryPublicKey {
    recovery_id: [u8; KEY_ID_LEN],
    key: Box<PublicKey>,
}

impl RecoveryPublicKey {
    /// From a text that starts with `sealpoint-recovery-public:v1:`.
    ///
    /// # Errors
    /// `plaintext_refused`, `malformed`, `unsupported_version`, `unsupported_suite`, `unsupported_encoding`, `authentication_failed` (it was damaged).
    pub fn from_text(text: &str) -> Result<Self> {
        let bytes = PUBLIC.decode(text)?;
        let (recovery_id, key) = PUBLIC.parse(&bytes)?;
        let found = id_of(key);
        if !bool::from(found.ct_eq(recovery_id)) {
            return Err(DAMAGED);
        }
        let key = PublicKey::from_bytes(key).map_err(|_| Error::new(ErrorCode::Malformed, "the recovery key is none that its scheme takes"))?;
        Ok(Self { recovery_id: found, key: Box::new(key) })
    }

    /// The text of which [`Self::from_text`] makes the key again.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut bytes = PUBLIC.header(&self.recovery_id).to_vec();
        bytes.extend_from_slice(&self.key.to_bytes());
        text::with_prefix(PUBLIC.prefix, &bytes)
    }

    /// Names the key in what it wraps.
    #[must_use]
    pub const fn recovery_id(&self) -> &[u8; KEY_ID_LEN] {
        &self.recovery_id
    }

    /// Wraps a DEK: [`RECOVERY_WRAP_LEN`] bytes, which only the secret half opens.
    ///
    /// # Errors
    /// `internal`.
    pub fn wrap(&self, secret: &Secret, context: &Context) -> Result<Vec<u8>> {
        // The scheme's own request for randomness cannot fail with an error: ask first whether there is any.
        fill_random(&mut [0; KEY_LEN])?;
        let header = WRAP.header(&self.recovery_id);
        scrubbed::<backend::Default, _>(|| {
            let mut rng = UnwrapErr(getrandom::SysRng);
            let info = info(&header, context);
            let (enc, sealed) = hpke::single_shot_seal_with_rng::<Aead, Kdf, XWing>(&OpModeS::Base, &self.key, &info, secret.expose(), &[], &mut rng)
                .map_err(|_| Error::new(ErrorCode::Internal, "HPKE did not seal"))?;
            let mut out = Vec::with_capacity(RECOVERY_WRAP_LEN);
            out.extend_from_slice(&header);
            out.extend_from_slice(&enc.to_bytes());
            out.extend_from_slice(&sealed);
            Ok(out)
        })
    }
}

impl fmt::Debug for RecoveryPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecoveryPublicKey").finish_non_exhaustive()
    }
}

/// Both halves. The secret is kept offline and is in memory only where something is recovered, or where it was just made.
pub struct RecoveryKey {
    secret: Secret,
    public: RecoveryPublicKey,
}

impl RecoveryKey {
    /// A new pair.
    ///
    /// # Errors
    /// `internal` if the operating system has no randomness to give.
    pub fn generate() -> Result<Self> {
        Self::from_secret(Secret::generate()?)
    }

    /// From a text that starts with `sealpoint-recovery-secret:v1:`.
    ///
    /// # Errors
    /// Those of [`RecoveryPublicKey::from_text`].
    pub fn from_text(text: &str) -> Result<Self> {
        let bytes = SECRET.decode(text)?;
        let (recovery_id, secret) = SECRET.parse(&bytes)?;
        let key = Self::from_secret(Secret::from_slice(secret)?)?;
        if !bool::from(key.public.recovery_id.ct_eq(recovery_id)) {
            return Err(DAMAGED);
        }
        Ok(key)
    }

    /// The text of which [`Self::from_text`] makes the key again. It **is** the key: for paper or a safe, and for no log.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        // The buffer has its full length at once: growing it would leave a copy behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(SECRET.len));
        bytes.extend_from_slice(&SECRET.header(&self.public.recovery_id));
        bytes.extend_from_slice(self.secret.expose());
        Zeroizing::new(text::with_prefix(SECRET.prefix, &bytes))
    }

    /// The half to give away.
    #[must_use]
    pub const fn public(&self) -> &RecoveryPublicKey {
        &self.public
    }

    /// Opens what the public half wrapped. Anybody can have made it: compare the DEK's key check before it opens anything, and seal nothing under it.
    ///
    /// # Errors
    /// `plaintext_refused`, `malformed`, `unsupported_version`, `unsupported_suite`, `unsupported_encoding`, `key_not_found` (wrapped for another key),
    /// `authentication_failed`.
    pub fn unwrap(&self, wrapped: &[u8], context: &Context) -> Result<Secret> {
        let (recovery_id, body) = WRAP.parse(wrapped)?;
        if recovery_id != &self.public.recovery_id {
            return Err(Error::new(ErrorCode::KeyNotFound, "the key was wrapped for another recovery key"));
        }
        let (enc, sealed) = body.split_at_checked(ENC_LEN).ok_or(MALFORMED)?;
        scrubbed::<backend::Default, _>(|| {
            let key = private(&self.secret)?;
            let enc = EncappedKey::from_bytes(enc).map_err(|_| MALFORMED)?;
            let opened =
                hpke::single_shot_open::<Aead, Kdf, XWing>(&OpModeR::Base, &key, &enc, &info(&WRAP.header(recovery_id), context), sealed, &[])
                    .map_err(|_| Error::new(ErrorCode::AuthenticationFailed, "the wrapped key does not open: another context, or it was changed"))?;
            Secret::from_slice(&Zeroizing::new(opened))
        })
    }

    fn from_secret(secret: Secret) -> Result<Self> {
        scrubbed::<backend::Default, _>(|| {
            let key = XWing::sk_to_pk(&private(&secret)?);
            let recovery_id = id_of(&key.to_bytes());
            Ok(Self { secret, public: RecoveryPublicKey { recovery_id, key: Box::new(key) } })
        })
    }
}

impl fmt::Debug for RecoveryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecoveryKey").finish_non_exhaustive()
    }
}

/// One of the three things that begin with the same header.
struct Kind {
    byte: u8,
    len: usize,
    prefix: &'static str,
    family: &'static str,
}

impl Kind {
    fn header(&self, recovery_id: &[u8; KEY_ID_LEN]) -> [u8; HEADER_LEN] {
        let mut header = [0; HEADER_LEN];
        let (fixed, id) = header.split_at_mut(5);
        fixed.copy_from_slice(&[MAGIC, self.byte, VERSION, SUITE, 0]);
        id.copy_from_slice(recovery_id);
        header
    }

    fn decode(&self, text: &str) -> Result<Zeroizing<Vec<u8>>> {
        let encoded = text::without_prefix(text, self.prefix, self.family)?;
        let bytes = text::decode_secret(encoded.as_bytes());
        if bytes.first() == Some(&MAGIC) { Ok(bytes) } else { Err(MALFORMED) }
    }

    /// Steps 1, for bytes, to 6 of SPEC section 6.4: the id and what follows the header.
    fn parse<'a>(&self, bytes: &'a [u8]) -> Result<(&'a [u8; KEY_ID_LEN], &'a [u8])> {
        let expect = |at: usize, known: u8, otherwise: Error| match bytes.get(at) {
            None => Err(MALFORMED),
            Some(byte) if *byte != known => Err(otherwise),
            Some(_) => Ok(()),
        };
        if bytes.first() != Some(&MAGIC) {
            return Err(Error::new(ErrorCode::PlaintextRefused, "no recovery wrap: it does not begin as one"));
        }
        expect(1, self.byte, MALFORMED)?;
        expect(2, VERSION, Error::new(ErrorCode::UnsupportedVersion, "this release knows version 1 of recovery keys; a newer one may open this"))?;
        expect(3, SUITE, Error::new(ErrorCode::UnsupportedSuite, "this release knows suite 1 of recovery keys (MLKEM768-X25519)"))?;
        expect(4, 0, Error::new(ErrorCode::UnsupportedEncoding, "this release knows one encoding of recovery keys"))?;
        if bytes.len() != self.len {
            return Err(MALFORMED);
        }
        bytes.get(5..).and_then(<[u8]>::split_first_chunk).ok_or(MALFORMED)
    }
}

fn private(secret: &Secret) -> Result<PrivateKey> {
    PrivateKey::from_bytes(secret.expose()).map_err(|_| MALFORMED)
}

fn id_of(public: &[u8]) -> [u8; KEY_ID_LEN] {
    let digest = Sha256::new().chain_update(b"sealpoint/v1/recovery-id\0").chain_update(public).finalize();
    let mut id = [0; KEY_ID_LEN];
    id.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    id
}

fn info(header: &[u8; HEADER_LEN], context: &Context) -> Vec<u8> {
    [b"sealpoint/v1/recovery\0".as_slice(), header, context.canonical()].concat()
}

const MALFORMED: Error = Error::new(ErrorCode::Malformed, "the recovery key or what it wrapped is cut off, or is none");
const DAMAGED: Error = Error::new(ErrorCode::AuthenticationFailed, "the recovery key was damaged or changed: its id does not fit");

//! Exported keys: a client DEK as text, for a place that has no KEK (SPEC section 6.3).

use alloc::{string::String, vec::Vec};

use zeroize::Zeroizing;

use crate::backend;
use crate::dek::{Dek, DekPurpose, DekRecord};
use crate::envelope::{KEY_ID_LEN, MAGIC, SUITE, VERSION};
use crate::error::{Error, ErrorCode, Result};
use crate::limits::MAX_TENANT_LEN;
use crate::secret::{KEY_LEN, Secret, scrubbed};
use crate::text;

const KIND: u8 = 0x4B;
const FAMILY: &str = "sealpoint-key:";
const PREFIX: &str = "sealpoint-key:v1:";
const PURPOSE: DekPurpose = DekPurpose::Client;

/// The text of a client DEK. It **is** the key, in the clear: for whoever may open and seal everything under it, and for no log.
///
/// # Errors
/// `invalid_argument` (a DEK of another purpose, version 0), `unsupported_suite`, `tenant_required`, `invalid_context`.
pub fn export_key(secret: &Secret, record: &DekRecord) -> Result<Zeroizing<String>> {
    if record.purpose != PURPOSE {
        return Err(Error::new(ErrorCode::InvalidArgument, "only a DEK of purpose client may be exported"));
    }
    scrubbed::<backend::Default, _>(|| {
        let key_check = *Dek::new(secret, record.clone())?.key_check();
        let tenant = record.tenant.as_bytes();
        let tenant_len = u16::try_from(tenant.len()).map_err(|_| MALFORMED)?;
        let parts: [&[u8]; 7] = [
            &[MAGIC, KIND, VERSION, record.suite, record.purpose as u8],
            &record.dek_id,
            &record.version.to_be_bytes(),
            secret.expose(),
            &key_check,
            &tenant_len.to_be_bytes(),
            tenant,
        ];
        // Both buffers get their full length at once: growing one would leave a copy behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(parts.iter().map(|part| part.len()).sum()));
        parts.iter().for_each(|part| bytes.extend_from_slice(part));
        Ok(Zeroizing::new(text::with_prefix(PREFIX, &bytes)))
    })
}

/// The DEK of an exported key. Who made the text is not known by it: trust the channel that it came on.
///
/// # Errors
/// `plaintext_refused`, `malformed`, `unsupported_version`, `unsupported_suite`, `authentication_failed`.
pub fn import_key(text: &str) -> Result<Dek> {
    let encoded = text::without_prefix(text, PREFIX, FAMILY)?;
    scrubbed::<backend::Default, _>(|| parse(&text::decode_secret(encoded.as_bytes())))
}

/// Steps 1, from its bytes on, to 7 of SPEC section 6.3.
fn parse(bytes: &[u8]) -> Result<Dek> {
    let expect = |at: usize, known: u8, otherwise: Error| match bytes.get(at) {
        None => Err(MALFORMED),
        Some(byte) if *byte != known => Err(otherwise),
        Some(_) => Ok(()),
    };
    expect(0, MAGIC, MALFORMED)?;
    expect(1, KIND, MALFORMED)?;
    expect(2, VERSION, Error::new(ErrorCode::UnsupportedVersion, "this release knows version 1 of exported keys; a newer one may import this"))?;
    expect(3, SUITE, Error::new(ErrorCode::UnsupportedSuite, "this release knows suite 1 (Cobblestone-256)"))?;
    expect(4, PURPOSE as u8, Error::new(ErrorCode::Malformed, "only a DEK of purpose client is ever exported"))?;
    let (_, rest) = bytes.split_at_checked(5).ok_or(MALFORMED)?;
    let (dek_id, rest) = rest.split_first_chunk::<KEY_ID_LEN>().ok_or(MALFORMED)?;
    let (version, rest) = rest.split_first_chunk::<4>().ok_or(MALFORMED)?;
    let (secret, rest) = rest.split_first_chunk::<KEY_LEN>().ok_or(MALFORMED)?;
    let (key_check, rest) = rest.split_first_chunk::<32>().ok_or(MALFORMED)?;
    let (tenant_len, tenant) = rest.split_first_chunk::<2>().ok_or(MALFORMED)?;
    if tenant.len() != usize::from(u16::from_be_bytes(*tenant_len)) || !(1..=MAX_TENANT_LEN).contains(&tenant.len()) {
        return Err(MALFORMED);
    }
    let tenant = core::str::from_utf8(tenant).map_err(|_| MALFORMED)?;
    let version = u32::from_be_bytes(*version);
    if version == 0 {
        return Err(MALFORMED);
    }
    let record = DekRecord { dek_id: *dek_id, tenant: tenant.into(), purpose: PURPOSE, suite: SUITE, version };
    Dek::from_secret(&Secret::from_slice(secret)?, record, key_check).map_err(|error| match error.code() {
        ErrorCode::AuthenticationFailed => Error::new(ErrorCode::AuthenticationFailed, "the exported key was changed, or damaged on its way"),
        _ => error,
    })
}

const MALFORMED: Error = Error::new(ErrorCode::Malformed, "the exported key is cut off, or is no exported key");

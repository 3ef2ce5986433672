//! The checkpoint manifest (SPEC section 7.2): what binds a checkpoint's clear parts and its set of channels.

use alloc::vec::Vec;
use core::fmt;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::cbor::{Reader, TOO_LONG, Writer, sorted};
use crate::error::{Error, ErrorCode, Result};
use crate::limits::MAX_MANIFEST_LEN;

/// The metadata keys that stay in the clear (SPEC section 7.1).
pub const CLEAR_METADATA: [&str; 6] = ["source", "step", "parents", "run_id", "counters_since_delta_snapshot", "delta_writes_versioned"];

/// The channel that is outside versions and presence in checkpoints before version 4.
const TASKS: &str = "__pregel_tasks";
const RECORD_VERSION: u64 = 1;
const NOT_IN_ROW: [u8; 16] = [0; 16];

/// A channel, and the first 16 bytes of its envelope's commitment if the value lives in the checkpoint's row.
pub type Channel<'a> = (&'a str, Option<[u8; 16]>);

/// The payload of a metadata envelope: manifest record and serialized metadata.
///
/// `fields` is the CBOR of `[v, id, ts, channel_versions, versions_seen, updated_channels, clear metadata]`. The channels come in any order.
///
/// # Errors
/// `invalid_argument` (a channel twice), `limit_exceeded`.
pub fn payload(fields: &[u8], parent: Option<&str>, exact: bool, channels: &[Channel<'_>], metadata: &[u8]) -> Result<Vec<u8>> {
    within_limit(fields)?;
    let channels = listed(fields, channels);
    if channels.windows(2).any(|pair| matches!(pair, [left, right] if left.0 == right.0)) {
        return Err(Error::new(ErrorCode::InvalidArgument, "a checkpoint has a channel twice"));
    }
    let mut record = Writer::new();
    record.array(5, |record| {
        record.int(i128::from(RECORD_VERSION))?;
        record.bool(exact);
        record.bytes(&digest(fields));
        match parent {
            Some(parent) => record.text(parent),
            None => record.null(),
        }
        record.array(channels.len(), |record| {
            channels.iter().try_for_each(|(name, commitment)| {
                record.array(2, |record| {
                    record.text(name);
                    record.bytes(&commitment.unwrap_or(NOT_IN_ROW));
                    Ok::<(), Error>(())
                })
            })
        })
    })?;
    let record = record.finish()?;
    let len = u32::try_from(record.len()).map_err(|_| Error::new(ErrorCode::LimitExceeded, "a manifest record is longer than 4 GiB"))?;
    let mut payload = Vec::with_capacity(4 + record.len() + metadata.len());
    payload.extend_from_slice(&len.to_be_bytes());
    payload.extend_from_slice(&record);
    payload.extend_from_slice(metadata);
    Ok(payload)
}

/// A verified metadata envelope.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Verified<'p> {
    /// The serialized metadata.
    pub metadata: &'p [u8],
    /// The parent's id as it was sealed, also where the saver gives none back.
    pub parent: Option<&'p str>,
}

/// Shows no metadata.
impl fmt::Debug for Verified<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified").field("metadata_len", &self.metadata.len()).finish_non_exhaustive()
    }
}

/// Verifies an opened metadata envelope against what the saver gave back.
///
/// `channels` are those that are present, each with its envelope's short commitment.
///
/// # Errors
/// `malformed`, `unsupported_version`, `limit_exceeded`, `authentication_failed`.
pub fn open<'p>(payload: &'p [u8], fields: &[u8], parent: Option<&str>, channels: &[Channel<'_>]) -> Result<Verified<'p>> {
    const CUT_OFF: Error = Error::new(ErrorCode::Malformed, "the metadata envelope holds no manifest record");
    let (len, rest) = payload.split_first_chunk::<4>().ok_or(CUT_OFF)?;
    let len = usize::try_from(u32::from_be_bytes(*len)).map_err(|_| CUT_OFF)?;
    let (record, metadata) = rest.split_at_checked(len).ok_or(CUT_OFF)?;
    let record = Record::read(record)?;
    within_limit(fields)?;

    if !bool::from(digest(fields).ct_eq(record.digest)) {
        return Err(changed("the checkpoint's id, versions or clear metadata were changed"));
    }
    if parent.is_some() && parent != record.parent {
        return Err(changed("the checkpoint has another parent than it was sealed with"));
    }
    let present = listed(fields, channels);
    for (name, sealed) in &record.channels {
        let Ok(at) = present.binary_search_by_key(name, |(name, _)| *name) else {
            return Err(changed("a channel of the checkpoint is missing"));
        };
        let commitment = present.get(at).and_then(|(_, commitment)| *commitment).unwrap_or_default();
        if **sealed != NOT_IN_ROW && !bool::from(sealed.ct_eq(&commitment)) {
            return Err(changed("a channel of the checkpoint holds another value than it was sealed with"));
        }
    }
    // Every listed channel is present, and no name is there twice: so one more means one that is not listed.
    if record.exact && present.len() != record.channels.len() {
        return Err(changed("the checkpoint has a channel that it was not sealed with"));
    }
    Ok(Verified { metadata, parent: record.parent })
}

struct Record<'a> {
    exact: bool,
    digest: &'a [u8; 32],
    parent: Option<&'a str>,
    channels: Vec<(&'a str, &'a [u8; 16])>,
}

impl<'a> Record<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self> {
        const FORM: Error = Error::new(ErrorCode::Malformed, "the manifest record has another form than this release knows");
        within_limit(bytes)?;
        let mut reader = Reader(bytes);
        if reader.head(4)? != 5 {
            return Err(FORM);
        }
        if reader.head(0)? != RECORD_VERSION {
            return Err(Error::new(ErrorCode::UnsupportedVersion, "this release knows version 1 of manifest records; a newer one may open this"));
        }
        let exact = reader.bool()?;
        let digest = reader.byte_array()?;
        let parent = reader.text_or_null()?;
        let mut channels: Vec<(&str, &[u8; 16])> = Vec::new();
        for _ in 0..reader.head(4)? {
            if reader.head(4)? != 2 {
                return Err(FORM);
            }
            let name = reader.text()?;
            if channels.last().is_some_and(|(last, _)| *last >= name) {
                return Err(FORM);
            }
            channels.push((name, reader.byte_array()?));
        }
        reader.end()?;
        Ok(Self { exact, digest, parent, channels })
    }
}

fn within_limit(cbor: &[u8]) -> Result<()> {
    if cbor.len() > MAX_MANIFEST_LEN { Err(TOO_LONG) } else { Ok(()) }
}

fn digest(fields: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(b"sealpoint/v1/manifest\0").chain_update(fields).finalize().into()
}

/// The channels that a manifest lists, sorted: `__pregel_tasks` is not among them before checkpoint version 4.
fn listed<'c, 'a>(fields: &[u8], channels: &'c [Channel<'a>]) -> Vec<&'c Channel<'a>> {
    let mut reader = Reader(fields);
    let before_4 = reader.head(4).is_ok() && reader.head(0).map_or_else(|_| reader.head(1).is_ok(), |v| v < 4);
    let order = sorted(channels.iter().map(|(name, _)| name.as_bytes()));
    order.iter().filter_map(|(_, at)| channels.get(*at)).filter(|(name, _)| !(before_4 && *name == TASKS)).collect()
}

const fn changed(message: &'static str) -> Error {
    Error::new(ErrorCode::AuthenticationFailed, message)
}

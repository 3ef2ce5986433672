//! The checkpoint manifest, whose fields come as JSON and whose commitments come in one array.

use napi::Env;
use napi::bindgen_prelude::{Uint8Array, Uint8ArraySlice};
use napi_derive::napi;
use sealpoint_core::Result;
use sealpoint_core::json::fields_from_json;
use sealpoint_core::manifest::{self, Channel};

use crate::{copied, done, invalid};

#[napi(object)]
pub struct Verified {
    pub metadata: Uint8Array,
    pub parent: Option<String>,
}

#[napi]
pub fn encode_fields<'e>(env: &'e Env, fields: String) -> napi::Result<Uint8ArraySlice<'e>> {
    copied(env, fields_from_json(&fields))
}

#[napi]
pub fn manifest_payload<'e>(
    env: &'e Env,
    fields: &[u8],
    parent: Option<String>,
    exact: bool,
    channels: Vec<String>,
    commitments: &[u8],
    metadata: &[u8],
) -> napi::Result<Uint8ArraySlice<'e>> {
    let payload = listed(&channels, commitments).and_then(|channels| manifest::payload(fields, parent.as_deref(), exact, &channels, metadata));
    copied(env, payload)
}

#[napi]
pub fn manifest_open(
    env: &Env,
    payload: &[u8],
    fields: &[u8],
    parent: Option<String>,
    channels: Vec<String>,
    commitments: &[u8],
) -> napi::Result<Verified> {
    let verified = listed(&channels, commitments).and_then(|channels| manifest::open(payload, fields, parent.as_deref(), &channels));
    done(env, verified).map(|verified| Verified { metadata: verified.metadata.into(), parent: verified.parent.map(str::to_owned) })
}

/// 16 bytes for each channel, zeros for a value that does not live in the row.
fn listed<'a>(names: &'a [String], commitments: &[u8]) -> Result<Vec<Channel<'a>>> {
    let (commitments, rest) = commitments.as_chunks::<16>();
    if commitments.len() != names.len() || !rest.is_empty() {
        return Err(invalid("every channel has a commitment of 16 bytes"));
    }
    Ok(names.iter().zip(commitments).map(|(name, commitment)| (name.as_str(), Some(*commitment))).collect())
}

//! The checkpoint manifest.

use sealpoint_core::json;
use sealpoint_core::manifest::{self, Channel};
use serde::ser::SerializeMap as _;
use wasm_bindgen::prelude::*;

use crate::bytes::Bytes;
use crate::{Result, invalid_argument, object};

const COMMITMENT_LEN: usize = 16;

#[wasm_bindgen(js_name = encodeFields)]
pub fn encode_fields(fields: &str) -> Result<Vec<u8>> {
    Ok(json::fields_from_json(fields)?)
}

#[wasm_bindgen(js_name = manifestPayload)]
pub fn manifest_payload(
    fields: &Bytes,
    parent: Option<String>,
    exact: bool,
    channels: Vec<String>,
    commitments: &Bytes,
    metadata: &Bytes,
) -> Result<Vec<u8>> {
    let commitments = commitments.take()?;
    let channels = listed(&channels, &commitments)?;
    Ok(manifest::payload(&fields.take()?, parent.as_deref(), exact, &channels, &metadata.take()?)?)
}

#[wasm_bindgen(js_name = manifestOpen, unchecked_return_type = "{ metadata: Uint8Array; parent: string | undefined }")]
pub fn manifest_open(payload: &Bytes, fields: &Bytes, parent: Option<String>, channels: Vec<String>, commitments: &Bytes) -> Result<JsValue> {
    let (payload, commitments) = (payload.take()?, commitments.take()?);
    let verified = manifest::open(&payload, &fields.take()?, parent.as_deref(), &listed(&channels, &commitments)?)?;
    object(|entries| {
        entries.serialize_entry("metadata", serde_bytes::Bytes::new(verified.metadata))?;
        entries.serialize_entry("parent", &verified.parent)
    })
}

/// Each channel with its 16 bytes; zeros stand for none.
fn listed<'a>(channels: &'a [String], commitments: &[u8]) -> Result<Vec<Channel<'a>>> {
    let (commitments, rest) = commitments.as_chunks::<COMMITMENT_LEN>();
    if !rest.is_empty() || commitments.len() != channels.len() {
        return Err(invalid_argument("there are not 16 bytes for each channel"));
    }
    let commitment = |bytes: &[u8; COMMITMENT_LEN]| (bytes != &[0; COMMITMENT_LEN]).then_some(*bytes);
    Ok(channels.iter().zip(commitments).map(|(name, bytes)| (name.as_str(), commitment(bytes))).collect())
}

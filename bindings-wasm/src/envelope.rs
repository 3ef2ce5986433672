//! Lengths, heads and text forms of envelopes.

use js_sys::JsString;
use sealpoint_core::envelope::{self, Envelope, HEAD_LEN, Head, Kind};
use sealpoint_core::text;
use wasm_bindgen::prelude::*;

use crate::bytes::{self, Bytes};
use crate::{Result, invalid_argument, usize_of};

#[wasm_bindgen(js_name = Kind)]
#[derive(Clone, Copy)]
pub enum KindName {
    Data = "data",
    WrappedKey = "wrapped-key",
}

impl KindName {
    fn kind(self) -> Result<Kind> {
        match self {
            Self::Data => Ok(Kind::Data),
            Self::WrappedKey => Ok(Kind::WrappedKey),
            Self::__Invalid => Err(invalid_argument("a kind is 'data' or 'wrapped-key'")),
        }
    }
}

#[wasm_bindgen(js_name = sealedLen)]
pub fn sealed_len(payload_len: f64, content_type_len: f64, pad: bool) -> Result<usize> {
    Ok(envelope::sealed_len(usize_of(payload_len), usize_of(content_type_len), bytes::padding(pad))?)
}

#[wasm_bindgen(js_name = payloadBound)]
pub fn payload_bound(sealed_len: f64) -> usize {
    envelope::payload_bound(usize_of(sealed_len))
}

#[wasm_bindgen(js_name = headLen)]
pub fn head_len() -> usize {
    HEAD_LEN
}

/// How many bytes tell whether a value is sealed.
const SEEN_LEN: usize = 32;

#[wasm_bindgen(js_name = isSealed)]
pub fn is_sealed(value: &Bytes) -> Result<bool> {
    Ok(text::is_sealed(&value.take_start(SEEN_LEN)?))
}

#[wasm_bindgen(js_name = envelopeDekId)]
pub fn envelope_dek_id(sealed: &Bytes) -> Result<Vec<u8>> {
    let start = sealed.take_start(HEAD_LEN)?;
    Ok(Head::parse(&start, sealed.length(), Kind::Data)?.key_id().into())
}

#[wasm_bindgen(js_name = shortCommitment)]
pub fn short_commitment(sealed: &Bytes) -> Result<Vec<u8>> {
    Ok(Envelope::parse(&bytes::take_sealed(sealed)?, Kind::Data)?.short_commitment().into())
}

#[wasm_bindgen(js_name = encodeText)]
pub fn encode_text(envelope: &Bytes, kind: KindName) -> Result<String> {
    Ok(text::encode(&envelope.take()?, kind.kind()?))
}

#[wasm_bindgen(js_name = decodeText)]
pub fn decode_text(#[wasm_bindgen(unchecked_param_type = "string")] text: &JsString, kind: KindName) -> Result<Vec<u8>> {
    Ok(text::decode(&bytes::take_text(text)?, kind.kind()?)?)
}

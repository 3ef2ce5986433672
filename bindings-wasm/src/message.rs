//! `CoreMessage`.

use js_sys::Uint8Array;
use sealpoint_core::Message;
use sealpoint_core::limits::CHUNK_LEN;
use serde::ser::SerializeMap as _;
use wasm_bindgen::prelude::*;

use crate::bytes::Bytes;
use crate::{Result, invalid_argument, object, usize_of};

#[wasm_bindgen(js_name = CoreMessage)]
pub struct CoreMessage(pub(crate) Message);

#[wasm_bindgen(js_class = CoreMessage)]
impl CoreMessage {
    pub fn head(&self) -> Vec<u8> {
        self.0.head().into()
    }

    pub fn prefix(&self) -> Vec<u8> {
        self.0.prefix().into()
    }

    #[wasm_bindgen(js_name = innerLen)]
    pub fn inner_len(&self) -> usize {
        self.0.inner_len()
    }

    pub fn suffix(&self) -> Vec<u8> {
        self.0.suffix().into()
    }

    pub fn key(&self) -> Result<Uint8Array> {
        Ok(Uint8Array::from(self.0.key()?.as_slice()))
    }

    pub fn nonces(&self, first: f64, count: f64) -> Result<Vec<u8>> {
        let (first, count) = (usize_of(first), usize_of(count));
        if first.saturating_add(count) > self.0.inner_len() / CHUNK_LEN + 1 {
            return Err(invalid_argument("the message has fewer chunks"));
        }
        let mut nonces = Vec::new();
        for number in first..first + count {
            nonces.extend_from_slice(&self.0.nonce(number)?);
        }
        Ok(nonces)
    }

    #[wasm_bindgen(js_name = innerHeadLen)]
    pub fn inner_head_len(&self) -> usize {
        self.0.inner_head_len()
    }

    #[wasm_bindgen(unchecked_return_type = "{ contentType: string; start: number; end: number }")]
    pub fn payload(&self, inner: &Bytes) -> Result<JsValue> {
        let (content_type, at) = self.0.payload(&inner.take()?)?;
        object(|entries| {
            entries.serialize_entry("contentType", &content_type)?;
            entries.serialize_entry("start", &at.start)?;
            entries.serialize_entry("end", &at.end)
        })
    }
}

//! `CoreContext`.

use sealpoint_core::Context;
use wasm_bindgen::prelude::*;

use crate::bytes::Bytes;
use crate::keys::{key_id, purpose};
use crate::{Result, byte_of};

#[wasm_bindgen(js_name = CoreContext)]
pub struct CoreContext(pub(crate) Context);

#[wasm_bindgen(js_class = CoreContext)]
impl CoreContext {
    pub fn extend(&self, pairs: &str) -> Result<Self> {
        Ok(Self(self.0.extend_json(pairs)?))
    }

    pub fn canonical(&self) -> Vec<u8> {
        self.0.canonical().into()
    }

    pub fn tenant(&self) -> String {
        self.0.tenant().into()
    }

    pub fn purpose(&self) -> String {
        self.0.purpose().into()
    }

    pub fn pairs(&self) -> Vec<String> {
        let mut pairs = Vec::new();
        for (key, value) in self.0.iter() {
            pairs.push(key.into());
            pairs.push(value.into());
        }
        pairs
    }
}

#[wasm_bindgen(js_name = newContext)]
pub fn new_context(pairs: &str) -> Result<CoreContext> {
    Ok(CoreContext(Context::from_json(pairs)?))
}

#[wasm_bindgen(js_name = contextFromCanonical)]
pub fn context_from_canonical(canonical: &Bytes) -> Result<CoreContext> {
    Ok(CoreContext(Context::from_canonical(&canonical.take()?)?))
}

#[wasm_bindgen(js_name = wrapContext)]
pub fn wrap_context(tenant: &str, dek_id: &Bytes, dek_purpose: f64, suite: f64) -> Result<CoreContext> {
    Ok(CoreContext(sealpoint_core::wrap_context(tenant, &key_id(&dek_id.take()?)?, purpose(dek_purpose)?, byte_of(suite))?))
}

#[wasm_bindgen(js_name = openOnlyContext)]
pub fn open_only_context(wrap: &CoreContext) -> Result<CoreContext> {
    Ok(CoreContext(sealpoint_core::open_only_context(&wrap.0)?))
}

#[wasm_bindgen(js_name = canaryContext)]
pub fn canary_context(kek_uri: &str) -> Result<CoreContext> {
    Ok(CoreContext(sealpoint_core::canary_context(kek_uri)?))
}

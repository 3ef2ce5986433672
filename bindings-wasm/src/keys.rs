//! `CoreSecret`, `CoreKek`, `CoreDek`.

use std::sync::Arc;

use js_sys::{Object, Reflect, Uint8Array};
use sealpoint_core::envelope::KEY_ID_LEN;
use sealpoint_core::{Dek, DekPurpose, DekRecord, Kek, Secret};
use serde::ser::SerializeMap as _;
use wasm_bindgen::prelude::*;

use crate::bytes::{self, Bytes};
use crate::context::CoreContext;
use crate::message::CoreMessage;
use crate::{Result, byte_of, invalid_argument, object, usize_of};

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = "
export interface CoreRecord { dekId: Uint8Array; tenant: string; dekPurpose: number; suite: number; version: number; }
export interface CoreOpened { contentType: string; length: number; }";

pub fn key_id(bytes: &[u8]) -> Result<[u8; KEY_ID_LEN]> {
    bytes.try_into().map_err(|_| invalid_argument("a dek_id has exactly 16 bytes"))
}

pub fn purpose(number: f64) -> Result<DekPurpose> {
    Ok(DekPurpose::from_number(byte_of(number))?)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates")]
const fn version_of(number: f64) -> u32 {
    number as u32
}

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_name = Object, typescript_type = "CoreRecord")]
    pub type JsRecord;

    #[wasm_bindgen(method, getter, js_name = dekId)]
    fn dek_id(this: &JsRecord) -> Bytes;

    #[wasm_bindgen(method, getter)]
    fn tenant(this: &JsRecord) -> String;

    #[wasm_bindgen(method, getter, js_name = dekPurpose)]
    fn dek_purpose(this: &JsRecord) -> f64;

    #[wasm_bindgen(method, getter)]
    fn suite(this: &JsRecord) -> f64;

    #[wasm_bindgen(method, getter)]
    fn version(this: &JsRecord) -> f64;
}

impl JsRecord {
    fn read(&self) -> Result<DekRecord> {
        let (dek_id, purpose) = (key_id(&self.dek_id().take()?)?, purpose(self.dek_purpose())?);
        Ok(DekRecord { dek_id, tenant: self.tenant(), purpose, suite: byte_of(self.suite()), version: version_of(self.version()) })
    }
}

pub fn opened((content_type, length): (String, usize)) -> Result<JsValue> {
    object(|entries| {
        entries.serialize_entry("contentType", &content_type)?;
        entries.serialize_entry("length", &length)
    })
}

#[wasm_bindgen(js_name = CoreSecret)]
pub struct CoreSecret(pub(crate) Secret);

#[wasm_bindgen(js_class = CoreSecret)]
impl CoreSecret {
    pub fn expose(&self) -> Uint8Array {
        Uint8Array::from(self.0.expose().as_slice())
    }

    pub fn equals(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

#[wasm_bindgen(js_name = generateSecret)]
pub fn generate_secret() -> Result<CoreSecret> {
    Ok(CoreSecret(Secret::generate()?))
}

#[wasm_bindgen(js_name = secretFromBytes)]
pub fn secret_from_bytes(bytes: &Bytes) -> Result<CoreSecret> {
    Ok(CoreSecret(Secret::from_slice(&bytes.take()?)?))
}

#[wasm_bindgen(js_name = canarySecret)]
pub fn canary_secret(kek_uri: &str) -> CoreSecret {
    CoreSecret(sealpoint_core::canary_secret(kek_uri))
}

#[wasm_bindgen(js_name = CoreKek)]
pub struct CoreKek(Kek);

#[wasm_bindgen(js_class = CoreKek)]
impl CoreKek {
    #[wasm_bindgen(js_name = kekId)]
    pub fn kek_id(&self) -> Vec<u8> {
        self.0.kek_id().into()
    }

    pub fn wrap(&self, secret: &CoreSecret, context: &CoreContext) -> Result<Vec<u8>> {
        Ok(self.0.wrap(&secret.0, &context.0)?)
    }

    pub fn unwrap(&self, wrapped: &Bytes, context: &CoreContext) -> Result<CoreSecret> {
        Ok(CoreSecret(self.0.unwrap(&wrapped.take()?, &context.0)?))
    }
}

#[wasm_bindgen(js_name = kekFromText)]
pub fn kek_from_text(text: &str) -> Result<CoreKek> {
    Ok(CoreKek(Kek::from_text(text)?))
}

#[wasm_bindgen(js_name = kekFromBytes)]
pub fn kek_from_bytes(bytes: &Bytes) -> Result<CoreKek> {
    Ok(CoreKek(Kek::from_bytes(&bytes.take()?)?))
}

#[wasm_bindgen(js_name = CoreDek)]
pub struct CoreDek(pub(crate) Arc<Dek>);

#[wasm_bindgen(js_class = CoreDek)]
impl CoreDek {
    #[wasm_bindgen(unchecked_return_type = "CoreRecord")]
    pub fn record(&self) -> Result<JsValue> {
        let record = self.0.record();
        object(|entries| {
            entries.serialize_entry("dekId", serde_bytes::Bytes::new(&record.dek_id))?;
            entries.serialize_entry("tenant", &record.tenant)?;
            entries.serialize_entry("dekPurpose", &(record.purpose as u8))?;
            entries.serialize_entry("suite", &record.suite)?;
            entries.serialize_entry("version", &record.version)
        })
    }

    #[wasm_bindgen(js_name = keyCheck)]
    pub fn key_check(&self) -> Vec<u8> {
        self.0.key_check().into()
    }

    #[wasm_bindgen(js_name = sealInto)]
    pub fn seal_into(&self, payload: &Bytes, content_type: &str, pad: bool, context: &CoreContext, out: &Bytes) -> Result<()> {
        bytes::seal(&self.0, payload, content_type, pad, &context.0, out)
    }

    #[wasm_bindgen(js_name = openInto)]
    pub fn open_into(&self, sealed: &Bytes, context: &CoreContext, out: &Bytes) -> Result<usize> {
        bytes::open(&self.0, &bytes::take_sealed(sealed)?, &context.0, out).map(|(_, len)| len)
    }

    #[wasm_bindgen(js_name = openTypedInto, unchecked_return_type = "CoreOpened")]
    pub fn open_typed_into(&self, sealed: &Bytes, context: &CoreContext, out: &Bytes) -> Result<JsValue> {
        opened(bytes::open(&self.0, &bytes::take_sealed(sealed)?, &context.0, out)?)
    }

    #[wasm_bindgen(js_name = beginSeal)]
    pub fn begin_seal(&self, payload_len: f64, content_type: &str, pad: bool, context: &CoreContext) -> Result<CoreMessage> {
        Ok(CoreMessage(self.0.begin_seal(usize_of(payload_len), content_type, bytes::padding(pad), &context.0)?))
    }

    #[wasm_bindgen(js_name = beginOpen)]
    pub fn begin_open(&self, head: &Bytes, sealed_len: f64, context: &CoreContext) -> Result<CoreMessage> {
        Ok(CoreMessage(self.0.begin_open(&head.take()?, usize_of(sealed_len), &context.0)?))
    }
}

#[wasm_bindgen(js_name = generateDek, unchecked_return_type = "{ dek: CoreDek; secret: CoreSecret }")]
pub fn generate_dek(tenant: &str, dek_purpose: f64, version: f64) -> Result<JsValue> {
    let (dek, secret) = Dek::generate(tenant, purpose(dek_purpose)?, version_of(version))?;
    let pair = Object::new();
    let _ = Reflect::set(&pair, &"dek".into(), &CoreDek(Arc::new(dek)).into());
    let _ = Reflect::set(&pair, &"secret".into(), &CoreSecret(secret).into());
    Ok(pair.into())
}

#[wasm_bindgen(js_name = dekFromSecret)]
pub fn dek_from_secret(secret: &CoreSecret, record: &JsRecord, key_check: &Bytes) -> Result<CoreDek> {
    Ok(CoreDek(Arc::new(Dek::from_secret(&secret.0, record.read()?, &key_check.take()?)?)))
}

#[wasm_bindgen(js_name = exportKey)]
pub fn export_key(secret: &CoreSecret, record: &JsRecord) -> Result<String> {
    Ok(sealpoint_core::export_key(&secret.0, &record.read()?)?.as_str().into())
}

#[wasm_bindgen(js_name = importKey)]
pub fn import_key(text: &str) -> Result<CoreDek> {
    Ok(CoreDek(Arc::new(sealpoint_core::import_key(text)?)))
}

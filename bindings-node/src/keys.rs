//! `CoreSecret`, `CoreKek`, `CoreDek`.

use std::sync::Arc;

use napi::Env;
use napi::bindgen_prelude::{ClassInstance, Object, Uint8Array, Uint8ArraySlice};
use napi_derive::napi;
use sealpoint_core::envelope::KEY_ID_LEN;
use sealpoint_core::{Dek, DekPurpose, DekRecord, Kek, Result, Secret};
use zeroize::Zeroizing;

use crate::bytes::{self, Opened, length, padding};
use crate::context::CoreContext;
use crate::message::CoreMessage;
use crate::{DISPOSED, copied, done, invalid};

#[napi(object)]
pub struct CoreRecord {
    pub dek_id: Uint8Array,
    pub tenant: String,
    pub dek_purpose: u8,
    pub suite: u8,
    pub version: u32,
}

#[napi]
pub struct CoreSecret(Option<Secret>);

#[napi]
pub struct CoreKek(Option<Kek>);

#[napi]
pub struct CoreDek(Option<Arc<Dek>>);

impl CoreSecret {
    pub fn get(&self) -> Result<&Secret> {
        self.0.as_ref().ok_or(DISPOSED)
    }
}

impl CoreDek {
    pub fn get(&self) -> Result<&Arc<Dek>> {
        self.0.as_ref().ok_or(DISPOSED)
    }
}

impl From<Secret> for CoreSecret {
    fn from(secret: Secret) -> Self {
        Self(Some(secret))
    }
}

impl From<Arc<Dek>> for CoreDek {
    fn from(dek: Arc<Dek>) -> Self {
        Self(Some(dek))
    }
}

pub fn key_id(bytes: &[u8]) -> Result<[u8; KEY_ID_LEN]> {
    bytes.try_into().map_err(|_| invalid("a dek_id has exactly 16 bytes"))
}

fn record_of(record: &CoreRecord) -> Result<DekRecord> {
    Ok(DekRecord {
        dek_id: key_id(&record.dek_id)?,
        tenant: record.tenant.clone(),
        purpose: DekPurpose::from_number(record.dek_purpose)?,
        suite: record.suite,
        version: record.version,
    })
}

#[napi]
impl CoreSecret {
    #[napi]
    pub fn expose<'e>(&self, env: &'e Env) -> napi::Result<Uint8ArraySlice<'e>> {
        copied(env, self.get().map(Secret::expose))
    }

    #[napi]
    pub fn equals(&self, env: &Env, other: &CoreSecret) -> napi::Result<bool> {
        done(env, self.get().and_then(|secret| Ok(secret == other.get()?)))
    }

    #[napi]
    pub fn free(&mut self) {
        self.0 = None;
    }
}

#[napi]
impl CoreKek {
    fn get(&self) -> Result<&Kek> {
        self.0.as_ref().ok_or(DISPOSED)
    }

    #[napi]
    pub fn kek_id<'e>(&self, env: &'e Env) -> napi::Result<Uint8ArraySlice<'e>> {
        copied(env, self.get().map(Kek::kek_id))
    }

    #[napi]
    pub fn wrap<'e>(&self, env: &'e Env, secret: &CoreSecret, context: &CoreContext) -> napi::Result<Uint8ArraySlice<'e>> {
        copied(env, self.get().and_then(|kek| kek.wrap(secret.get()?, context.get()?)))
    }

    #[napi]
    pub fn unwrap(&self, env: &Env, wrapped: &[u8], context: &CoreContext) -> napi::Result<CoreSecret> {
        done(env, self.get().and_then(|kek| kek.unwrap(wrapped, context.get()?))).map(|secret| CoreSecret(Some(secret)))
    }

    #[napi]
    pub fn free(&mut self) {
        self.0 = None;
    }
}

#[napi]
impl CoreDek {
    #[napi]
    pub fn record(&self, env: &Env) -> napi::Result<CoreRecord> {
        let record = done(env, self.get())?.record();
        let (tenant, dek_purpose) = (record.tenant.clone(), record.purpose as u8);
        Ok(CoreRecord { dek_id: record.dek_id.into(), tenant, dek_purpose, suite: record.suite, version: record.version })
    }

    #[napi]
    pub fn key_check<'e>(&self, env: &'e Env) -> napi::Result<Uint8ArraySlice<'e>> {
        copied(env, self.get().map(|dek| dek.key_check()))
    }

    #[napi]
    pub fn seal_into(
        &self,
        env: &Env,
        payload: &[u8],
        content_type: String,
        pad: bool,
        context: ClassInstance<'_, CoreContext>,
        mut out: Uint8ArraySlice<'_>,
    ) -> napi::Result<()> {
        done(env, self.get().and_then(|dek| bytes::seal_into(dek, payload, &content_type, pad, context.get()?, &mut out)))
    }

    #[napi]
    pub fn open_into(&self, env: &Env, sealed: &[u8], context: ClassInstance<'_, CoreContext>, mut out: Uint8ArraySlice<'_>) -> napi::Result<i64> {
        done(env, self.get().and_then(|dek| bytes::open_into(dek, sealed, context.get()?, &mut out))).map(|(_, len)| len as i64)
    }

    #[napi]
    pub fn open_typed_into(
        &self,
        env: &Env,
        sealed: &[u8],
        context: ClassInstance<'_, CoreContext>,
        mut out: Uint8ArraySlice<'_>,
    ) -> napi::Result<Opened> {
        done(env, self.get().and_then(|dek| bytes::open_into(dek, sealed, context.get()?, &mut out))).map(bytes::opened)
    }

    #[napi]
    pub fn begin_seal(&self, env: &Env, payload_len: i64, content_type: String, pad: bool, context: &CoreContext) -> napi::Result<CoreMessage> {
        let message = self.get().and_then(|dek| dek.begin_seal(length(payload_len), &content_type, padding(pad), context.get()?));
        done(env, message).map(Into::into)
    }

    #[napi]
    pub fn begin_open(&self, env: &Env, head: &[u8], sealed_len: i64, context: &CoreContext) -> napi::Result<CoreMessage> {
        done(env, self.get().and_then(|dek| dek.begin_open(head, length(sealed_len), context.get()?))).map(Into::into)
    }

    #[napi]
    pub fn free(&mut self) {
        self.0 = None;
    }
}

#[napi]
pub fn wrap_context(env: &Env, tenant: String, dek_id: &[u8], dek_purpose: u8, suite: u8) -> napi::Result<CoreContext> {
    let purpose = DekPurpose::from_number(dek_purpose);
    done(env, purpose.and_then(|purpose| sealpoint_core::wrap_context(&tenant, &key_id(dek_id)?, purpose, suite))).map(Into::into)
}

#[napi]
pub fn open_only_context(env: &Env, wrap: &CoreContext) -> napi::Result<CoreContext> {
    done(env, wrap.get().and_then(sealpoint_core::open_only_context)).map(Into::into)
}

#[napi]
pub fn canary_context(env: &Env, kek_uri: String) -> napi::Result<CoreContext> {
    done(env, sealpoint_core::canary_context(&kek_uri)).map(Into::into)
}

#[napi]
pub fn canary_secret(kek_uri: String) -> CoreSecret {
    CoreSecret(Some(sealpoint_core::canary_secret(&kek_uri)))
}

#[napi]
pub fn generate_secret(env: &Env) -> napi::Result<CoreSecret> {
    done(env, Secret::generate()).map(|secret| CoreSecret(Some(secret)))
}

#[napi]
pub fn secret_from_bytes(env: &Env, bytes: &[u8]) -> napi::Result<CoreSecret> {
    done(env, Secret::from_slice(bytes)).map(|secret| CoreSecret(Some(secret)))
}

#[napi]
pub fn kek_from_text(env: &Env, text: String) -> napi::Result<CoreKek> {
    done(env, Kek::from_text(&Zeroizing::new(text))).map(|kek| CoreKek(Some(kek)))
}

#[napi]
pub fn kek_from_bytes(env: &Env, bytes: &[u8]) -> napi::Result<CoreKek> {
    done(env, Kek::from_bytes(bytes)).map(|kek| CoreKek(Some(kek)))
}

#[napi(ts_return_type = "{ dek: CoreDek; secret: CoreSecret }")]
pub fn generate_dek(env: &Env, tenant: String, dek_purpose: u8, version: u32) -> napi::Result<Object<'_>> {
    let purpose = DekPurpose::from_number(dek_purpose);
    let (dek, secret) = done(env, purpose.and_then(|purpose| Dek::generate(&tenant, purpose, version)))?;
    let mut pair = Object::new(env)?;
    pair.set("dek", CoreDek(Some(Arc::new(dek))))?;
    pair.set("secret", CoreSecret(Some(secret)))?;
    Ok(pair)
}

#[napi]
pub fn dek_from_secret(env: &Env, secret: &CoreSecret, record: CoreRecord, key_check: &[u8]) -> napi::Result<CoreDek> {
    done(env, secret.get().and_then(|secret| Dek::from_secret(secret, record_of(&record)?, key_check))).map(|dek| Arc::new(dek).into())
}

#[napi]
pub fn export_key(env: &Env, secret: &CoreSecret, record: CoreRecord) -> napi::Result<String> {
    done(env, secret.get().and_then(|secret| sealpoint_core::export_key(secret, &record_of(&record)?))).map(|text| text.as_str().to_owned())
}

#[napi]
pub fn import_key(env: &Env, text: String) -> napi::Result<CoreDek> {
    done(env, sealpoint_core::import_key(&Zeroizing::new(text))).map(|dek| Arc::new(dek).into())
}

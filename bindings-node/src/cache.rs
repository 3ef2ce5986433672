//! `CoreDekCache`: the core's cache with the clocks of this process. It belongs to one thread.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use napi::Env;
use napi::bindgen_prelude::{ClassInstance, Either, Uint8ArraySlice};
use napi_derive::napi;
use sealpoint_core::envelope::{Envelope, Kind};
use sealpoint_core::{CacheConfig, Dek, DekCache, DekPurpose, Result, Timestamp};

use crate::bytes::{self, Opened, length};
use crate::context::CoreContext;
use crate::done;
use crate::keys::{CoreDek, key_id};

#[napi]
pub struct CoreDekCache {
    /// Borrowed for a look-up only.
    deks: RefCell<DekCache>,
    started: Instant,
    advanced_ms: Cell<u64>,
}

impl CoreDekCache {
    fn now(&self) -> Timestamp {
        let advanced = self.advanced_ms.get();
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).saturating_add(advanced);
        Timestamp { monotonic_ms: ms(self.started.elapsed()), wall_ms: ms(wall) }
    }

    fn find_active(&self, context: &CoreContext, dek_purpose: u8) -> Result<Option<Arc<Dek>>> {
        Ok(self.deks.borrow_mut().active(context.get()?.tenant(), DekPurpose::from_number(dek_purpose)?, self.now()))
    }

    fn find_named(&self, sealed: &[u8], dek_purpose: u8) -> Result<Option<Arc<Dek>>> {
        let (envelope, purpose) = (Envelope::parse(sealed, Kind::Data)?, DekPurpose::from_number(dek_purpose)?);
        self.deks.borrow_mut().get_for(envelope.key_id(), purpose, self.now())
    }

    fn open(&self, sealed: &[u8], context: &CoreContext, dek_purpose: u8, out: &mut Uint8ArraySlice<'_>) -> Result<Option<(String, usize)>> {
        let Some(dek) = self.find_named(sealed, dek_purpose)? else { return Ok(None) };
        bytes::open_into(&dek, sealed, context.get()?, out).map(Some)
    }
}

#[napi]
impl CoreDekCache {
    #[napi]
    pub fn insert(&self, env: &Env, dek: &CoreDek, active: bool, open_only: bool) -> napi::Result<()> {
        let (dek, mut deks, now) = (done(env, dek.get())?, self.deks.borrow_mut(), self.now());
        let record = dek.record();
        deks.insert(Arc::clone(dek), open_only, now);
        if active {
            deks.set_active(&record.tenant, record.purpose, &record.dek_id, now);
        }
        Ok(())
    }

    #[napi]
    pub fn contains(&self, env: &Env, dek_id: &[u8]) -> napi::Result<bool> {
        done(env, key_id(dek_id)).map(|dek_id| self.deks.borrow_mut().get(&dek_id, self.now()).is_some())
    }

    #[napi]
    pub fn set_active(&self, env: &Env, tenant: String, dek_purpose: u8, dek_id: &[u8]) -> napi::Result<bool> {
        let set = |purpose| Ok(self.deks.borrow_mut().set_active(&tenant, purpose, &key_id(dek_id)?, self.now()));
        done(env, DekPurpose::from_number(dek_purpose).and_then(set))
    }

    #[napi]
    pub fn active(&self, env: &Env, context: &CoreContext, dek_purpose: u8) -> napi::Result<Either<CoreDek, ()>> {
        done(env, self.find_active(context, dek_purpose)).map(|dek| or_undefined(dek.map(Into::into)))
    }

    #[napi]
    pub fn named(&self, env: &Env, sealed: &[u8], dek_purpose: u8) -> napi::Result<Either<CoreDek, ()>> {
        done(env, self.find_named(sealed, dek_purpose)).map(|dek| or_undefined(dek.map(Into::into)))
    }

    #[napi]
    #[allow(clippy::too_many_arguments, reason = "what a seal is made of")]
    pub fn seal_into(
        &self,
        env: &Env,
        payload: &[u8],
        content_type: String,
        pad: bool,
        context: ClassInstance<'_, CoreContext>,
        dek_purpose: u8,
        mut out: Uint8ArraySlice<'_>,
    ) -> napi::Result<bool> {
        let Some(dek) = done(env, self.find_active(&context, dek_purpose))? else { return Ok(false) };
        done(env, context.get().and_then(|context| bytes::seal_into(&dek, payload, &content_type, pad, context, &mut out))).map(|()| true)
    }

    #[napi]
    pub fn open_into(
        &self,
        env: &Env,
        sealed: &[u8],
        context: ClassInstance<'_, CoreContext>,
        dek_purpose: u8,
        mut out: Uint8ArraySlice<'_>,
    ) -> napi::Result<i64> {
        done(env, self.open(sealed, &context, dek_purpose, &mut out)).map(|opened| opened.map_or(-1, |(_, len)| len as i64))
    }

    #[napi]
    pub fn open_typed_into(
        &self,
        env: &Env,
        sealed: &[u8],
        context: ClassInstance<'_, CoreContext>,
        dek_purpose: u8,
        mut out: Uint8ArraySlice<'_>,
    ) -> napi::Result<Either<Opened, ()>> {
        done(env, self.open(sealed, &context, dek_purpose, &mut out)).map(|opened| or_undefined(opened.map(bytes::opened)))
    }

    #[napi]
    pub fn evict(&self, env: &Env, dek_id: &[u8]) -> napi::Result<bool> {
        done(env, key_id(dek_id)).map(|dek_id| self.deks.borrow_mut().evict(&dek_id))
    }

    #[napi]
    pub fn evict_tenant(&self, tenant: String) -> i64 {
        self.deks.borrow_mut().evict_tenant(&tenant) as i64
    }

    #[napi]
    pub fn clear(&self) {
        self.deks.borrow_mut().clear();
    }

    #[napi]
    pub fn size(&self) -> i64 {
        let mut deks = self.deks.borrow_mut();
        deks.purge(self.now());
        deks.len() as i64
    }

    #[napi]
    pub fn advance(&self, ms: i64) {
        self.advanced_ms.set(self.advanced_ms.get().saturating_add(length(ms) as u64));
    }

    #[napi]
    pub fn free(&self) {
        self.clear();
    }
}

fn or_undefined<T>(value: Option<T>) -> Either<T, ()> {
    value.map_or(Either::B(()), Either::A)
}

#[napi]
pub fn new_dek_cache(env: &Env, ttl_ms: i64, pointer_ttl_ms: i64, capacity: i64) -> napi::Result<CoreDekCache> {
    let config = CacheConfig { ttl_ms: length(ttl_ms) as u64, pointer_ttl_ms: length(pointer_ttl_ms) as u64, capacity: length(capacity) };
    let deks = done(env, DekCache::new(config))?;
    Ok(CoreDekCache { deks: RefCell::new(deks), started: Instant::now(), advanced_ms: Cell::new(0) })
}

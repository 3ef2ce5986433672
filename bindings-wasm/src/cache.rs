//! `CoreDekCache`: the core's cache with the clocks of JavaScript.

use std::sync::Arc;

use sealpoint_core::envelope::{Envelope, HEAD_LEN, Head, Kind};
use sealpoint_core::{CacheConfig, Dek, DekCache, Timestamp};
use wasm_bindgen::prelude::*;

use crate::bytes::{self, Bytes};
use crate::context::CoreContext;
use crate::keys::{CoreDek, key_id, opened, purpose};
use crate::{Result, usize_of};

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = performance, js_name = now)]
    fn monotonic_ms() -> f64;

    #[wasm_bindgen(js_namespace = Date, js_name = now)]
    fn wall_ms() -> f64;
}

#[wasm_bindgen(js_name = CoreDekCache)]
pub struct CoreDekCache {
    cache: DekCache,
    advanced_ms: u64,
}

#[wasm_bindgen(js_name = newDekCache)]
pub fn new_dek_cache(ttl_ms: f64, pointer_ttl_ms: f64, capacity: f64) -> Result<CoreDekCache> {
    let config = CacheConfig { ttl_ms: millis(ttl_ms), pointer_ttl_ms: millis(pointer_ttl_ms), capacity: usize_of(capacity) };
    Ok(CoreDekCache { cache: DekCache::new(config)?, advanced_ms: 0 })
}

#[wasm_bindgen(js_class = CoreDekCache)]
impl CoreDekCache {
    pub fn insert(&mut self, dek: &CoreDek, active: bool, open_only: bool) {
        let (now, record) = (self.now(), dek.0.record());
        self.cache.insert(Arc::clone(&dek.0), open_only, now);
        if active {
            self.cache.set_active(&record.tenant, record.purpose, &record.dek_id, now);
        }
    }

    pub fn contains(&mut self, dek_id: &Bytes) -> Result<bool> {
        let (dek_id, now) = (key_id(&dek_id.take()?)?, self.now());
        Ok(self.cache.get(&dek_id, now).is_some())
    }

    #[wasm_bindgen(js_name = setActive)]
    pub fn set_active(&mut self, tenant: &str, dek_purpose: f64, dek_id: &Bytes) -> Result<bool> {
        let (purpose, dek_id, now) = (purpose(dek_purpose)?, key_id(&dek_id.take()?)?, self.now());
        Ok(self.cache.set_active(tenant, purpose, &dek_id, now))
    }

    pub fn active(&mut self, context: &CoreContext, dek_purpose: f64) -> Result<Option<CoreDek>> {
        Ok(self.active_dek(context, dek_purpose)?.map(CoreDek))
    }

    pub fn named(&mut self, sealed: &Bytes, dek_purpose: f64) -> Result<Option<CoreDek>> {
        let (purpose, start, now) = (purpose(dek_purpose)?, sealed.take_start(HEAD_LEN)?, self.now());
        let dek_id = Head::parse(&start, sealed.length(), Kind::Data)?.key_id();
        Ok(self.cache.get_for(dek_id, purpose, now)?.map(CoreDek))
    }

    #[wasm_bindgen(js_name = sealInto)]
    pub fn seal_into(
        &mut self,
        payload: &Bytes,
        content_type: &str,
        pad: bool,
        context: &CoreContext,
        dek_purpose: f64,
        out: &Bytes,
    ) -> Result<bool> {
        let Some(dek) = self.active_dek(context, dek_purpose)? else { return Ok(false) };
        bytes::seal(&dek, payload, content_type, pad, &context.0, out).map(|()| true)
    }

    #[wasm_bindgen(js_name = openInto)]
    pub fn open_into(&mut self, sealed: &Bytes, context: &CoreContext, dek_purpose: f64, out: &Bytes) -> Result<f64> {
        Ok(self.open(sealed, context, dek_purpose, out)?.map_or(-1.0, |(_, len)| len as f64))
    }

    #[wasm_bindgen(js_name = openTypedInto, unchecked_return_type = "CoreOpened | undefined")]
    pub fn open_typed_into(&mut self, sealed: &Bytes, context: &CoreContext, dek_purpose: f64, out: &Bytes) -> Result<JsValue> {
        self.open(sealed, context, dek_purpose, out)?.map_or(Ok(JsValue::UNDEFINED), opened)
    }

    pub fn evict(&mut self, dek_id: &Bytes) -> Result<bool> {
        Ok(self.cache.evict(&key_id(&dek_id.take()?)?))
    }

    #[wasm_bindgen(js_name = evictTenant)]
    pub fn evict_tenant(&mut self, tenant: &str) -> usize {
        self.cache.evict_tenant(tenant)
    }

    pub fn clear(&mut self) {
        self.cache.clear();
    }

    pub fn size(&mut self) -> usize {
        self.cache.purge(self.now());
        self.cache.len()
    }

    pub fn advance(&mut self, ms: f64) {
        self.advanced_ms = self.advanced_ms.saturating_add(millis(ms));
    }
}

impl CoreDekCache {
    fn active_dek(&mut self, context: &CoreContext, dek_purpose: f64) -> Result<Option<Arc<Dek>>> {
        let (purpose, now) = (purpose(dek_purpose)?, self.now());
        Ok(self.cache.active(context.0.tenant(), purpose, now))
    }

    fn open(&mut self, sealed: &Bytes, context: &CoreContext, dek_purpose: f64, out: &Bytes) -> Result<Option<(String, usize)>> {
        let (purpose, sealed, now) = (purpose(dek_purpose)?, bytes::take_sealed(sealed)?, self.now());
        let dek_id = *Envelope::parse(&sealed, Kind::Data)?.key_id();
        let Some(dek) = self.cache.get_for(&dek_id, purpose, now)? else { return Ok(None) };
        bytes::open(&dek, &sealed, &context.0, out).map(Some)
    }

    fn now(&self) -> Timestamp {
        let on = |clock: f64| millis(clock).saturating_add(self.advanced_ms);
        Timestamp { monotonic_ms: on(monotonic_ms()), wall_ms: on(wall_ms()) }
    }
}

/// A time from JavaScript, in whole milliseconds.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates")]
const fn millis(time: f64) -> u64 {
    time as u64
}

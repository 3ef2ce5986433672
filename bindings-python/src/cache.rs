//! `DekCache`: the core's cache behind one lock, with the clocks of this process.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::{PyBytes, PyList, PyTuple};
use sealpoint_core::envelope::{Envelope, Kind};
use sealpoint_core::{CacheConfig, DekPurpose, Salts, Timestamp};

use crate::buffer::{self, Input};
use crate::context::{self, Context};
use crate::keys::{DataKey, key_id};
use crate::{invalid_argument, raise};

/// What `seal_many` seals: pairs for the context, payload, content type, whether to pad, whether as text.
type Item<'py> = (Bound<'py, PyTuple>, Bound<'py, PyAny>, PyBackedStr, bool, bool);

#[pyclass(frozen, module = "sealpoint")]
pub struct DekCache {
    cache: Mutex<sealpoint_core::DekCache>,
    started: Instant,
    advanced_ms: AtomicU64,
}

#[pymethods]
impl DekCache {
    #[new]
    #[pyo3(signature = (*, ttl, pointer_ttl, capacity))]
    fn new(ttl: f64, pointer_ttl: f64, capacity: usize) -> PyResult<Self> {
        let config = CacheConfig { ttl_ms: millis(ttl)?, pointer_ttl_ms: millis(pointer_ttl)?, capacity };
        let cache = sealpoint_core::DekCache::new(config).map_err(|error| raise(&error))?;
        Ok(Self { cache: Mutex::new(cache), started: Instant::now(), advanced_ms: AtomicU64::new(0) })
    }

    #[pyo3(signature = (key, *, active=false, open_only=false))]
    fn insert(&self, key: &DataKey, active: bool, open_only: bool) {
        let (mut cache, now, record) = (self.lock(), self.now(), key.0.record());
        cache.insert(Arc::clone(&key.0), open_only, now);
        if active {
            cache.set_active(&record.tenant, record.purpose, &record.dek_id, now);
        }
    }

    fn contains(&self, dek_id: &[u8]) -> PyResult<bool> {
        let dek_id = key_id(dek_id)?;
        Ok(self.lock().get(&dek_id, self.now()).is_some())
    }

    fn set_active(&self, tenant: &str, dek_purpose: u8, dek_id: &[u8]) -> PyResult<bool> {
        let (purpose, dek_id) = (purpose(dek_purpose)?, key_id(dek_id)?);
        Ok(self.lock().set_active(tenant, purpose, &dek_id, self.now()))
    }

    #[pyo3(signature = (payload, context, content_type="", pad=false, text=false, dek_purpose=1))]
    fn seal(
        &self,
        payload: &Bound<'_, PyAny>,
        context: &Context,
        content_type: &str,
        pad: bool,
        text: bool,
        dek_purpose: u8,
    ) -> PyResult<Option<Py<PyAny>>> {
        let (data, purpose) = (Input::from_buffer(payload)?, purpose(dek_purpose)?);
        let Some(dek) = self.lock().active(context.0.tenant(), purpose, self.now()) else { return Ok(None) };
        buffer::seal(payload.py(), &dek, &data, &context.0, content_type, pad, text).map(Some)
    }

    #[pyo3(signature = (base, items, dek_purpose=1))]
    fn seal_many<'py>(&self, base: &Context, items: Vec<Item<'py>>, dek_purpose: u8, py: Python<'py>) -> PyResult<Option<Bound<'py, PyList>>> {
        let purpose = purpose(dek_purpose)?;
        let Some(dek) = self.lock().active(base.0.tenant(), purpose, self.now()) else { return Ok(None) };
        let mut salts = Salts::draw(items.len()).map_err(|error| raise(&error))?;
        let sealed = items.iter().map(|(pairs, payload, content_type, pad, text)| {
            let context = context::extended(base, pairs)?;
            buffer::seal_next(py, &dek, &mut salts, &Input::from_buffer(payload)?, &context, content_type, *pad, *text)
        });
        PyList::new(py, sealed.collect::<PyResult<Vec<_>>>()?).map(Some)
    }

    #[pyo3(signature = (sealed, context, dek_purpose=1))]
    fn open<'py>(&self, sealed: &Bound<'py, PyAny>, context: &Context, dek_purpose: u8) -> PyResult<Option<(String, Py<PyBytes>)>> {
        let purpose = purpose(dek_purpose)?;
        let sealed_bytes = Input::from_sealed(sealed, Kind::Data)?;
        let dek_id = *Envelope::parse(sealed_bytes.as_slice(), Kind::Data).map_err(|error| raise(&error))?.key_id();
        let Some(dek) = self.lock().get_for(&dek_id, purpose, self.now()).map_err(|error| raise(&error))? else { return Ok(None) };
        buffer::open(sealed.py(), &dek, &sealed_bytes, &context.0).map(Some)
    }

    fn evict(&self, dek_id: &[u8]) -> PyResult<bool> {
        let dek_id = key_id(dek_id)?;
        Ok(self.lock().evict(&dek_id))
    }

    fn evict_tenant(&self, tenant: &str) -> usize {
        self.lock().evict_tenant(tenant)
    }

    fn clear(&self) {
        self.lock().clear();
    }

    fn __len__(&self) -> usize {
        let mut cache = self.lock();
        cache.purge(self.now());
        cache.len()
    }

    fn _advance(&self, seconds: f64) -> PyResult<()> {
        self.advanced_ms.fetch_add(millis(seconds)?, Ordering::Relaxed);
        Ok(())
    }

    fn __repr__(&self) -> String {
        format!("DekCache(held={})", self.lock().len())
    }
}

impl DekCache {
    /// Held only while the interpreter is, and never across a seal or open: a fork finds it free.
    fn lock(&self) -> MutexGuard<'_, sealpoint_core::DekCache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Timestamp {
        let advanced = self.advanced_ms.load(Ordering::Relaxed);
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).saturating_add(advanced);
        Timestamp { monotonic_ms: ms(self.started.elapsed()), wall_ms: ms(wall) }
    }
}

fn purpose(number: u8) -> PyResult<DekPurpose> {
    DekPurpose::from_number(number).map_err(|error| raise(&error))
}

fn millis(seconds: f64) -> PyResult<u64> {
    let duration = Duration::try_from_secs_f64(seconds).map_err(|_| invalid_argument("a time is a finite number of seconds, not negative"))?;
    u64::try_from(duration.as_millis()).map_err(|_| invalid_argument("a time is too long"))
}

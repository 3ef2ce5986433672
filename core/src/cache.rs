//! Opened DEKs, for a time. No clock in here: the caller passes the time in.

use alloc::{string::String, sync::Arc, vec::Vec};

use crate::dek::{Dek, DekPurpose};
use crate::envelope::KEY_ID_LEN;
use crate::error::{AUTHENTICATION_FAILED, Error, ErrorCode, Result};

/// A moment on two clocks, in milliseconds: one that never jumps but may stand still in suspension, one that follows the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timestamp {
    /// The monotonic clock.
    pub monotonic_ms: u64,
    /// The wall clock.
    pub wall_ms: u64,
}

impl Timestamp {
    const fn after(self, ms: u64) -> Self {
        Self { monotonic_ms: self.monotonic_ms.saturating_add(ms), wall_ms: self.wall_ms.saturating_add(ms) }
    }

    /// Either clock says so.
    const fn is_past(self, deadline: Self) -> bool {
        self.monotonic_ms >= deadline.monotonic_ms || self.wall_ms >= deadline.wall_ms
    }
}

/// The bounds of a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheConfig {
    /// How long an opened DEK is held, in milliseconds. Use never extends it.
    pub ttl_ms: u64,
    /// How long "this DEK is the active one" is believed, in milliseconds.
    pub pointer_ttl_ms: u64,
    /// How many DEKs are held.
    pub capacity: usize,
}

struct Entry {
    dek_id: [u8; KEY_ID_LEN],
    dek: Arc<Dek>,
    open_only: bool,
    expires: Timestamp,
    last_use: u64,
}

struct Pointer {
    tenant: String,
    purpose: DekPurpose,
    dek_id: [u8; KEY_ID_LEN],
    expires: Timestamp,
}

/// Opened DEKs by dek_id, and for each tenant and purpose which one is active. What leaves is wiped with the last operation that still uses it.
pub struct DekCache {
    config: CacheConfig,
    /// In the order of their dek_ids.
    entries: Vec<Entry>,
    /// In the order of tenants and purposes.
    active: Vec<Pointer>,
    uses: u64,
}

impl DekCache {
    /// An empty cache.
    ///
    /// # Errors
    /// `invalid_argument`: a TTL or capacity of zero, or a pointer's TTL above the DEK's.
    pub fn new(config: CacheConfig) -> Result<Self> {
        if config.ttl_ms == 0 || config.pointer_ttl_ms == 0 || config.pointer_ttl_ms > config.ttl_ms || config.capacity == 0 {
            return Err(Error::new(ErrorCode::InvalidArgument, "a cache needs a capacity, a TTL, and a pointer's TTL of at most that"));
        }
        Ok(Self { config, entries: Vec::new(), active: Vec::new(), uses: 0 })
    }

    /// Holds an opened DEK; with `open_only` it never becomes the active one (SPEC section 6.1, step 5). One that is held already stays, with its
    /// deadline, since a TTL is absolute; but an open-only one, whose key somebody else may have chosen, makes room for one that is not.
    pub fn insert(&mut self, dek: Arc<Dek>, open_only: bool, now: Timestamp) {
        self.purge(now);
        let dek_id = dek.record().dek_id;
        if let Some(held) = self.position(&dek_id).ok().and_then(|at| self.entries.get_mut(at)) {
            if held.open_only && !open_only {
                (held.dek, held.open_only) = (dek, false);
            }
            return;
        }
        if self.entries.len() >= self.config.capacity {
            let oldest = self.entries.iter().min_by_key(|entry| entry.last_use).map(|entry| entry.dek_id);
            if let Some(oldest) = oldest {
                self.evict(&oldest);
            }
        }
        self.uses += 1;
        let entry = Entry { dek_id, dek, open_only, expires: now.after(self.config.ttl_ms), last_use: self.uses };
        let (Ok(at) | Err(at)) = self.position(&dek_id);
        self.entries.insert(at, entry);
    }

    /// The DEK with this id, unless it expired.
    pub fn get(&mut self, dek_id: &[u8; KEY_ID_LEN], now: Timestamp) -> Option<Arc<Dek>> {
        let at = self.position(dek_id).ok()?;
        let entry = self.entries.get_mut(at)?;
        if now.is_past(entry.expires) {
            self.evict(dek_id);
            return None;
        }
        self.uses += 1;
        entry.last_use = self.uses;
        Some(Arc::clone(&entry.dek))
    }

    /// The DEK with this id for opening, unless it expired. One that is held is for the same purpose only as one that is loaded (SPEC section 6.1, step 1).
    ///
    /// # Errors
    /// `authentication_failed` (a DEK of another purpose).
    pub fn get_for(&mut self, dek_id: &[u8; KEY_ID_LEN], purpose: DekPurpose, now: Timestamp) -> Result<Option<Arc<Dek>>> {
        match self.get(dek_id, now) {
            Some(dek) if dek.record().purpose != purpose => Err(AUTHENTICATION_FAILED),
            held => Ok(held),
        }
    }

    /// Says that a DEK which is held is the active one of its tenant and purpose. False if it is not held, is another's, or only opens.
    pub fn set_active(&mut self, tenant: &str, purpose: DekPurpose, dek_id: &[u8; KEY_ID_LEN], now: Timestamp) -> bool {
        let Some(dek) = self.get(dek_id, now) else { return false };
        let seals = self.position(dek_id).ok().and_then(|at| self.entries.get(at)).is_some_and(|entry| !entry.open_only);
        if !seals || dek.record().tenant != tenant || dek.record().purpose != purpose {
            return false;
        }
        let pointer = Pointer { tenant: tenant.into(), purpose, dek_id: *dek_id, expires: now.after(self.config.pointer_ttl_ms) };
        match self.pointer_position(tenant, purpose) {
            Ok(at) => {
                if let Some(known) = self.active.get_mut(at) {
                    *known = pointer;
                }
            }
            Err(at) => self.active.insert(at, pointer),
        }
        true
    }

    /// The active DEK of a tenant and purpose, unless it or the pointer expired.
    pub fn active(&mut self, tenant: &str, purpose: DekPurpose, now: Timestamp) -> Option<Arc<Dek>> {
        let pointer = self.active.get(self.pointer_position(tenant, purpose).ok()?)?;
        if now.is_past(pointer.expires) {
            return None;
        }
        let dek_id = pointer.dek_id;
        self.get(&dek_id, now)
    }

    /// Drops a DEK. Whether it was held.
    pub fn evict(&mut self, dek_id: &[u8; KEY_ID_LEN]) -> bool {
        self.retain(&|entry| &entry.dek_id != dek_id, &|pointer| &pointer.dek_id != dek_id) > 0
    }

    /// Drops all DEKs of a tenant and says how many there were.
    pub fn evict_tenant(&mut self, tenant: &str) -> usize {
        self.retain(&|entry| entry.dek.record().tenant != tenant, &|pointer| pointer.tenant != tenant)
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.active.clear();
    }

    /// Drops what expired.
    pub fn purge(&mut self, now: Timestamp) {
        self.retain(&|entry| !now.is_past(entry.expires), &|pointer| !now.is_past(pointer.expires));
    }

    /// Drops what is not to stay, and says how many DEKs that were.
    fn retain(&mut self, dek_stays: &dyn Fn(&Entry) -> bool, pointer_stays: &dyn Fn(&Pointer) -> bool) -> usize {
        let before = self.entries.len();
        self.entries.retain(dek_stays);
        self.active.retain(pointer_stays);
        before - self.entries.len()
    }

    fn position(&self, dek_id: &[u8; KEY_ID_LEN]) -> core::result::Result<usize, usize> {
        self.entries.binary_search_by(|entry| entry.dek_id.cmp(dek_id))
    }

    fn pointer_position(&self, tenant: &str, purpose: DekPurpose) -> core::result::Result<usize, usize> {
        self.active.binary_search_by(|pointer| pointer.tenant.as_str().cmp(tenant).then(pointer.purpose.cmp(&purpose)))
    }

    /// How many DEKs are held, expired ones included until they are touched.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl core::fmt::Debug for DekCache {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("DekCache").field("config", &self.config).field("len", &self.entries.len()).finish_non_exhaustive()
    }
}

//! The cache against a model of it, and each of its rules on its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs, reason = "a test fails by panicking")]

mod common;

use std::collections::HashMap;
use std::sync::Arc;

use proptest::prelude::*;
use sealpoint_core::{CacheConfig, Dek, DekCache, DekPurpose, ErrorCode, Timestamp};

const CONFIG: CacheConfig = CacheConfig { ttl_ms: 100, pointer_ttl_ms: 30, capacity: 3 };
const PURPOSES: [DekPurpose; 2] = [DekPurpose::Data, DekPurpose::Client];
const TENANTS: [&str; 2] = ["acme", "umbrella"];
const DEKS: usize = 6;

fn id(index: usize) -> [u8; 16] {
    [u8::try_from(index).unwrap(); 16]
}

fn deks() -> Vec<Arc<Dek>> {
    let dek = |index| Arc::new(common::dek(&[7; 32], id(index), TENANTS[index % 2], PURPOSES[index / 2 % 2], 1));
    (0..DEKS).map(dek).collect()
}

const fn at(monotonic_ms: u64, wall_ms: u64) -> Timestamp {
    Timestamp { monotonic_ms, wall_ms }
}

fn cache() -> DekCache {
    DekCache::new(CONFIG).unwrap()
}

#[derive(Clone, Debug)]
enum Op {
    Insert(usize, bool),
    Get(usize),
    SetActive(usize, usize, usize),
    Active(usize, usize),
    Evict(usize),
    EvictTenant(usize),
    Purge,
    Pass(u64, i64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (0..DEKS, any::<bool>()).prop_map(|(dek, open_only)| Op::Insert(dek, open_only)),
        3 => (0..DEKS).prop_map(Op::Get),
        3 => (0..2_usize, 0..2_usize, 0..DEKS).prop_map(|(tenant, purpose, dek)| Op::SetActive(tenant, purpose, dek)),
        3 => (0..2_usize, 0..2_usize).prop_map(|(tenant, purpose)| Op::Active(tenant, purpose)),
        1 => (0..DEKS).prop_map(Op::Evict),
        1 => (0..2_usize).prop_map(Op::EvictTenant),
        1 => Just(Op::Purge),
        // The wall clock may jump, backwards too; the monotonic one only moves on.
        3 => (0..40_u64, -60..60_i64).prop_map(|(monotonic, wall)| Op::Pass(monotonic, wall)),
    ]
}

/// The rules once more, without a thought for speed.
#[derive(Default)]
struct Model {
    held: HashMap<usize, (Timestamp, u64, bool)>,
    active: HashMap<(usize, usize), (usize, Timestamp)>,
    uses: u64,
}

impl Model {
    fn past(now: Timestamp, from: Timestamp, ttl: u64) -> bool {
        now.monotonic_ms >= from.monotonic_ms + ttl || now.wall_ms >= from.wall_ms + ttl
    }

    fn remove(&mut self, dek: usize) -> bool {
        self.active.retain(|_, (active, _)| *active != dek);
        self.held.remove(&dek).is_some()
    }

    fn purge(&mut self, now: Timestamp) {
        self.held.retain(|_, (from, _, _)| !Self::past(now, *from, CONFIG.ttl_ms));
        self.active.retain(|_, (_, from)| !Self::past(now, *from, CONFIG.pointer_ttl_ms));
    }

    fn insert(&mut self, dek: usize, open_only: bool, now: Timestamp) {
        self.purge(now);
        if let Some((_, _, only)) = self.held.get_mut(&dek) {
            *only = *only && open_only;
            return;
        }
        if self.held.len() >= CONFIG.capacity {
            let oldest = *self.held.iter().min_by_key(|(_, (_, used, _))| *used).unwrap().0;
            self.remove(oldest);
        }
        self.uses += 1;
        self.held.insert(dek, (now, self.uses, open_only));
    }

    fn get(&mut self, dek: usize, now: Timestamp) -> bool {
        let Some((from, used, _)) = self.held.get_mut(&dek) else { return false };
        if Self::past(now, *from, CONFIG.ttl_ms) {
            self.remove(dek);
            return false;
        }
        self.uses += 1;
        *used = self.uses;
        true
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_cache_does_what_its_model_does(ops in prop::collection::vec(op(), 1..80)) {
        let deks = deks();
        let (mut cache, mut model) = (cache(), Model::default());
        let mut now = at(1000, 1000);
        for op in ops {
            match op {
                Op::Insert(dek, open_only) => {
                    cache.insert(Arc::clone(&deks[dek]), open_only, now);
                    model.insert(dek, open_only, now);
                }
                Op::Get(dek) => {
                    let got = cache.get(&id(dek), now);
                    prop_assert_eq!(got.is_some(), model.get(dek, now));
                    prop_assert!(got.is_none_or(|got| Arc::ptr_eq(&got, &deks[dek])));
                }
                Op::SetActive(tenant, purpose, dek) => {
                    let set = cache.set_active(TENANTS[tenant], PURPOSES[purpose], &id(dek), now);
                    let expected = model.get(dek, now) && !model.held[&dek].2 && (dek % 2, dek / 2 % 2) == (tenant, purpose);
                    if expected {
                        model.active.insert((tenant, purpose), (dek, now));
                    }
                    prop_assert_eq!(set, expected);
                }
                Op::Active(tenant, purpose) => {
                    let got = cache.active(TENANTS[tenant], PURPOSES[purpose], now).map(|dek| dek.record().dek_id);
                    let pointer = model.active.get(&(tenant, purpose)).filter(|(_, from)| !Model::past(now, *from, CONFIG.pointer_ttl_ms)).copied();
                    let expected = pointer.filter(|(dek, _)| model.get(*dek, now)).map(|(dek, _)| id(dek));
                    prop_assert_eq!(got, expected);
                }
                Op::Evict(dek) => prop_assert_eq!(cache.evict(&id(dek)), model.remove(dek)),
                Op::EvictTenant(tenant) => {
                    let before = model.held.len();
                    (0..DEKS).filter(|dek| dek % 2 == tenant).for_each(|dek| { model.remove(dek); });
                    model.active.retain(|(owner, _), _| *owner != tenant);
                    prop_assert_eq!(cache.evict_tenant(TENANTS[tenant]), before - model.held.len());
                }
                Op::Purge => {
                    cache.purge(now);
                    model.purge(now);
                }
                Op::Pass(monotonic, wall) => now = at(now.monotonic_ms + monotonic, now.wall_ms.saturating_add_signed(wall)),
            }
            prop_assert_eq!(cache.len(), model.held.len());
            prop_assert!(cache.len() <= CONFIG.capacity);
            // What the cache let go, it holds no more: the test's own reference is the last.
            for (index, dek) in deks.iter().enumerate() {
                prop_assert_eq!(Arc::strong_count(dek), 1 + usize::from(model.held.contains_key(&index)));
            }
        }
        cache.clear();
        prop_assert!(cache.is_empty() && deks.iter().all(|dek| Arc::strong_count(dek) == 1));
    }
}

#[test]
fn either_clock_ends_a_dek_and_use_does_not_extend_it() {
    for (late, held) in [(at(99, 99), true), (at(100, 0), false), (at(0, 100), false), (at(99, 100), false), (at(100, 99), false)] {
        let mut cache = cache();
        cache.insert(Arc::clone(&deks()[0]), false, at(0, 0));
        (0..99).for_each(|ms| assert!(cache.get(&id(0), at(ms, ms)).is_some()));
        assert_eq!(cache.get(&id(0), late).is_some(), held, "{late:?}");
        assert_eq!(cache.len(), usize::from(held), "an expired DEK is let go when it is asked for");
    }
}

#[test]
fn inserting_again_does_not_extend_a_dek() {
    let (mut cache, deks) = (cache(), deks());
    cache.insert(Arc::clone(&deks[0]), false, at(0, 0));
    cache.insert(Arc::clone(&deks[0]), false, at(90, 90));
    assert!(cache.get(&id(0), at(99, 99)).is_some());
    assert!(cache.get(&id(0), at(100, 100)).is_none());
}

#[test]
fn either_clock_ends_a_pointer_before_its_dek() {
    for (late, active) in [(at(29, 29), true), (at(30, 0), false), (at(0, 30), false)] {
        let mut cache = cache();
        cache.insert(Arc::clone(&deks()[0]), false, at(0, 0));
        assert!(cache.set_active("acme", DekPurpose::Data, &id(0), at(0, 0)));
        assert_eq!(cache.active("acme", DekPurpose::Data, late).is_some(), active, "{late:?}");
        assert!(cache.get(&id(0), late).is_some(), "the DEK itself still opens");
    }
}

#[test]
fn a_pointer_never_crosses_tenants_or_purposes() {
    let mut cache = cache();
    cache.insert(Arc::clone(&deks()[0]), false, at(0, 0));
    assert!(!cache.set_active("umbrella", DekPurpose::Data, &id(0), at(0, 0)));
    assert!(!cache.set_active("acme", DekPurpose::Client, &id(0), at(0, 0)));
    assert!(!cache.set_active("acme", DekPurpose::Data, &id(1), at(0, 0)), "not held");
    assert!(cache.active("umbrella", DekPurpose::Data, at(0, 0)).is_none());
    assert!(cache.active("acme", DekPurpose::Client, at(0, 0)).is_none());
}

#[test]
fn an_open_only_dek_opens_and_is_never_active_until_it_comes_otherwise() {
    let (mut cache, deks) = (cache(), deks());
    cache.insert(Arc::clone(&deks[0]), true, at(0, 0));
    assert!(cache.get_for(&id(0), DekPurpose::Data, at(0, 0)).unwrap().is_some());
    assert!(!cache.set_active("acme", DekPurpose::Data, &id(0), at(0, 0)));
    assert!(cache.active("acme", DekPurpose::Data, at(0, 0)).is_none());
    // Through a wrap that authenticates it seals, with the deadline that it had; and it is the key that came so, whatever was held under its id.
    let genuine = Arc::new(common::dek(&[8; 32], id(0), "acme", DekPurpose::Data, 1));
    cache.insert(Arc::clone(&genuine), false, at(50, 50));
    assert_eq!(Arc::strong_count(&deks[0]), 1);
    cache.insert(Arc::clone(&deks[0]), true, at(60, 60));
    assert!(cache.set_active("acme", DekPurpose::Data, &id(0), at(70, 70)));
    assert!(cache.active("acme", DekPurpose::Data, at(99, 99)).is_some_and(|dek| Arc::ptr_eq(&dek, &genuine)));
    assert!(cache.get(&id(0), at(100, 100)).is_none());
}

#[test]
fn bounds_that_make_no_sense_are_refused() {
    let config = |ttl_ms, pointer_ttl_ms, capacity| DekCache::new(CacheConfig { ttl_ms, pointer_ttl_ms, capacity });
    for refused in [config(0, 0, 1), config(1, 0, 1), config(0, 1, 1), config(1, 2, 1), config(1, 1, 0)] {
        assert_eq!(refused.map(drop).map_err(|error| error.code()), Err(ErrorCode::InvalidArgument));
    }
    // A clock near its end does not wrap around to "fresh for ever" or panic.
    let mut cache = config(u64::MAX, 1, 1).unwrap();
    cache.insert(Arc::clone(&deks()[0]), false, at(u64::MAX - 1, u64::MAX - 1));
    assert!(cache.get(&id(0), at(u64::MAX - 1, 0)).is_some());
    assert!(cache.get(&id(0), at(u64::MAX, 0)).is_none());
}

#[test]
fn a_held_key_opens_for_its_own_purpose_only() {
    let (mut cache, deks) = (cache(), deks());
    let (data, client) = (Arc::clone(&deks[0]), Arc::clone(&deks[2]));
    let (now, later) = (at(0, 0), at(CONFIG.ttl_ms, 0));
    [&data, &client].into_iter().for_each(|dek| cache.insert(Arc::clone(dek), false, now));
    for (dek, own, other) in [(data, DekPurpose::Data, DekPurpose::Client), (client, DekPurpose::Client, DekPurpose::Data)] {
        let id = dek.record().dek_id;
        assert!(cache.get_for(&id, own, now).unwrap().is_some_and(|held| Arc::ptr_eq(&held, &dek)));
        for wrong in [other, DekPurpose::Index, DekPurpose::Audit] {
            assert_eq!(cache.get_for(&id, wrong, now).map(drop).map_err(|error| error.code()), Err(ErrorCode::AuthenticationFailed), "{wrong:?}");
        }
        assert!(cache.get_for(&id, own, later).unwrap().is_none(), "expired");
        assert!(cache.get_for(&id, other, later).unwrap().is_none(), "not held: for who loads it to refuse");
    }
}

//! Properties of everything that is not a single known answer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs, reason = "a test fails by panicking")]

mod common;

use proptest::prelude::*;
use sealpoint_core::cbor::Writer;
use sealpoint_core::envelope::{Envelope, Kind, sealed_len};
use sealpoint_core::{Context, DekPurpose, Error, ErrorCode, Kek, Padding, Value, hazmat, manifest, text, wrap_context};

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

fn padding() -> impl Strategy<Value = Padding> {
    prop_oneof![Just(Padding::None), Just(Padding::Bucket)]
}

/// Lengths around the seams of chunks and buckets, and any other.
fn len() -> impl Strategy<Value = usize> {
    prop_oneof![0..600_usize, 16_000..17_000_usize, 32_500..33_000_usize, 0..120_000_usize]
}

fn key_name() -> impl Strategy<Value = String> {
    "[a-z0-9_.-]{1,64}".prop_filter("not the required ones", |key| !["tenant", "purpose", "version"].contains(&key.as_str()))
}

fn pairs() -> impl Strategy<Value = Vec<(String, String)>> {
    prop::collection::btree_map(key_name(), any::<String>(), 0..30).prop_map(|map| map.into_iter().collect())
}

fn borrowed<'a>(tenant: &'a str, pairs: &'a [(String, String)]) -> Vec<(&'a str, Value<'a>)> {
    let mut all = vec![("tenant", Value::Text(tenant)), ("purpose", Value::Text("app.note"))];
    all.extend(pairs.iter().map(|(key, value)| (key.as_str(), Value::Text(value))));
    all
}

fn code<T>(result: Result<T, Error>) -> Result<(), ErrorCode> {
    result.map(drop).map_err(|error| error.code())
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn what_is_sealed_opens_at_its_place_only(len in len(), seed in any::<u8>(), content_type in "[ -~]{0,255}", padding in padding(), pairs in pairs()) {
        let payload: Vec<u8> = common::pattern(len).into_iter().map(|byte| byte ^ seed).collect();
        let dek = common::dek(&[seed; 32], [seed; 16], "acme", DekPurpose::Data, 1);
        let context = Context::new(&borrowed("acme", &pairs)).unwrap();
        let sealed = dek.seal(&payload, &content_type, padding, &context).unwrap();
        prop_assert_eq!(sealed.len(), sealed_len(len, content_type.len(), padding).unwrap());
        let opened = dek.open(&sealed, &context).unwrap();
        prop_assert_eq!((&opened.content_type, opened.payload == payload), (&content_type, true));
        let elsewhere = context.extend(&[("version", Value::Int(1))]).unwrap();
        prop_assert_eq!(code(dek.open(&sealed, &elsewhere)), Err(ErrorCode::AuthenticationFailed));
        let other = common::dek(&[seed ^ 1; 32], [seed; 16], "acme", DekPurpose::Data, 1);
        prop_assert_eq!(code(other.open(&sealed, &context)), Err(ErrorCode::AuthenticationFailed));
        let client = common::dek(&[seed; 32], [seed; 16], "acme", DekPurpose::Client, 1);
        prop_assert_eq!(code(client.open(&sealed, &context)), Err(ErrorCode::AuthenticationFailed));
        let renamed = common::dek(&[seed; 32], [seed ^ 1; 16], "acme", DekPurpose::Data, 1);
        prop_assert_eq!(code(renamed.open(&sealed, &context)), Err(ErrorCode::KeyNotFound));
        let again = dek.seal(&payload, &content_type, padding, &context).unwrap();
        prop_assert!(again[21..77] != sealed[21..77], "a salt twice");
    }

    #[test]
    fn padding_shows_a_bucket(a in 0..2000_usize, b in 0..2000_usize) {
        let sealed = |len| sealed_len(len, 7, Padding::Bucket).unwrap();
        prop_assert_eq!(sealed(a) == sealed(b), hazmat::bucket(a + 9) == hazmat::bucket(b + 9));
        let bucket = hazmat::bucket(a + 9);
        prop_assert!(bucket >= a + 9 && hazmat::bucket(bucket) == bucket && bucket <= (a + 9) * 9 / 8 + 32);
    }

    #[test]
    fn a_context_is_its_canonical_bytes(tenant in "\\PC{1,40}", pairs in pairs(), at in any::<prop::sample::Index>()) {
        let forward = borrowed(&tenant, &pairs);
        let mut backward = forward.clone();
        backward.reverse();
        let middle = at.index(backward.len());
        backward.rotate_left(middle);
        let context = Context::new(&forward).unwrap();
        prop_assert_eq!(&Context::new(&backward).unwrap(), &context);
        prop_assert_eq!(&Context::from_canonical(context.canonical()).unwrap(), &context);
        let mut keys: Vec<&str> = context.iter().map(|(key, _)| key).collect();
        prop_assert_eq!((keys.len(), context.tenant(), context.purpose()), (forward.len(), tenant.as_str(), "app.note"));
        prop_assert!(keys.is_sorted());
        keys.dedup();
        prop_assert_eq!(keys.len(), forward.len());
        for (key, value) in &pairs {
            prop_assert_eq!(context.get(key), Some(value.as_str()));
        }
        let split = 2 + at.index(forward.len() - 1);
        let extended = Context::new(&forward[..split.min(forward.len())]).unwrap().extend(&forward[split.min(forward.len())..]).unwrap();
        prop_assert_eq!(&extended, &context);
        for (key, value) in &forward {
            prop_assert_eq!(code(context.extend(&[(key, *value)])), Err(ErrorCode::InvalidContext), "a key twice");
        }
        for cut in 0..context.canonical().len() {
            prop_assert!(Context::from_canonical(&context.canonical()[..cut]).is_err());
        }
        prop_assert!(Context::from_canonical(&[context.canonical(), &[0]].concat()).is_err());
    }

    #[test]
    fn typed_versions_never_meet(int in any::<i64>(), float in any::<f64>(), text in any::<String>()) {
        let base = Context::new(&[("tenant", Value::Text("t")), ("purpose", Value::Text("p"))]).unwrap();
        let version = |value| base.extend(&[("version", value)]).map(|context| context.get("version").unwrap().to_owned());
        prop_assert_eq!(version(Value::Int(int.into())).unwrap(), format!("i:{int}"));
        prop_assert_eq!(version(Value::Text(&text)).unwrap(), format!("s:{text}"));
        match version(Value::Float(float)) {
            Ok(written) if float.fract() == 0.0 && float.abs() <= 9_007_199_254_740_992.0 => prop_assert_eq!(written, format!("i:{float:.0}").replace("i:-0", "i:0")),
            Ok(written) => prop_assert_eq!(written, format!("f:{:016x}", float.to_bits())),
            Err(error) => prop_assert!(!float.is_finite() && error.code() == ErrorCode::InvalidContext),
        }
    }

    #[test]
    fn lists_are_injective(one in prop::collection::vec(any::<String>(), 0..6), other in prop::collection::vec(any::<String>(), 0..6)) {
        let encode = |items: &[String]| {
            let items: Vec<&str> = items.iter().map(String::as_str).collect();
            Context::new(&[("tenant", Value::Text("t")), ("purpose", Value::Text("p")), ("ns", Value::List(&items))]).unwrap()
        };
        prop_assert_eq!(encode(&one) == encode(&other), one == other);
    }

    #[test]
    fn floats_take_the_shortest_form_that_keeps_them(bits in any::<u64>(), single in any::<f32>(), half in any::<u16>()) {
        let exponent = i32::from(half >> 10 & 31);
        let mantissa = f64::from(half & 1023);
        let half = if exponent == 0 { mantissa * 2_f64.powi(-24) } else { (1024.0 + mantissa) * 2_f64.powi(exponent - 25) };
        for (value, longest) in [(f64::from_bits(bits), 9), (f64::from(single), 5), (if exponent == 31 { 0.5 } else { half }, 3)] {
            let mut writer = Writer::new();
            if !value.is_finite() {
                prop_assert_eq!(code(writer.float(value)), Err(ErrorCode::InvalidArgument));
                continue;
            }
            writer.float(value).unwrap();
            let cbor = writer.finish().unwrap();
            if value.fract() == 0.0 && value.abs() <= 9_007_199_254_740_992.0 {
                prop_assert!(cbor[0] >> 5 <= 1, "an integer");
                continue;
            }
            prop_assert!(cbor.len() <= longest, "{value} as {cbor:02x?}");
            let back = match cbor[0] {
                0xFB => f64::from_be_bytes(cbor[1..].try_into().unwrap()),
                0xFA => f64::from(f32::from_be_bytes(cbor[1..].try_into().unwrap())),
                0xF9 => {
                    let bits = u16::from_be_bytes(cbor[1..].try_into().unwrap());
                    let (exponent, mantissa) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
                    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
                    sign * if exponent == 0 { mantissa * 2_f64.powi(-24) } else { (1024.0 + mantissa) * 2_f64.powi(exponent - 25) }
                }
                other => panic!("{other:#x}"),
            };
            prop_assert_eq!(back, value);
        }
    }

    #[test]
    fn maps_sort_by_their_encoded_keys(keys in prop::collection::hash_set("\\PC{0,30}", 0..20)) {
        let write = |keys: &[&String]| {
            let mut writer = Writer::new();
            writer.map(keys.len(), |map| keys.iter().try_for_each(|key| map.entry(key, |writer| writer.int(7)))).unwrap();
            writer.finish().unwrap()
        };
        let mut keys: Vec<&String> = keys.iter().collect();
        let one = write(&keys);
        // Shorter first, then bytewise: what sorting the encodings of texts comes to.
        keys.sort_by_key(|key| (key.len(), key.as_bytes()));
        prop_assert_eq!(&one, &write(&keys));
        let mut rest = &one[1..];
        for key in &keys {
            let head = if key.len() < 24 { 1 } else { 2 };
            prop_assert_eq!(&rest[head..head + key.len()], key.as_bytes());
            rest = &rest[head + key.len() + 1..];
        }
        prop_assert!(rest.is_empty());
    }

    #[test]
    fn each_envelope_has_one_text(bytes in prop::collection::vec(any::<u8>(), 0..200), at in any::<prop::sample::Index>(), other in any::<char>()) {
        let bytes = [&[0xC1][..], &bytes].concat();
        for kind in [Kind::Data, Kind::WrappedKey] {
            let sealed = text::encode(&bytes, kind);
            prop_assert!(text::decode(&sealed, kind).as_ref() == Ok(&bytes));
            let position = at.index(sealed.len());
            let mut changed: Vec<char> = sealed.chars().collect();
            changed[position] = other;
            let changed: String = changed.into_iter().collect();
            prop_assert!(changed == sealed || text::decode(&changed, kind).as_ref() != Ok(&bytes));
            let (longer, later) = (format!("{sealed}{other}"), format!("{other}{sealed}"));
            prop_assert!(text::decode(&longer, kind).as_ref() != Ok(&bytes));
            prop_assert!(text::decode(&later, kind).is_err());
        }
    }

    #[test]
    fn a_wrapped_key_comes_back_in_its_context_only(kek in any::<[u8; 32]>(), key in any::<[u8; 32]>(), dek_id in any::<[u8; 16]>(), tenant in "\\PC{1,40}") {
        let kek = Kek::from_secret(&common::secret(&kek)).unwrap();
        let context = wrap_context(&tenant, &dek_id, DekPurpose::Data, 1).unwrap();
        let wrapped = kek.wrap(&common::secret(&key), &context).unwrap();
        prop_assert!(kek.unwrap(&wrapped, &context).unwrap().expose() == &key);
        let other = wrap_context(&format!("{tenant}x"), &dek_id, DekPurpose::Data, 1).unwrap();
        prop_assert_eq!(code(kek.unwrap(&wrapped, &other)), Err(ErrorCode::AuthenticationFailed));
    }
}

fn cbor_of(v: i64) -> Vec<u8> {
    let mut writer = Writer::new();
    writer
        .array(7, |writer| {
            writer.int(v.into())?;
            writer.text("id");
            (0..5).for_each(|_| writer.null());
            Ok::<(), Error>(())
        })
        .unwrap();
    writer.finish().unwrap()
}

/// `__pregel_tasks` is outside the manifest exactly where `v` < 4, whatever integer `v` is.
#[test]
fn tasks_are_exempt_before_checkpoint_version_4() {
    for v in [i64::MIN, -1, 0, 1, 3, 4, 5, i64::MAX] {
        let fields = cbor_of(v);
        let payload = manifest::payload(&fields, None, true, &[("a", None)], b"").unwrap();
        let with_tasks = manifest::open(&payload, &fields, None, &[("__pregel_tasks", None), ("a", None)]);
        assert_eq!(code(with_tasks), if v < 4 { Ok(()) } else { Err(ErrorCode::AuthenticationFailed) }, "v = {v}");
    }
}

#[test]
fn a_manifest_is_bounded_on_both_sides() {
    let long = vec![0x80; (1 << 24) + 1];
    assert_eq!(code(manifest::payload(&long, None, false, &[], b"")), Err(ErrorCode::LimitExceeded));
    let good = manifest::payload(&[0x80], None, false, &[], b"").unwrap();
    assert_eq!(code(manifest::open(&good, &long, None, &[])), Err(ErrorCode::LimitExceeded));
    let record = [&u32::try_from(long.len()).unwrap().to_be_bytes()[..], &long].concat();
    assert_eq!(code(manifest::open(&record, &[0x80], None, &[])), Err(ErrorCode::LimitExceeded));
}

#[test]
fn a_map_that_is_not_what_it_says_is_refused() {
    for said in [0, 2] {
        let written = Writer::new().map(said, |map| map.entry("a", |writer| writer.int(1)));
        assert_eq!(code(written), Err(ErrorCode::InvalidArgument), "{said} entries said, 1 written");
    }
}

/// The first 16 bytes are compared against what lies in the row, and a record names what it was built of.
#[test]
fn a_manifest_knows_each_byte_of_a_commitment() {
    let dek = common::dek(&[1; 32], [2; 16], "acme", DekPurpose::Data, 1);
    let context = Context::new(&borrowed("acme", &[])).unwrap();
    let sealed = dek.seal(b"x", "", Padding::None, &context).unwrap();
    let commitment = Envelope::parse(&sealed, Kind::Data).unwrap().short_commitment();
    let payload = manifest::payload(&[0x80], None, false, &[("a", Some(commitment))], b"m").unwrap();
    assert_eq!(manifest::open(&payload, &[0x80], None, &[("a", Some(commitment))]), Ok(manifest::Verified { metadata: b"m", parent: None }));
    for at in 0..16 {
        let mut other = commitment;
        other[at] ^= 0x10;
        assert_eq!(code(manifest::open(&payload, &[0x80], None, &[("a", Some(other))])), Err(ErrorCode::AuthenticationFailed));
    }
    assert_eq!(code(manifest::open(&payload, &[0x80], None, &[("a", None)])), Err(ErrorCode::AuthenticationFailed));
}

/// Salts drawn at once: each envelope takes its own, and there is none for one payload more.
#[test]
fn salts_drawn_together_are_used_once() {
    let dek = common::dek(&[1; 32], [2; 16], "acme", DekPurpose::Data, 1);
    let context = Context::new(&borrowed("acme", &[])).unwrap();
    let mut salts = sealpoint_core::Salts::draw(50).unwrap();
    let mut seal = || {
        let mut out = vec![0; sealed_len(1, 0, Padding::None).unwrap()];
        dek.seal_next_into(&mut salts, b"x", "", Padding::None, &context, &mut out).map(|()| out)
    };
    let sealed: Vec<Vec<u8>> = (0..50).map(|_| seal().unwrap()).collect();
    assert_eq!(code(seal()), Err(ErrorCode::Internal));
    assert!(sealed.iter().all(|envelope| dek.open(envelope, &context).unwrap().payload == b"x"));
    let different: std::collections::HashSet<&[u8]> = sealed.iter().map(|envelope| &envelope[21..45]).collect();
    assert_eq!(different.len(), 50);
}

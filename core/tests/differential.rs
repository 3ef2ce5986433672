//! The backends against each other: with one salt the same bytes, and each opens what the other sealed.
#![cfg(feature = "native")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "a test fails by panicking")]

mod common;

use proptest::prelude::*;
use sealpoint_core::backend::{Aead, AwsLc, RustCrypto};
use sealpoint_core::envelope::{Envelope, Kind};
use sealpoint_core::{Context, DekPurpose, Kek, Padding, Result, Value, hazmat, wrap_context};

fn context() -> Context {
    Context::new(&[("tenant", Value::Text("acme")), ("purpose", Value::Text("app.note"))]).unwrap()
}

fn open<A: Aead>(bytes: &[u8]) -> Result<Vec<u8>> {
    let dek = common::dek(&[4; 32], [5; 16], "acme", DekPurpose::Data, 1);
    let mut out = Vec::new();
    dek.open_with::<A, _>(&Envelope::parse(bytes, Kind::Data)?, &context(), |len| {
        out.resize(len, 0);
        Ok(&mut out)
    })?;
    Ok(out)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn backends_make_the_same_bytes(len in prop_oneof![0..200_usize, 16_300..16_500_usize, 0..100_000_usize], salt in any::<[u8; 24]>(), bucket in any::<bool>(), at in any::<prop::sample::Index>(), mask in 1..=255_u8) {
        let dek = common::dek(&[4; 32], [5; 16], "acme", DekPurpose::Data, 1);
        let payload = common::pattern(len);
        let padding = if bucket { Padding::Bucket } else { Padding::None };
        let mut sealed = dek.seal_with_salt::<RustCrypto>(&payload, "msgpack", padding, &context(), &salt).unwrap();
        prop_assert!(dek.seal_with_salt::<AwsLc>(&payload, "msgpack", padding, &context(), &salt).unwrap() == sealed);
        prop_assert!(open::<RustCrypto>(&sealed).as_ref() == Ok(&payload) && open::<AwsLc>(&sealed).as_ref() == Ok(&payload));
        let position = at.index(sealed.len());
        if let Some(byte) = sealed.get_mut(position) {
            *byte ^= mask;
        }
        let (one, other) = (open::<RustCrypto>(&sealed), open::<AwsLc>(&sealed));
        prop_assert!(one.is_err());
        prop_assert_eq!(one, other);
    }

    #[test]
    fn backends_wrap_the_same_bytes(kek in any::<[u8; 32]>(), key in any::<[u8; 32]>(), salt in any::<[u8; 24]>()) {
        let kek = Kek::from_secret(&common::secret(&kek)).unwrap();
        let context = wrap_context("acme", &[5; 16], DekPurpose::Data, 1).unwrap();
        let wrapped = kek.wrap_with_salt::<RustCrypto>(&common::secret(&key), &context, &salt).unwrap();
        prop_assert_eq!(&kek.wrap_with_salt::<AwsLc>(&common::secret(&key), &context, &salt).unwrap(), &wrapped);
        for opened in [kek.unwrap_with::<RustCrypto>(&wrapped, &context), kek.unwrap_with::<AwsLc>(&wrapped, &context)] {
            prop_assert!(opened.unwrap().expose() == &key);
        }
    }

    #[test]
    fn backends_agree_under_any_key_and_context(key in any::<[u8; 32]>(), salt in any::<[u8; 24]>(), context in prop::collection::vec(any::<u8>(), 0..300), len in 0..50_000_usize) {
        let plaintext = common::pattern(len);
        let message = hazmat::chunked_seal::<RustCrypto>(&key, &salt, &context, &plaintext).unwrap();
        prop_assert!(hazmat::chunked_seal::<AwsLc>(&key, &salt, &context, &plaintext).unwrap() == message);
        prop_assert!(hazmat::chunked_open::<RustCrypto>(&key, &context, &message).unwrap() == plaintext);
        prop_assert!(hazmat::chunked_open::<AwsLc>(&key, &context, &message).unwrap() == plaintext);
    }
}

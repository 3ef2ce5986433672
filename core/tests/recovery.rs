//! Recovery keys (SPEC section 6.4), beside the vectors.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs, reason = "a test fails by panicking")]

mod common;

use sealpoint_core::recovery::RECOVERY_WRAP_LEN;
use sealpoint_core::{DekPurpose, ErrorCode, RecoveryKey, RecoveryPublicKey, Secret, wrap_context};

fn context(tenant: &str) -> sealpoint_core::Context {
    wrap_context(tenant, &[7; 16], DekPurpose::Data, 1).unwrap()
}

#[test]
fn what_the_public_half_wraps_the_secret_half_opens() {
    let key = RecoveryKey::generate().unwrap();
    let public = RecoveryPublicKey::from_text(&key.public().to_text()).unwrap();
    let kept = RecoveryKey::from_text(&key.to_text()).unwrap();
    let dek = Secret::generate().unwrap();
    let wrapped = public.wrap(&dek, &context("acme")).unwrap();
    assert_eq!(wrapped.len(), RECOVERY_WRAP_LEN);
    assert_eq!(&wrapped[5..21], key.public().recovery_id());
    assert!(kept.unwrap(&wrapped, &context("acme")).unwrap() == dek);
    assert!(wrapped.windows(32).all(|window| window != dek.expose()));
    assert_ne!(public.wrap(&dek, &context("acme")).unwrap(), wrapped, "each wrap is fresh");
}

#[test]
fn every_bit_and_the_context_are_bound() {
    let key = RecoveryKey::generate().unwrap();
    let dek = Secret::generate().unwrap();
    let wrapped = key.public().wrap(&dek, &context("acme")).unwrap();
    for at in (0..wrapped.len()).step_by(7).chain([5, 20, 21, 1140, 1141, wrapped.len() - 1]) {
        let mut changed = wrapped.clone();
        changed[at] ^= 1;
        let code = key.unwrap(&changed, &context("acme")).map(|_| ()).unwrap_err().code();
        let expected = match at {
            0 => ErrorCode::PlaintextRefused,
            1 => ErrorCode::Malformed,
            2 => ErrorCode::UnsupportedVersion,
            3 => ErrorCode::UnsupportedSuite,
            4 => ErrorCode::UnsupportedEncoding,
            5..=20 => ErrorCode::KeyNotFound,
            _ => ErrorCode::AuthenticationFailed,
        };
        assert_eq!(code, expected, "byte {at}");
    }
    assert_eq!(key.unwrap(&wrapped, &context("umbrella")).map(|_| ()).unwrap_err().code(), ErrorCode::AuthenticationFailed);
    let other = RecoveryKey::generate().unwrap();
    assert_eq!(other.unwrap(&wrapped, &context("acme")).map(|_| ()).unwrap_err().code(), ErrorCode::KeyNotFound);
}

#[test]
fn every_length_but_one_is_refused() {
    let key = RecoveryKey::generate().unwrap();
    let wrapped = key.public().wrap(&Secret::generate().unwrap(), &context("acme")).unwrap();
    for len in 0..wrapped.len() {
        let code = key.unwrap(&wrapped[..len], &context("acme")).map(|_| ()).unwrap_err().code();
        assert_eq!(code, if len == 0 { ErrorCode::PlaintextRefused } else { ErrorCode::Malformed }, "{len} bytes");
    }
    assert_eq!(key.unwrap(&[wrapped, vec![0]].concat(), &context("acme")).map(|_| ()).unwrap_err().code(), ErrorCode::Malformed);
}

#[test]
fn a_damaged_text_is_refused() {
    let key = RecoveryKey::generate().unwrap();
    let (public, secret) = (key.public().to_text(), key.to_text());
    for at in (29..public.len() - 1).step_by(11) {
        let code = RecoveryPublicKey::from_text(&flipped(&public, at)).map(|_| ()).unwrap_err().code();
        assert_ne!(code, ErrorCode::Internal, "character {at}");
    }
    // From the id on: what it names is another key.
    for at in 29 + 28..secret.len() - 1 {
        assert_eq!(RecoveryKey::from_text(&flipped(&secret, at)).map(|_| ()).unwrap_err().code(), ErrorCode::AuthenticationFailed, "character {at}");
    }
    assert_eq!(RecoveryKey::from_text(&public).map(|_| ()).unwrap_err().code(), ErrorCode::Malformed);
    assert_eq!(RecoveryPublicKey::from_text(&secret).map(|_| ()).unwrap_err().code(), ErrorCode::Malformed);
    assert_eq!(RecoveryKey::from_text("swordfish").map(|_| ()).unwrap_err().code(), ErrorCode::PlaintextRefused);
    assert_eq!(RecoveryKey::from_text("sealpoint-recovery-secret:v2:").map(|_| ()).unwrap_err().code(), ErrorCode::UnsupportedVersion);
}

#[test]
fn nothing_shows_the_secret() {
    let key = RecoveryKey::generate().unwrap();
    assert_eq!(format!("{key:?} {:?}", key.public()), "RecoveryKey { .. } RecoveryPublicKey { .. }");
}

fn flipped(text: &str, at: usize) -> String {
    let mut bytes = text.as_bytes().to_vec();
    bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
    String::from_utf8(bytes).unwrap()
}

//! The Wycheproof vectors of the three constructions under the format, on every backend.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs,
    reason = "a test fails by panicking and prints what it counted"
)]

mod common;

use std::io::Read as _;

use common::Backend;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sealpoint_core::{ErrorCode, hazmat};
use sha2::{Digest as _, Sha512};
use wycheproof::chunked_encryption::{ChunkedEncryptionAead, TestName as Chunked, TestSet as ChunkedSet};
use wycheproof::{TestResult, aead, hkdf};

/// How many of a file's tests there are, ran, and did not.
#[derive(Debug, Default, PartialEq)]
struct Count {
    valid: usize,
    invalid: usize,
    /// Nothing here to run them with.
    outside: usize,
}

impl Count {
    fn add(&mut self, valid: bool) {
        *if valid { &mut self.valid } else { &mut self.invalid } += 1;
    }

    fn assert(&self, what: &str, expected: &Self, of: usize) {
        println!("{what}: {} valid and {} invalid ran, {} outside, {of} in the file", self.valid, self.invalid, self.outside);
        assert_eq!((self, self.valid + self.invalid + self.outside), (expected, of), "{what}");
    }
}

#[test]
fn chunked_encryption() {
    on_each_backend!(chunked());
}

fn chunked<A: Backend>() {
    let set = ChunkedSet::load(Chunked::Cobblestone256).unwrap();
    let mut count = Count::default();
    for group in &set.test_groups {
        assert_eq!(group.aead, ChunkedEncryptionAead::Aes256Gcm);
        for test in &group.tests {
            let mut ciphertext = Vec::new();
            flate2::read::ZlibDecoder::new(test.ct.as_ref()).read_to_end(&mut ciphertext).unwrap();
            let valid = test.result == TestResult::Valid;
            count.add(valid);
            let Ok(key) = <&[u8; 32]>::try_from(test.key.as_ref()) else {
                assert!(!valid, "#{}: a key of another length", test.tc_id);
                continue;
            };
            let opened = hazmat::chunked_open::<A>(key, &test.ctx, &ciphertext);
            let Ok(plaintext) = opened else {
                assert!(!valid, "#{} ({}) was refused", test.tc_id, test.comment);
                assert!(matches!(opened.unwrap_err().code(), ErrorCode::AuthenticationFailed | ErrorCode::Malformed), "#{}", test.tc_id);
                continue;
            };
            assert!(valid, "#{} ({}) was opened", test.tc_id, test.comment);
            assert_eq!(Some(plaintext.len()), test.msg_length, "#{}", test.tc_id);
            assert_eq!(Sha512::digest(&plaintext).as_slice(), test.msg_sha512.as_ref().unwrap().as_ref(), "#{}", test.tc_id);
            let salt: &[u8; 24] = ciphertext.first_chunk().unwrap();
            assert!(hazmat::chunked_seal::<A>(key, salt, &test.ctx, &plaintext).unwrap() == ciphertext, "#{}: another ciphertext", test.tc_id);
            let keys = hazmat::stream_keys(key, salt, &test.ctx).unwrap();
            for (part, expected) in [(&keys[..32], &test.aead_key), (&keys[32..44], &test.base_nonce)] {
                assert!(expected.as_ref().is_none_or(|expected| part == expected.as_ref()), "#{}: another derived key or nonce", test.tc_id);
            }
        }
    }
    count.assert(&format!("Cobblestone-256 on {}", A::NAME), &CHUNKED, set.number_of_tests);
}

#[test]
fn aes_gcm() {
    on_each_backend!(gcm());
}

fn gcm<A: Backend>() {
    let set = aead::TestSet::load(aead::TestName::AesGcm).unwrap();
    let mut count = Count::default();
    for group in &set.test_groups {
        for test in &group.tests {
            let nonce = <&[u8; 12]>::try_from(test.nonce.as_ref());
            // The format knows 32-byte keys, 12-byte nonces, 16-byte tags and no additional data: `Aead` has no way to say anything else.
            let (Ok(key), Ok(nonce), Ok(tag), true) = (test.key.as_ref().try_into(), nonce, test.tag.as_ref().try_into(), test.aad.is_empty()) else {
                count.outside += 1;
                continue;
            };
            let valid = test.result == TestResult::Valid;
            count.add(valid);
            let cipher = A::new(key).unwrap();
            let mut opened = vec![0xAA; test.ct.len()];
            let code = cipher.open(nonce, &test.ct, tag, &mut opened).map_err(|error| error.code());
            assert_eq!(code, if valid { Ok(()) } else { Err(ErrorCode::AuthenticationFailed) }, "#{}", test.tc_id);
            let mut sealed = vec![0; test.pt.len()];
            let made = cipher.seal(nonce, &test.pt, &mut sealed).unwrap();
            let mut in_place = test.pt.to_vec();
            assert_eq!((cipher.seal_in_place(nonce, &mut in_place).unwrap(), &in_place), (made, &sealed), "#{}: in place and apart", test.tc_id);
            assert_eq!(valid, (&sealed[..], &made) == (&test.ct[..], tag) && opened[..] == test.pt[..], "#{}", test.tc_id);
        }
    }
    count.assert(&format!("AES-256-GCM on {}", A::NAME), &GCM, set.number_of_tests);
}

/// `Expand` takes 32-byte keys in the format; here it takes the 64 bytes that HKDF-Extract gives. What the format cannot ask for (more than 128 bytes) must
/// be refused. There is one implementation of HMAC, whatever the backend.
#[test]
fn hkdf_sha_512() {
    let set = hkdf::TestSet::load(hkdf::TestName::HkdfSha512).unwrap();
    let mut count = Count::default();
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let mut extract = Hmac::<Sha512>::new_from_slice(&test.salt).unwrap();
        extract.update(&test.ikm);
        let prk = extract.finalize().into_bytes();
        let mut okm = vec![0; test.size];
        let expanded = hazmat::expand(&prk, &test.info, &mut okm);
        if test.size > 128 {
            assert_eq!(expanded.map_err(|error| error.code()), Err(ErrorCode::Internal), "#{}: {} bytes", test.tc_id, test.size);
            count.outside += 1;
            continue;
        }
        expanded.unwrap();
        let valid = test.result == TestResult::Valid;
        count.add(valid);
        assert_eq!(valid, okm == test.okm.as_ref(), "#{}", test.tc_id);
    }
    count.assert("HKDF-SHA-512", &HKDF, set.number_of_tests);
}

const CHUNKED: Count = Count { valid: 10, invalid: 25, outside: 0 };
/// Outside: other lengths of key, nonce or tag, and additional data.
const GCM: Count = Count { valid: 21, invalid: 27, outside: 268 };
/// Outside: more than 128 bytes of output, which are refused.
const HKDF: Count = Count { valid: 76, invalid: 0, outside: 7 };

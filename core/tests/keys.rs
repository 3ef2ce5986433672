//! What a KEK may look like, what messages and `Debug` show.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs, reason = "a test fails by panicking")]

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;

use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};
use sealpoint_core::backend::{Aead as _, RustCrypto};
use sealpoint_core::{CacheConfig, Context, Dek, DekCache, DekPurpose, DekRecord, ErrorCode, Kek, Padding, Secret, Timestamp, Value};

/// Bytes whose base64 has `+`, `/`, `-` and `_` in it.
fn key() -> Vec<u8> {
    (0..32_u8).map(|i| i.wrapping_mul(73) ^ 0xFB).collect()
}

#[test]
fn every_spelling_of_a_kek_gives_the_same_kek() {
    let id = *Kek::from_bytes(&key()).unwrap().kek_id();
    for encoding in [BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD, HEXLOWER, HEXUPPER] {
        let text = encoding.encode(&key());
        for spelled in [text.clone(), format!("{text}\n"), format!("  {text}\r\n")] {
            assert_eq!(Kek::from_text(&spelled).unwrap().kek_id(), &id, "{} characters", spelled.len());
            assert_eq!(Kek::from_bytes(spelled.as_bytes()).unwrap().kek_id(), &id);
        }
    }
}

/// What is no KEK, and what the message must say of it.
fn refused() -> Vec<(String, &'static str, &'static str)> {
    let base64 = BASE64.encode(&key());
    let hex = HEXLOWER.encode(&key());
    vec![
        (String::new(), "0 characters", "empty"),
        ("  \n".into(), "0 characters", "empty"),
        (hex[..63].into(), "63 characters", "hex"),
        (hex[..62].into(), "62 characters", "hex"),
        (hex.clone() + "ab", "66 characters", "hex"),
        (hex.replace('a', "g").replace('c', "x"), "64 characters", ""),
        (base64[..42].into(), "42 characters", ""),
        (BASE64.encode(&key()[..31]), "44 characters", "base64"),
        (BASE64.encode(&[&key()[..], &[1]].concat()), "44 characters", "base64"),
        (BASE64.encode(&[key(), key()].concat()), "88 characters", "base64"),
        (format!("{}*{}", &base64[..20], &base64[21..]), "44 characters", "ASCII"),
        (format!("{} {}", &base64[..20], &base64[20..]), "45 characters", "ASCII"),
        ("correct horse battery staple and some more".into(), "42 characters", "ASCII"),
        ("pässwörter".into(), "10 characters", "outside ASCII"),
        (format!("\u{feff}{base64}"), "45 characters", "outside ASCII"),
    ]
}

#[test]
fn what_is_no_kek_is_refused_with_its_length_and_looks_and_never_its_value() {
    for (text, length, looks) in refused() {
        for error in [Kek::from_text(&text).map(drop).unwrap_err(), Kek::from_bytes(text.as_bytes()).map(drop).unwrap_err()] {
            assert_eq!(error.code(), ErrorCode::InvalidArgument);
            let message = error.message();
            assert!(message.contains(length) && message.contains(looks), "{length}, {looks}: {message}");
            assert!(message.contains("32 random bytes"), "how to do it right: {message}");
            shows_nothing(&format!("{error} {error:?}"), text.trim().as_bytes(), "a refused KEK's message");
        }
    }
}

#[test]
fn bytes_that_cannot_be_random_are_refused() {
    let raw: [(&[u8], &str); 6] = [
        (b"0123456789abcdef0123456789abcdef", "hex digits read as raw characters"),
        (b"correct horse battery staple ok!", "passphrase"),
        (&[0; 32], "one byte repeated"),
        (&[0xFF; 32], "one byte repeated"),
        (&[0xFE; 31], "31 bytes of binary"),
        (&[0xFE; 33], "33 bytes of binary"),
    ];
    for (bytes, says) in raw {
        let error = Kek::from_bytes(bytes).map(drop).unwrap_err();
        assert!(error.code() == ErrorCode::InvalidArgument && error.message().contains(says), "{says}: {error}");
        shows_nothing(&error.to_string(), bytes, "a refused KEK's message");
        if bytes.len() == 32 {
            for text in [BASE64.encode(bytes), HEXLOWER.encode(bytes)] {
                let error = Kek::from_text(&text).map(drop).unwrap_err();
                assert!(error.message().contains(says), "{says}: {error}");
                shows_nothing(&error.to_string(), text.as_bytes(), "a refused KEK's message");
            }
        }
    }
}

#[test]
fn a_secret_has_32_bytes() {
    for len in [0, 16, 31, 33, 64] {
        assert_eq!(Secret::from_slice(&vec![1; len]).map(drop).map_err(|error| error.code()), Err(ErrorCode::InvalidArgument), "{len}");
    }
    let (one, other) = (Secret::generate().unwrap(), Secret::generate().unwrap());
    assert!(one != other && one == one.clone() && one.expose() != &[0; 32]);
}

#[test]
fn generated_deks_differ_and_come_back_through_their_key_check_only() {
    let (dek, secret) = Dek::generate("acme", DekPurpose::Data, 3).unwrap();
    let (another, _) = Dek::generate("acme", DekPurpose::Data, 3).unwrap();
    assert!(dek.record().dek_id != another.record().dek_id && dek.key_check() != another.key_check());
    assert_eq!(Dek::from_secret(&secret, dek.record().clone(), dek.key_check()).unwrap().key_check(), dek.key_check());
    let code = |change: &dyn Fn(&mut DekRecord), check: &[u8]| {
        let mut record = dek.record().clone();
        change(&mut record);
        Dek::from_secret(&secret, record, check).map(drop).map_err(|error| error.code())
    };
    for change in [
        (|record| record.tenant = "acm".into()) as fn(&mut DekRecord),
        |record| record.version = 4,
        |record| record.purpose = DekPurpose::Client,
        |record| record.dek_id[15] ^= 1,
    ] {
        assert_eq!(code(&change, dek.key_check()), Err(ErrorCode::AuthenticationFailed));
    }
    for check in [&[][..], &dek.key_check()[..31], &[dek.key_check().as_slice(), &[0]].concat(), &[0; 32]] {
        assert_eq!(code(&|_| (), check), Err(ErrorCode::AuthenticationFailed), "{} bytes", check.len());
    }
    assert_eq!(code(&|record| record.suite = 2, dek.key_check()), Err(ErrorCode::UnsupportedSuite));
    assert_eq!(code(&|record| record.version = 0, dek.key_check()), Err(ErrorCode::InvalidArgument));
    assert_eq!(code(&|record| record.tenant = String::new(), dek.key_check()), Err(ErrorCode::TenantRequired));
    assert_eq!(code(&|record| record.tenant = "t".repeat(1025), dek.key_check()), Err(ErrorCode::InvalidContext));
}

/// A wrong key check, one byte at a time: all of it is compared.
#[test]
fn every_byte_of_a_key_check_counts() {
    let (dek, secret) = Dek::generate("acme", DekPurpose::Data, 1).unwrap();
    for at in 0..32 {
        let mut check = *dek.key_check();
        check[at] ^= 1 << (at % 8);
        assert_eq!(
            Dek::from_secret(&secret, dek.record().clone(), &check).map(drop).map_err(|error| error.code()),
            Err(ErrorCode::AuthenticationFailed)
        );
    }
}

/// Looks for four bytes in a row of what must not be shown, as text, hex or decimal numbers.
fn shows_nothing(shown: &str, hidden: &[u8], what: &str) {
    let lower = shown.to_lowercase();
    for window in hidden.windows(hidden.len().clamp(1, 6)) {
        let decimal: Vec<String> = window.iter().map(u8::to_string).collect();
        let hex: Vec<String> = window.iter().map(|byte| format!("{byte:02x}")).collect();
        let hex_each: Vec<String> = window.iter().map(|byte| format!("{byte:#x}")).collect();
        let mut forms = vec![decimal.join(", "), decimal.join(","), hex.concat(), hex.join(" "), hex.join(":"), hex_each.join(", ")];
        // A word of the message may happen to be in a passphrase: what must not be shown is six characters of it that are no plain words.
        if let Ok(text) = std::str::from_utf8(window).map(str::to_lowercase)
            && !HOW.contains(&text)
        {
            forms.push(text);
        }
        forms.iter().for_each(|form| assert!(!lower.contains(form.as_str()), "{what} shows {form}: {shown}"));
    }
}

/// Words that every message has.
const HOW: &str = "a kek is 32 random bytes: 44 characters of base64, 64 hex digits, or a 32-byte binary file. `sealpoint keygen` makes a good one";

#[test]
fn debug_shows_no_key_no_plaintext_and_no_value() {
    let bytes = key();
    let secret = common::secret(&bytes);
    let dek = Arc::new(common::dek(&bytes, [3; 16], "acme", DekPurpose::Data, 1));
    let kek = Kek::from_bytes(&bytes).unwrap();
    let context =
        Context::new(&[("tenant", Value::Text("umbrella-corp")), ("purpose", Value::Text("app.note")), ("thread", Value::Text("t-4711-x"))]).unwrap();
    let body = sealpoint_core::hazmat::body_key(&secret, 1, DekPurpose::Data, &[3; 16]).unwrap();
    let mut cache = DekCache::new(CacheConfig { ttl_ms: 10, pointer_ttl_ms: 10, capacity: 2 }).unwrap();
    cache.insert(Arc::clone(&dek), false, Timestamp { monotonic_ms: 0, wall_ms: 0 });
    let own = Context::new(&[("tenant", Value::Text("acme")), ("purpose", Value::Text("app.note"))]).unwrap();
    let opened = dek.open(&dek.seal(&bytes, "msgpack", Padding::None, &own).unwrap(), &own).unwrap();
    assert_eq!(opened.payload, bytes);
    let aead = RustCrypto::new(bytes.as_slice().try_into().unwrap()).unwrap();
    #[allow(unused_mut, reason = "one more with the native backend")]
    let mut shown = vec![
        format!("{secret:?} {secret:#?}"),
        format!("{dek:?} {dek:#?}"),
        format!("{kek:?} {kek:#?}"),
        format!("{context:?} {context:#?}"),
        format!("{cache:?} {cache:#?}"),
        format!("{opened:?} {opened:#?}"),
        format!("{aead:?} {aead:#?}"),
    ];
    #[cfg(feature = "native")]
    shown.push(format!("{:?}", sealpoint_core::backend::AwsLc::new(bytes.as_slice().try_into().unwrap()).unwrap()));
    for shown in shown {
        let hidden: [&[u8]; 6] = [&bytes, body.expose(), b"umbrella-corp", b"t-4711-x", dek.key_check(), b"msgpack"];
        hidden.iter().for_each(|hidden| shows_nothing(&shown, hidden, "Debug"));
    }
    assert_eq!(format!("{secret:?}"), "Secret([redacted])");
}

#[test]
fn error_codes_are_distinct_and_said() {
    let names: BTreeSet<&str> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!((names.len(), ErrorCode::ALL.len()), (21, 21));
    let retryable: Vec<&str> = ErrorCode::ALL.iter().filter(|code| code.is_retryable()).map(|code| code.as_str()).collect();
    assert_eq!(retryable, ["kms_throttled", "kms_unavailable", "store_unavailable"]);
    let spec = std::fs::read_to_string(common::root("docs/SPEC.md")).unwrap();
    for code in ErrorCode::ALL {
        let row = format!("| `{code}` | {} |", if code.is_retryable() { "yes" } else { "no" });
        assert!(spec.contains(&row), "SPEC section 9 has no row {row}");
    }
}

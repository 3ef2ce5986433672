//! Exported keys: what may leave, what comes back, and that nothing but the whole of it is accepted (SPEC section 6.3).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs, reason = "a test fails by panicking")]

mod common;

use data_encoding::BASE64URL_NOPAD;
use sealpoint_core::envelope::{Envelope, Kind};
use sealpoint_core::{Context, Dek, DekPurpose, DekRecord, ErrorCode, Padding, Secret, Value, export_key, import_key, text};

const PREFIX: &str = "sealpoint-key:v1:";

fn record(purpose: DekPurpose) -> DekRecord {
    DekRecord { dek_id: [3; 16], tenant: "acme".into(), purpose, suite: 1, version: 7 }
}

fn key() -> Secret {
    common::secret(&[9; 32])
}

fn exported() -> String {
    export_key(&key(), &record(DekPurpose::Client)).unwrap().to_string()
}

fn bytes_of(text: &str) -> Vec<u8> {
    BASE64URL_NOPAD.decode(text.strip_prefix(PREFIX).unwrap().as_bytes()).unwrap()
}

fn import(bytes: &[u8]) -> Result<DekRecord, ErrorCode> {
    import_key(&format!("{PREFIX}{}", BASE64URL_NOPAD.encode(bytes))).map(|dek| dek.record().clone()).map_err(|error| error.code())
}

fn context(tenant: &str) -> Context {
    Context::new(&[("tenant", Value::Text(tenant)), ("purpose", Value::Text("app.note"))]).unwrap()
}

#[test]
fn what_was_imported_opens_and_seals_what_the_original_does() {
    let (dek, secret) = Dek::generate("acme", DekPurpose::Client, 3).unwrap();
    let imported = import_key(&export_key(&secret, dek.record()).unwrap()).unwrap();
    assert_eq!((imported.record(), imported.key_check()), (dek.record(), dek.key_check()));
    for (one, other) in [(&dek, &imported), (&imported, &dek)] {
        let sealed = one.seal(b"payload", "bytes", Padding::Bucket, &context("acme")).unwrap();
        assert_eq!(other.open(&sealed, &context("acme")).unwrap().payload, b"payload");
    }
    let sealed = imported.seal(b"payload", "", Padding::None, &context("umbrella"));
    assert_eq!(sealed.map_err(|error| error.code()), Err(ErrorCode::InvalidContext), "another tenant's");
}

#[test]
fn only_client_keys_leave() {
    let code = |record: &DekRecord| export_key(&key(), record).map(drop).map_err(|error| error.code());
    assert_eq!(code(&record(DekPurpose::Client)), Ok(()));
    for purpose in [DekPurpose::Data, DekPurpose::Index, DekPurpose::Audit] {
        assert_eq!(code(&record(purpose)), Err(ErrorCode::InvalidArgument), "{purpose:?}");
    }
    for (changed, expected) in [
        (DekRecord { suite: 2, ..record(DekPurpose::Client) }, ErrorCode::UnsupportedSuite),
        (DekRecord { version: 0, ..record(DekPurpose::Client) }, ErrorCode::InvalidArgument),
        (DekRecord { tenant: String::new(), ..record(DekPurpose::Client) }, ErrorCode::TenantRequired),
        (DekRecord { tenant: "t".repeat(1025), ..record(DekPurpose::Client) }, ErrorCode::InvalidContext),
        (DekRecord { tenant: "t".repeat(70_000), ..record(DekPurpose::Client) }, ErrorCode::InvalidContext),
    ] {
        assert_eq!(code(&changed), Err(expected));
    }
}

#[test]
fn every_changed_byte_is_refused() {
    let good = bytes_of(&exported());
    assert_eq!(import(&good), Ok(record(DekPurpose::Client)));
    for at in 0..good.len() {
        for mask in [1, 0x80, 0xFF] {
            let mut changed = good.clone();
            changed[at] ^= mask;
            let code = match at {
                2 => ErrorCode::UnsupportedVersion,
                3 => ErrorCode::UnsupportedSuite,
                0 | 1 | 4 | 89 | 90 => ErrorCode::Malformed,
                91.. if mask > 1 => ErrorCode::Malformed, // no UTF-8 any more
                _ => ErrorCode::AuthenticationFailed,
            };
            assert_eq!(import(&changed), Err(code), "byte {at} ^ {mask:#x}");
        }
    }
}

#[test]
fn every_other_length_is_refused() {
    let good = bytes_of(&exported());
    for len in 0..good.len() {
        assert_eq!(import(&good[..len]), Err(ErrorCode::Malformed), "{len} bytes");
    }
    for more in [1, 2, 3, 100, 70_000] {
        assert_eq!(import(&[&good[..], &vec![0; more]].concat()), Err(ErrorCode::Malformed), "{more} more");
    }
}

#[test]
fn a_key_has_one_text() {
    let text = exported();
    let code = |text: &str| import_key(text).map(drop).map_err(|error| error.code());
    for more in ["=", "==", "\n", " ", "A", "AA", "\0"] {
        assert_eq!(code(&format!("{text}{more}")), Err(ErrorCode::Malformed), "{more:?} after it");
        let (front, back) = text.split_at(40);
        assert!(code(&format!("{front}{more}{back}")).is_err(), "{more:?} in it");
    }
    for at in PREFIX.len()..text.len() {
        let changed = format!("{}{}{}", &text[..at], if text.as_bytes()[at] == b'A' { 'B' } else { 'A' }, &text[at + 1..]);
        assert!(code(&changed).is_err(), "character {at}");
    }
    for (changed, expected) in [
        (text.replace("v1", "v2"), ErrorCode::UnsupportedVersion),
        (text.replace("sealpoint-key", "sealpoint-wrap"), ErrorCode::Malformed),
        (text.replace("sealpoint-key", "sealpoint"), ErrorCode::Malformed),
        (text.replace("sealpoint-key", "Sealpoint-key"), ErrorCode::PlaintextRefused),
        (PREFIX.into(), ErrorCode::Malformed),
        (String::new(), ErrorCode::PlaintextRefused),
    ] {
        assert_eq!(code(&changed), Err(expected), "{}…", &changed[..changed.len().min(18)]);
    }
}

/// A key in the place of an envelope is refused, and taken for sealed: it never passes as plaintext.
#[test]
fn an_exported_key_is_no_envelope() {
    let text = exported();
    assert!(text::is_sealed(text.as_bytes()) && text::is_sealed(&bytes_of(&text)));
    for kind in [Kind::Data, Kind::WrappedKey] {
        assert_eq!(text::decode(&text, kind).map_err(|error| error.code()), Err(ErrorCode::Malformed));
        for bytes in [text.as_bytes(), &bytes_of(&text)] {
            assert_eq!(Envelope::parse(bytes, kind).map(drop).map_err(|error| error.code()), Err(ErrorCode::Malformed));
        }
    }
}

/// What the reader of an error or a log must not see.
#[test]
fn nothing_shows_the_key() {
    let (secret, text) = (common::secret(&common::pattern(32)), exported());
    let dek = import_key(&export_key(&secret, &record(DekPurpose::Client)).unwrap()).unwrap();
    assert_eq!(format!("{dek:?}"), "Dek { purpose: Client, version: 7, .. }");
    let mut broken = bytes_of(&text);
    broken[60] ^= 1;
    let broken = format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&broken));
    for bad in [&broken, &text[..text.len() - 1], &text.replace("v1", "v9"), &text.replace("-key", "")] {
        let shown = format!("{:?}", import_key(bad).map(drop).unwrap_err());
        bad.as_bytes()[PREFIX.len()..].windows(6).for_each(|part| assert!(!shown.contains(std::str::from_utf8(part).unwrap()), "{shown}"));
    }
    let error = export_key(&secret, &record(DekPurpose::Data)).map(drop).unwrap_err();
    assert!(error.message().contains("client") && !error.message().contains("acme"), "{error}");
}

/// The key check of an exported key is made by whoever has a key: it authenticates nobody, as SPEC section 6.3 says.
#[test]
fn anybody_can_make_a_valid_one() {
    let mine = DekRecord { tenant: "somebody else's".into(), ..record(DekPurpose::Client) };
    assert_eq!(import_key(&export_key(&Secret::generate().unwrap(), &mine).unwrap()).unwrap().record(), &mine);
}

/// Were the bytes of a data DEK exported as those of a client DEK, they would open nothing.
#[test]
fn an_exported_key_opens_nothing_of_another_purpose() {
    let imported = import_key(&exported()).unwrap();
    let data = common::dek(&[9; 32], [3; 16], "acme", DekPurpose::Data, 7);
    let sealed = data.seal(b"x", "", Padding::None, &context("acme")).unwrap();
    assert_eq!(imported.open(&sealed, &context("acme")).map(drop).map_err(|error| error.code()), Err(ErrorCode::AuthenticationFailed));
}

//! One changed byte or one missing: refused, with the code that SPEC section 8 gives, and no plaintext in the output.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs, reason = "a test fails by panicking")]

mod common;

use common::Backend;
use sealpoint_core::envelope::{Envelope, Kind};
use sealpoint_core::{Context, Dek, DekPurpose, ErrorCode, Kek, Padding, Value, wrap_context};

const PAYLOAD_LENS: [usize; 5] = [0, 5, 16_383, 16_384, 33_000];

fn context() -> Context {
    Context::new(&[("tenant", Value::Text("acme")), ("purpose", Value::Text("app.note"))]).unwrap()
}

fn key() -> Dek {
    common::dek(&[9; 32], [3; 16], "acme", DekPurpose::Data, 1)
}

/// Opens into a buffer of the test's own, which must hold no plaintext after a failure.
fn open<A: Backend>(bytes: &[u8]) -> Result<(), ErrorCode> {
    let mut out = Vec::new();
    let opened = Envelope::parse(bytes, Kind::Data).and_then(|envelope| {
        key().open_with::<A, _>(&envelope, &context(), |len| {
            out.resize(len, 0);
            Ok(&mut out)
        })
    });
    assert!(opened.is_ok() || out.iter().all(|byte| *byte == 0), "plaintext in the output of a failed open");
    opened.map(drop).map_err(|error| error.code())
}

/// What a changed byte at this place must be refused with.
fn flipped_code(at: usize, to: u8) -> ErrorCode {
    match at {
        0 => ErrorCode::PlaintextRefused,
        1 => ErrorCode::Malformed,
        2 => ErrorCode::UnsupportedVersion,
        3 => ErrorCode::UnsupportedSuite,
        4 if to > 1 => ErrorCode::UnsupportedEncoding,
        5..=20 => ErrorCode::KeyNotFound,
        _ => ErrorCode::AuthenticationFailed,
    }
}

fn truncated_code(len: usize) -> ErrorCode {
    match len {
        0 => ErrorCode::PlaintextRefused,
        93.. if (len - 77) % 16_400 >= 16 => ErrorCode::AuthenticationFailed,
        _ => ErrorCode::Malformed,
    }
}

#[test]
fn every_changed_byte_is_refused() {
    on_each_backend!(changed());
}

fn changed<A: Backend>() {
    for (padding, payload_len) in [Padding::None, Padding::Bucket].into_iter().flat_map(|padding| PAYLOAD_LENS.map(|len| (padding, len))) {
        let mut sealed = key().seal(&common::pattern(payload_len), "msgpack", padding, &context()).unwrap();
        assert_eq!(open::<A>(&sealed), Ok(()));
        // Every byte of the front, of each chunk's seam and of the end; of the rest every 97th.
        let len = sealed.len();
        let near = |at: usize| at < 300 || len - at < 40 || (at - 77) % 16_400 < 4 || (at - 77) % 16_400 > 16_380 || at.is_multiple_of(97);
        for at in (0..len).filter(|at| near(*at)) {
            for mask in [1 << (at % 8), 0xFF] {
                sealed[at] ^= mask;
                assert_eq!(open::<A>(&sealed), Err(flipped_code(at, sealed[at])), "byte {at} of {len} ^ {mask:#x}");
                sealed[at] ^= mask;
            }
        }
    }
}

#[test]
fn every_truncation_and_extension_is_refused() {
    on_each_backend!(truncated());
}

fn truncated<A: Backend>() {
    for payload_len in PAYLOAD_LENS {
        let sealed = key().seal(&common::pattern(payload_len), "msgpack", Padding::None, &context()).unwrap();
        for len in (0..sealed.len()).filter(|len| *len < 400 || sealed.len() - len < 300 || (len - 77) % 16_400 < 40 || len.is_multiple_of(61)) {
            assert_eq!(open::<A>(&sealed[..len]), Err(truncated_code(len)), "{len} of {}", sealed.len());
        }
        for more in [1, 15, 16, 17, 16_400] {
            let longer = [&sealed[..], &vec![0; more]].concat();
            assert_eq!(open::<A>(&longer), Err(truncated_code(longer.len())), "{more} more than {}", sealed.len());
        }
    }
}

#[test]
fn every_changed_byte_of_a_wrapped_key_is_refused() {
    on_each_backend!(wrapped());
}

fn wrapped<A: Backend>() {
    let kek = Kek::from_secret(&common::secret(&[5; 32])).unwrap();
    let context = wrap_context("acme", &[3; 16], DekPurpose::Data, 1).unwrap();
    let sealed = kek.wrap(&common::secret(&[9; 32]), &context).unwrap();
    assert_eq!(kek.unwrap_with::<A>(&sealed, &context).unwrap().expose(), &[9; 32]);
    for at in 0..sealed.len() {
        for mask in [1, 0x80, 0xFF] {
            let mut changed = sealed.clone();
            changed[at] ^= mask;
            let code = if at == 4 { ErrorCode::UnsupportedEncoding } else { flipped_code(at, changed[at]) };
            assert_eq!(kek.unwrap_with::<A>(&changed, &context).map_err(|error| error.code()), Err(code), "byte {at} ^ {mask:#x}");
        }
        let code = if at == 0 { ErrorCode::PlaintextRefused } else { ErrorCode::Malformed };
        assert_eq!(kek.unwrap_with::<A>(&sealed[..at], &context).map_err(|error| error.code()), Err(code), "{at} bytes");
    }
    for (tenant, dek_id, purpose) in [("acm", [3; 16], DekPurpose::Data), ("acme", [4; 16], DekPurpose::Data), ("acme", [3; 16], DekPurpose::Client)]
    {
        let other = wrap_context(tenant, &dek_id, purpose, 1).unwrap();
        assert_eq!(kek.unwrap_with::<A>(&sealed, &other).map_err(|error| error.code()), Err(ErrorCode::AuthenticationFailed));
    }
}

/// A body one byte past the longest, in zero pages that nobody reads: refused by its length alone.
#[test]
#[cfg(target_pointer_width = "64")]
fn a_body_beyond_the_longest_payload_is_refused_before_it_is_read() {
    let longest = sealpoint_core::envelope::sealed_len(1 << 30, 255, Padding::Bucket).unwrap();
    let mut bytes = vec![0; longest + 16];
    bytes[..5].copy_from_slice(&[0xC1, 0x53, 1, 1, 1]);
    assert_eq!(Envelope::parse(&bytes, Kind::Data).map(drop).map_err(|error| error.code()), Err(ErrorCode::LimitExceeded));
    assert!(Envelope::parse(&bytes[..longest], Kind::Data).is_ok());
}

/// SPEC section 4: a context of another tenant, on both sides.
#[test]
fn a_key_serves_its_own_tenant_only() {
    let other = Context::new(&[("tenant", Value::Text("umbrella")), ("purpose", Value::Text("app.note"))]).unwrap();
    let sealed = key().seal(b"x", "", Padding::None, &context()).unwrap();
    assert_eq!(key().seal(b"x", "", Padding::None, &other).map_err(|error| error.code()), Err(ErrorCode::InvalidContext));
    assert_eq!(key().open(&sealed, &other).map_err(|error| error.code()), Err(ErrorCode::AuthenticationFailed));
    // The same key material under another tenant's name seals what the first must not open, even with a right commitment.
    let stolen = common::dek(&[9; 32], [3; 16], "umbrella", DekPurpose::Data, 1).seal(b"x", "", Padding::None, &other).unwrap();
    assert_eq!(key().open(&stolen, &other).map_err(|error| error.code()), Err(ErrorCode::AuthenticationFailed));
}

/// An output of another length than was asked for is the caller's mistake, not a panic.
#[test]
fn an_output_of_the_wrong_length_is_refused() {
    for (len, padding) in [(5, Padding::None), (40_000, Padding::None), (40_000, Padding::Bucket)] {
        let sealed = key().seal(&common::pattern(len), "msgpack", padding, &context()).unwrap();
        for wrong in [0, len - 1, len + 1] {
            let mut out = vec![0; wrong];
            assert_eq!(key().open_into(&sealed, &context(), |_| Ok(&mut out)).map_err(|error| error.code()), Err(ErrorCode::Internal));
            assert!(out.iter().all(|byte| *byte == 0), "plaintext in an output of the wrong length");
        }
        for wrong in [0, 93, sealed.len() - 1, sealed.len() + 1] {
            let mut out = vec![0; wrong];
            let sealed = key().seal_into(&common::pattern(len), "msgpack", padding, &context(), &mut out);
            assert_eq!(sealed.map_err(|error| error.code()), Err(ErrorCode::Internal));
        }
    }
}

//! Messages whose chunks are encrypted elsewhere are the same envelopes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs, reason = "a test fails by panicking")]

use sealpoint_core::backend::{Aead, RustCrypto, TAG_LEN};
use sealpoint_core::envelope::{HEAD_LEN, payload_bound, sealed_len};
use sealpoint_core::limits::CHUNK_LEN;
use sealpoint_core::{Context, Dek, DekPurpose, ErrorCode, Padding, Value};

const TENANT: &str = "acme";

fn key_and_context() -> (Dek, Context) {
    let (dek, _) = Dek::generate(TENANT, DekPurpose::Data, 1).unwrap();
    (dek, Context::new(&[("tenant", Value::Text(TENANT)), ("purpose", Value::Text("app.note"))]).unwrap())
}

/// As `WebCrypto` would.
fn seal_elsewhere(dek: &Dek, payload: &[u8], content_type: &str, padding: Padding, context: &Context) -> Vec<u8> {
    let message = dek.begin_seal(payload.len(), content_type, padding, context).unwrap();
    let aead = RustCrypto::new(message.key().unwrap()).unwrap();
    let mut inner = [message.prefix(), payload, message.suffix()].concat();
    inner.resize(message.inner_len(), 0);
    let mut envelope = message.head().to_vec();
    for number in 0..=inner.len() / CHUNK_LEN {
        let mut chunk = inner[number * CHUNK_LEN..inner.len().min((number + 1) * CHUNK_LEN)].to_vec();
        let tag = aead.seal_in_place(&message.nonce(number).unwrap(), &mut chunk).unwrap();
        envelope.extend([chunk.as_slice(), &tag].concat());
    }
    envelope
}

fn open_elsewhere(dek: &Dek, envelope: &[u8], context: &Context) -> sealpoint_core::Result<(String, Vec<u8>)> {
    let message = dek.begin_open(&envelope[..envelope.len().min(HEAD_LEN)], envelope.len(), context)?;
    let aead = RustCrypto::new(message.key()?)?;
    let mut inner = Vec::new();
    for (number, chunk) in envelope[HEAD_LEN..].chunks(CHUNK_LEN + TAG_LEN).enumerate() {
        let (data, tag) = chunk.split_last_chunk::<TAG_LEN>().unwrap();
        let mut plain = vec![0; data.len()];
        aead.open(&message.nonce(number)?, data, tag, &mut plain)?;
        inner.extend(plain);
    }
    let (content_type, range) = message.payload(&inner[..message.inner_head_len()])?;
    Ok((content_type, inner[range].to_vec()))
}

#[test]
fn what_is_sealed_elsewhere_opens_here_and_the_other_way_round() {
    let (dek, context) = key_and_context();
    for len in [0, 1, 250, 300, CHUNK_LEN - 10, CHUNK_LEN - 9, CHUNK_LEN, 3 * CHUNK_LEN - 9, 100_000] {
        for content_type in ["", "msgpack", &"c".repeat(255)] {
            for padding in [Padding::None, Padding::Bucket] {
                let payload = vec![0x80; len];
                let sealed = seal_elsewhere(&dek, &payload, content_type, padding, &context);
                assert_eq!(sealed.len(), sealed_len(len, content_type.len(), padding).unwrap());
                assert!(payload_bound(sealed.len()) >= len);
                let opened = dek.open(&sealed, &context).unwrap();
                assert_eq!((opened.content_type.as_str(), &opened.payload), (content_type, &payload));
                let sealed = dek.seal(&payload, content_type, padding, &context).unwrap();
                assert_eq!(open_elsewhere(&dek, &sealed, &context), Ok((content_type.to_owned(), payload)));
            }
        }
    }
}

#[test]
fn what_does_not_open_here_does_not_begin_to_open_elsewhere() {
    let (dek, context) = key_and_context();
    let (other, _) = Dek::generate(TENANT, DekPurpose::Data, 1).unwrap();
    let elsewhere = Context::new(&[("tenant", Value::Text(TENANT)), ("purpose", Value::Text("app.other"))]).unwrap();
    let sealed = dek.seal(b"payload", "", Padding::None, &context).unwrap();
    let code = |dek: &Dek, start: &[u8], len, context: &Context| dek.begin_open(start, len, context).map(|_| ()).unwrap_err().code();
    assert_eq!(code(&dek, &sealed, sealed.len(), &elsewhere), ErrorCode::AuthenticationFailed);
    assert_eq!(code(&other, &sealed, sealed.len(), &context), ErrorCode::KeyNotFound);
    for byte in 0..HEAD_LEN {
        let mut changed = sealed.clone();
        changed[byte] ^= 0x40;
        assert_eq!(code(&dek, &changed, changed.len(), &context), dek.open(&changed, &context).unwrap_err().code(), "byte {byte}");
    }
    for len in 0..sealed.len() {
        let expected = dek.open(&sealed[..len], &context).unwrap_err().code();
        if len < HEAD_LEN + TAG_LEN {
            assert_eq!(code(&dek, &sealed[..len], len, &context), expected, "{len} bytes");
        }
    }
    assert_eq!(code(&dek, &sealed, usize::MAX, &context), ErrorCode::LimitExceeded);
}

#[test]
fn refused_as_when_sealed_here() {
    let (dek, context) = key_and_context();
    let code = |len, content_type: &str, context: &Context| dek.begin_seal(len, content_type, Padding::None, context).map(|_| ()).unwrap_err().code();
    assert_eq!(code(usize::MAX, "", &context), ErrorCode::LimitExceeded);
    assert_eq!(code(1, &"c".repeat(256), &context), ErrorCode::LimitExceeded);
    assert_eq!(code(1, "caf\u{e9}", &context), ErrorCode::InvalidArgument);
    let other = Context::new(&[("tenant", Value::Text("globex")), ("purpose", Value::Text("app.note"))]).unwrap();
    assert_eq!(code(1, "", &other), ErrorCode::InvalidContext);
    let sealed = dek.seal(b"payload", "", Padding::Bucket, &context).unwrap();
    let message = dek.begin_open(&sealed, sealed.len(), &context).unwrap();
    assert_eq!(message.payload(b"payload").unwrap_err().code(), ErrorCode::InvalidArgument);
    assert_eq!(message.payload(&vec![0; message.inner_head_len()]).unwrap_err().code(), ErrorCode::Malformed);
}

#[test]
fn a_message_shows_no_key() {
    let (dek, context) = key_and_context();
    let message = dek.begin_seal(1, "", Padding::None, &context).unwrap();
    assert_eq!(format!("{message:?}"), "Message { inner_len: 2, .. }");
    assert_eq!(payload_bound(0), 0);
    assert_eq!(payload_bound(HEAD_LEN + 15), 0);
    assert_eq!(payload_bound(usize::MAX), 0);
}

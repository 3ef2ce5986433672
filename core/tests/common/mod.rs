//! What several test files need: the vectors' forms (tests/vectors/README.md), the backends, a fixed key.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "each test file uses a part of it; a test fails by panicking"
)]

pub mod memory;
pub mod tree;

use std::path::{Path, PathBuf};

use sealpoint_core::backend::{self, Aead};
use sealpoint_core::{Context, Dek, DekPurpose, DekRecord, Secret, Value, hazmat};
use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};

/// An implementation of AES-256-GCM with a name to print.
pub trait Backend: Aead {
    const NAME: &'static str;
}

impl Backend for backend::RustCrypto {
    const NAME: &'static str = "RustCrypto";
}

#[cfg(feature = "native")]
impl Backend for backend::AwsLc {
    const NAME: &'static str = "AwsLc";
}

/// Runs a generic function once for each backend of this build.
#[macro_export]
macro_rules! on_each_backend {
    ($run:ident($($argument:expr),*)) => {{
        $run::<sealpoint_core::backend::RustCrypto>($($argument),*);
        #[cfg(feature = "native")]
        $run::<sealpoint_core::backend::AwsLc>($($argument),*);
    }};
}

/// A path from the repository's root.
pub fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

pub fn unhex(text: &str) -> Vec<u8> {
    data_encoding::HEXLOWER.decode(text.as_bytes()).expect("lower-case hex")
}

pub fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// A member that is hex.
pub fn hex_at(json: &Json, name: &str) -> Vec<u8> {
    unhex(str_at(json, name))
}

/// A member that is hex of a fixed length.
pub fn array_at<const N: usize>(json: &Json, name: &str) -> [u8; N] {
    hex_at(json, name).try_into().unwrap_or_else(|_| panic!("{name} has not {N} bytes"))
}

pub fn str_at<'a>(json: &'a Json, name: &str) -> &'a str {
    json[name].as_str().unwrap_or_else(|| panic!("no text {name}"))
}

pub fn secret(bytes: &[u8]) -> Secret {
    Secret::from_slice(bytes).expect("32 bytes")
}

pub fn purpose(name: &str) -> DekPurpose {
    (1..=4).map(|number| DekPurpose::from_number(number).unwrap()).find(|purpose| purpose.name() == name).expect("a known purpose")
}

/// A DEK from its bytes. The key check is the right one: a DEK cannot be had without comparing it.
pub fn dek(bytes: &[u8], dek_id: [u8; 16], tenant: &str, purpose: DekPurpose, version: u32) -> Dek {
    let record = DekRecord { dek_id, tenant: tenant.into(), purpose, suite: 1, version };
    Dek::from_secret(&secret(bytes), record, &key_check(bytes, &dek_id, tenant, purpose, version)).expect("a valid DEK")
}

/// `key_check` of SPEC section 2, written down once more.
pub fn key_check(dek: &[u8], dek_id: &[u8; 16], tenant: &str, purpose: DekPurpose, version: u32) -> [u8; 32] {
    let mut info = b"sealpoint/v1/key-check\0".to_vec();
    info.extend([1, purpose as u8]);
    info.extend(dek_id);
    info.extend(version.to_be_bytes());
    info.extend(u16::try_from(tenant.len()).unwrap().to_be_bytes());
    info.extend(tenant.as_bytes());
    let mut out = [0; 32];
    hazmat::expand(dek, &info, &mut out).unwrap();
    out
}

/// README, payloads: byte i is (31 i + 7) mod 251.
pub fn pattern(len: usize) -> Vec<u8> {
    (0..251_u32).map(|i| u8::try_from((31 * i + 7) % 251).unwrap()).cycle().take(len).collect()
}

/// README, payloads.
pub fn payload(form: &Json) -> Vec<u8> {
    if let Some(hex) = form["hex"].as_str() {
        return unhex(hex);
    }
    let data = pattern(usize::try_from(form["len"].as_u64().expect("a length")).unwrap());
    assert_eq!(sha256(&data), str_at(form, "sha256"), "the pattern");
    data
}

/// A value of a context that owns what it holds.
#[derive(Clone, Debug)]
pub enum Owned {
    Text(String),
    Int(i128),
    Float(f64),
    List(Vec<String>),
    /// Bytes that are no UTF-8: a Rust `str` cannot hold them.
    IllFormed(Vec<u8>),
}

/// README, contexts.
pub fn pairs(form: &Json) -> Vec<(String, Owned)> {
    let pair = |pair: &Json| (pair[0].as_str().expect("a key").to_owned(), owned(&pair[1]));
    form.as_array().expect("a list of pairs").iter().map(pair).collect()
}

fn owned(form: &Json) -> Owned {
    let (name, value) = form.as_object().and_then(|object| object.iter().next()).expect("a value form");
    match name.as_str() {
        "text" => Owned::Text(value.as_str().unwrap().into()),
        "int" => Owned::Int(value.as_str().unwrap().parse().unwrap()),
        "float" => Owned::Float(float(value.as_str().unwrap())),
        "list" => Owned::List(value.as_array().unwrap().iter().map(|item| item.as_str().unwrap().into()).collect()),
        "repeat" => Owned::Text(repeat(value)),
        "utf8_hex" => Owned::IllFormed(unhex(value.as_str().unwrap())),
        other => panic!("no such value form: {other}"),
    }
}

pub fn float(bits: &str) -> f64 {
    f64::from_bits(u64::from_str_radix(bits, 16).expect("16 hex digits"))
}

pub fn repeat(form: &Json) -> String {
    str_at(form, "text").repeat(usize::try_from(form["count"].as_u64().unwrap()).unwrap())
}

/// Encodes a context, if Rust's strings can hold it.
pub fn encode(pairs: &[(String, Owned)]) -> Option<sealpoint_core::Result<Context>> {
    let lists: Vec<Vec<&str>> = pairs
        .iter()
        .map(|(_, value)| match value {
            Owned::List(items) => items.iter().map(String::as_str).collect(),
            _ => Vec::new(),
        })
        .collect();
    let mut borrowed = Vec::with_capacity(pairs.len());
    for ((key, value), list) in pairs.iter().zip(&lists) {
        let value = match value {
            Owned::Text(text) => Value::Text(text),
            Owned::Int(int) => Value::Int(*int),
            Owned::Float(float) => Value::Float(*float),
            Owned::List(_) => Value::List(list),
            Owned::IllFormed(_) => return None,
        };
        borrowed.push((key.as_str(), value));
    }
    Some(Context::new(&borrowed))
}

/// The canonical form of pairs whose values are bytes, ill-formed ones too, and nothing is checked.
pub fn raw_canonical(pairs: &[(String, Owned)]) -> Vec<u8> {
    let mut sorted: Vec<(&String, Vec<u8>)> = pairs
        .iter()
        .map(|(key, value)| match value {
            Owned::Text(text) => (key, text.clone().into_bytes()),
            Owned::IllFormed(bytes) => (key, bytes.clone()),
            other => panic!("not for {other:?}"),
        })
        .collect();
    sorted.sort();
    let mut out = u16::try_from(sorted.len()).unwrap().to_be_bytes().to_vec();
    for part in sorted.iter().flat_map(|(key, value)| [key.as_bytes(), value]) {
        out.extend(u16::try_from(part.len()).unwrap().to_be_bytes());
        out.extend(part);
    }
    out
}

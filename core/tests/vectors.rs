//! Every vector of tests/vectors, on every backend of the build. An unknown file, `op` or verdict fails.
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
#[path = "vectors/exported.rs"]
mod exported;
#[path = "vectors/items.rs"]
mod items;
#[path = "vectors/records.rs"]
mod records;
#[path = "vectors/recovery.rs"]
mod recovery;

use std::collections::{BTreeMap, HashMap};
use std::fs;

use common::{Backend, array_at, hex, hex_at, purpose, root, secret, sha256, str_at, unhex};
use sealpoint_core::envelope::{Envelope, Kind};
use sealpoint_core::{
    Context, Dek, DekRecord, Error, ErrorCode, Kek, Padding, Result, Value, canary_context, canary_secret, hazmat, open_only_context, text,
    wrap_context,
};
use serde_json::Value as Json;

/// What a vector came to.
enum Outcome {
    Code(Result<()>),
    /// Rust's types cannot hold the input; what was done in its place, and its verdict.
    Inexpressible(&'static str, ErrorCode),
}

impl From<Result<()>> for Outcome {
    fn from(result: Result<()>) -> Self {
        Self::Code(result)
    }
}

struct Vectors {
    files: BTreeMap<String, Vec<Json>>,
    by_id: HashMap<String, Json>,
}

impl Vectors {
    fn load() -> Self {
        let mut files = BTreeMap::new();
        let mut by_id = HashMap::new();
        for entry in fs::read_dir(root("tests/vectors")).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let file: Json = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            assert_eq!(file["format"], "sealpoint-vectors/1", "{}", path.display());
            let vectors = file["vectors"].as_array().unwrap().clone();
            by_id.extend(vectors.iter().map(|vector| (str_at(vector, "id").to_owned(), vector.clone())));
            files.insert(path.file_stem().unwrap().to_str().unwrap().to_owned(), vectors);
        }
        Self { files, by_id }
    }

    /// How many there must be: one line each.
    fn frozen() -> usize {
        fs::read_to_string(root("tests/vectors/FROZEN.sha256")).unwrap().lines().count()
    }
}

#[test]
fn every_vector_on_every_backend() {
    let vectors = Vectors::load();
    on_each_backend!(run_all(&vectors));
}

fn run_all<A: Backend>(vectors: &Vectors) {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut failures = Vec::new();
    for (file, list) in &vectors.files {
        for vector in list {
            let (id, expected) = (str_at(vector, "id"), str_at(vector, "expect"));
            let (got, note) = match run::<A>(vectors, file, vector) {
                Outcome::Code(Ok(())) => ("ok", String::new()),
                Outcome::Code(Err(error)) => (error.code().as_str(), String::new()),
                Outcome::Inexpressible(why, code) => (code.as_str(), format!(" [{why}]")),
            };
            if got != expected {
                failures.push(format!("{file}/{id}: got {got}, want {expected}"));
            }
            *counts.entry(format!("{file} {}{note}", str_at(vector, "op"))).or_default() += 1;
        }
    }
    assert!(failures.is_empty(), "{}: {} vectors failed:\n{}", A::NAME, failures.len(), failures.join("\n"));
    let ran: usize = counts.values().sum();
    counts.iter().for_each(|(what, count)| println!("{:>10} {count:4} {what}", A::NAME));
    println!("{:>10} {ran:4} vectors in all", A::NAME);
    assert_eq!(ran, Vectors::frozen(), "the vectors that ran against the lines of FROZEN.sha256");
}

fn run<A: Backend>(vectors: &Vectors, file: &str, vector: &Json) -> Outcome {
    match file {
        "context" => context(vector),
        "derive" => derive(vector),
        "padding" => padding(vector),
        "envelope" => envelope::<A>(vectors, vector).into(),
        "text" => text_form::<A>(vectors, vector).into(),
        "wrap" => wrap::<A>(vector).into(),
        "stored-key" => stored_key::<A>(vector).into(),
        "exported-key" => exported::exported_key(vector).into(),
        "cbor" => records::cbor(vector),
        "manifest" => records::manifest_vector(vector).into(),
        "store" => items::item::<A>(vector).into(),
        "recovery" => recovery::recovery(vector).into(),
        other => panic!("tests/vectors/{other}.json is a file that this test does not know"),
    }
}

fn unknown(vector: &Json) -> ! {
    panic!("{}: the op {} is none that this test knows", vector["id"], vector["op"])
}

fn context(vector: &Json) -> Outcome {
    match str_at(vector, "op") {
        "canonical" => {
            let pairs = common::pairs(&vector["pairs"]);
            let Some(encoded) = common::encode(&pairs) else {
                let refused = Context::from_canonical(&common::raw_canonical(&pairs)).expect_err("ill-formed UTF-8");
                return Outcome::Inexpressible("no &str holds it: given as canonical bytes", refused.code());
            };
            encoded.map(|context| {
                let canonical = context.canonical();
                match vector["canonical_hex"].as_str() {
                    Some(expected) => assert_eq!(hex(canonical), expected),
                    None => assert_eq!((canonical.len() as u64, sha256(canonical)), summary(&vector["canonical_summary"])),
                }
                assert_eq!(Context::from_canonical(canonical).as_ref(), Ok(&context));
            })
        }
        "parse" => Context::from_canonical(&hex_at(vector, "canonical_hex")).map(|context| {
            let pairs: Vec<Json> = context.iter().map(|(key, value)| serde_json::json!([key, hex(value.as_bytes())])).collect();
            assert_eq!(Json::Array(pairs), vector["pairs_hex"]);
        }),
        _ => unknown(vector),
    }
    .into()
}

fn summary(form: &Json) -> (u64, String) {
    (form["len"].as_u64().unwrap(), str_at(form, "sha256").to_owned())
}

fn derive(vector: &Json) -> Outcome {
    let key = |name: &str| secret(&hex_at(vector, name));
    let dek_id = || array_at::<16>(vector, "dek_id");
    let purpose = || purpose(str_at(vector, "purpose"));
    let output = match str_at(vector, "op") {
        "expand" => {
            let mut out = vec![0; usize::try_from(vector["length"].as_u64().unwrap()).unwrap()];
            hazmat::expand(&hex_at(vector, "key"), &hex_at(vector, "info"), &mut out).unwrap();
            out
        }
        "body-key" => hazmat::body_key(&key("dek"), 1, purpose(), &dek_id()).unwrap().expose().to_vec(),
        "key-check" => {
            let version = u32::try_from(vector["version"].as_u64().unwrap()).unwrap();
            let dek = common::dek(&hex_at(vector, "dek"), dek_id(), str_at(vector, "tenant"), purpose(), version);
            dek.key_check().to_vec()
        }
        "kek-id" => Kek::from_secret(&key("kek")).unwrap().kek_id().to_vec(),
        "wrap-key" => hazmat::wrap_key(&key("kek")).unwrap().expose().to_vec(),
        "canary" => canary_secret(str_at(vector, "kek_uri")).expose().to_vec(),
        "context-hash" => {
            let context = Context::from_canonical(&hex_at(vector, "canonical")).unwrap();
            hazmat::context_hash(&array_at(vector, "header"), &context).to_vec()
        }
        "cache-namespace" => cache_namespace(vector),
        "stream-keys" => hazmat::stream_keys(&array_at(vector, "input_key"), &array_at(vector, "salt"), &hex_at(vector, "ctx")).unwrap().to_vec(),
        _ => unknown(vector),
    };
    assert_eq!(hex(&output), str_at(vector, "output"), "{}", vector["id"]);
    Ok(()).into()
}

/// SPEC section 7.4. The core's own netstrings, by way of a context.
fn cache_namespace(vector: &Json) -> Vec<u8> {
    let tenant = str_at(vector, "tenant");
    let labels: Vec<&str> = std::iter::once(tenant).chain(vector["ns"].as_array().unwrap().iter().map(|label| label.as_str().unwrap())).collect();
    let pairs = [("tenant", Value::Text(tenant)), ("purpose", Value::Text("langgraph.cache")), ("ns", Value::List(&labels))];
    let context = Context::new(&pairs).unwrap();
    let (_, netstrings) = context.iter().find(|(key, _)| *key == "ns").unwrap();
    unhex(&sha256(&[&b"sealpoint/v1/cache-namespace\0"[..], netstrings.as_bytes()].concat()))
}

fn padding(vector: &Json) -> Outcome {
    let at = |name: &str| usize::try_from(vector[name].as_u64().unwrap()).unwrap();
    match str_at(vector, "op") {
        "bucket" => assert_eq!(hazmat::bucket(at("n")), at("bucket"), "{}", vector["id"]),
        _ => unknown(vector),
    }
    Ok(()).into()
}

/// The vector's DEK, which belongs to the context's tenant: so that nothing but the envelope itself can refuse.
fn key_and_context(vector: &Json) -> (Dek, Context) {
    let context = common::encode(&common::pairs(&vector["context"])).unwrap().unwrap();
    let key = &vector["key"];
    (common::dek(&hex_at(key, "dek"), array_at(key, "dek_id"), context.tenant(), purpose(str_at(key, "purpose")), 1), context)
}

fn seal<A: Backend>(vector: &Json) -> Result<Vec<u8>> {
    let (dek, context) = key_and_context(vector);
    let padding = match str_at(vector, "encoding") {
        "plain" => Padding::None,
        "padded" => Padding::Bucket,
        other => panic!("no such encoding: {other}"),
    };
    dek.seal_with_salt::<A>(&common::payload(&vector["payload"]), str_at(vector, "content_type"), padding, &context, &array_at(vector, "salt"))
}

fn envelope_bytes<A: Backend>(vectors: &Vectors, vector: &Json) -> Vec<u8> {
    let form = &vector["envelope"];
    if let Some(hex) = form["hex"].as_str() {
        return unhex(hex);
    }
    let bytes = match form["base"].as_str() {
        Some(base) => {
            let base = envelope_bytes::<A>(vectors, &vectors.by_id[base]);
            let range = |piece: &Json| {
                let at = |index: usize| usize::try_from(piece[index].as_u64().unwrap()).unwrap();
                base[at(0)..at(1)].to_vec()
            };
            form["pieces"].as_array().unwrap().iter().flat_map(range).collect()
        }
        None => seal::<A>(vector).unwrap(),
    };
    assert_eq!((bytes.len() as u64, sha256(&bytes)), summary(form), "{}", vector["id"]);
    bytes
}

fn open<A: Backend>(dek: &Dek, context: &Context, bytes: &[u8]) -> Result<(String, Vec<u8>)> {
    let mut payload = Vec::new();
    let content_type = dek.open_with::<A, _>(&Envelope::parse(bytes, Kind::Data)?, context, |len| {
        payload.resize(len, 0xAA);
        Ok(&mut payload)
    })?;
    Ok((content_type, payload))
}

fn envelope<A: Backend>(vectors: &Vectors, vector: &Json) -> Result<()> {
    let op = str_at(vector, "op");
    if op == "seal" {
        return seal::<A>(vector).map(drop);
    }
    let bytes = envelope_bytes::<A>(vectors, vector);
    let (dek, context) = key_and_context(vector);
    let opened = open::<A>(&dek, &context, &bytes);
    match op {
        "open" => opened.map(drop),
        "seal-open" => {
            assert_eq!(hex(&seal::<A>(vector)?), hex(&bytes), "{}", vector["id"]);
            let (content_type, payload) = opened?;
            assert_eq!(content_type, str_at(vector, "content_type"));
            assert_eq!(payload, common::payload(&vector["payload"]));
            Ok(())
        }
        _ => unknown(vector),
    }
}

fn text_form<A: Backend>(vectors: &Vectors, vector: &Json) -> Result<()> {
    if str_at(vector, "op") != "open" {
        unknown(vector);
    }
    let with = &vectors.by_id[str_at(vector, "with")];
    let (kind, sealed) = match str_at(vector, "kind") {
        "data" => (Kind::Data, str_at(vector, "text")),
        "wrapped-key" => (Kind::WrappedKey, str_at(vector, "text")),
        other => panic!("no such kind: {other}"),
    };
    let bytes = text::decode(sealed, kind)?;
    match kind {
        Kind::Data => {
            let (dek, context) = key_and_context(with);
            open::<A>(&dek, &context, &bytes)?;
        }
        Kind::WrappedKey => {
            Kek::from_secret(&secret(&hex_at(with, "kek")))?.unwrap_with::<A>(&bytes, &wrapped_in(with))?;
        }
    }
    if str_at(vector, "expect") == "ok" {
        assert_eq!(hex(&bytes), str_at(vector, "bytes_hex"));
        assert_eq!(text::encode(&bytes, kind), sealed);
    }
    Ok(())
}

fn wrapped_in(vector: &Json) -> Context {
    if str_at(vector, "op").starts_with("canary") {
        return canary_context(str_at(vector, "kek_uri")).unwrap();
    }
    let context = wrap_context(str_at(vector, "tenant"), &array_at(vector, "dek_id"), purpose(str_at(vector, "dek_purpose")), 1).unwrap();
    if vector["dek_use"] == "open" { open_only_context(&context).unwrap() } else { context }
}

fn wrap<A: Backend>(vector: &Json) -> Result<()> {
    let op = str_at(vector, "op");
    assert!(["wrap-unwrap", "canary-wrap-unwrap", "unwrap", "canary-unwrap"].contains(&op), "{} {op}", vector["id"]);
    let kek = Kek::from_secret(&secret(&hex_at(vector, "kek")))?;
    let wrapped = hex_at(vector, "wrapped");
    let context = wrapped_in(vector);
    if op.ends_with("wrap-unwrap") {
        let sealed = kek.wrap_with_salt::<A>(&secret(&hex_at(vector, "secret")), &context, &array_at(vector, "salt"))?;
        assert_eq!(hex(&sealed), hex(&wrapped), "{}", vector["id"]);
    }
    if op == "canary-wrap-unwrap" {
        assert_eq!(canary_secret(str_at(vector, "kek_uri")), secret(&hex_at(vector, "secret")));
    }
    let opened = kek.unwrap_with::<A>(&wrapped, &context)?;
    if str_at(vector, "expect") == "ok" {
        assert_eq!(hex(opened.expose()), str_at(vector, "secret"));
    }
    Ok(())
}

/// SPEC section 6.1. Steps 1 and the absent key check of step 4 are the caller's: the core has no record without a key check and does not know who asks.
fn stored_key<A: Backend>(vector: &Json) -> Result<()> {
    if str_at(vector, "op") != "open-stored" {
        unknown(vector);
    }
    let (record, caller) = (&vector["record"], &vector["caller"]);
    if record["tenant"] != caller["tenant"] || record["purpose"] != caller["purpose"] {
        return Err(Error::new(ErrorCode::AuthenticationFailed, "step 1"));
    }
    let stored = DekRecord {
        dek_id: array_at(record, "dek_id"),
        tenant: str_at(record, "tenant").into(),
        purpose: purpose(str_at(record, "purpose")),
        suite: 1,
        version: u32::try_from(record["version"].as_u64().unwrap()).unwrap(),
    };
    let context = wrap_context(&stored.tenant, &stored.dek_id, stored.purpose, stored.suite)?;
    let opened = Kek::from_secret(&secret(&hex_at(vector, "kek")))?.unwrap_with::<A>(&hex_at(vector, "wrapped"), &context)?;
    if record["key_check"].is_null() {
        return Err(Error::new(ErrorCode::StoreInvalid, "step 4"));
    }
    Dek::from_secret(&opened, stored, &hex_at(record, "key_check"))?;
    if str_at(vector, "expect") == "ok" {
        assert_eq!(hex(opened.expose()), str_at(vector, "dek"));
    }
    Ok(())
}

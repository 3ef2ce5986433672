//! The conformance runner of the Rust core, on one of its backends. Protocol: README.md. The vectors are run by `core/tests/vectors.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs,
    reason = "a runner fails by panicking and answers on stdout"
)]

#[path = "../../core/tests/common/mod.rs"]
mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::stdin;

use common::{Backend, array_at, hex, hex_at, pairs, payload, purpose, secret, sha256, str_at, tree, unhex};
use data_encoding::BASE64;
use sealpoint_core::envelope::{Envelope, Kind, sealed_len};
use sealpoint_core::manifest::Channel;
use sealpoint_core::{
    Context, Dek, DekRecord, Error, Kek, Padding, Result, backend, canary_context, canary_secret, export_key, import_key, manifest,
    open_only_context, text, wrap_context,
};
use serde_json::{Value as Json, json};

fn main() {
    let backend = std::env::args().nth(1).expect("a backend: RustCrypto or AwsLc");
    for line in stdin().lines() {
        let order: Json = serde_json::from_str(&line.unwrap()).unwrap();
        let answer = match backend.as_str() {
            "RustCrypto" => run::<backend::RustCrypto>(&order),
            "AwsLc" => run::<backend::AwsLc>(&order),
            other => panic!("no such backend: {other}"),
        };
        fs::write(str_at(&order, "out"), answer.to_string()).unwrap();
        println!("done");
    }
}

fn read(order: &Json, name: &str) -> Json {
    serde_json::from_slice(&fs::read(str_at(order, name)).unwrap()).unwrap()
}

fn run<A: Backend>(order: &Json) -> Json {
    let cases = read(order, "cases");
    let list = cases["cases"].as_array().unwrap();
    let asked = |item: &&Json| order["ops"].as_array().unwrap().contains(&item["op"]);
    let answers: BTreeMap<String, Json> = match str_at(order, "do") {
        "seal" => list.iter().filter(asked).map(|case| (str_at(case, "id").to_owned(), seal::<A>(&cases, case).unwrap().into())).collect(),
        "open" => {
            let by_id: BTreeMap<&str, &Json> = list.iter().map(|case| (str_at(case, "id"), case)).collect();
            let jobs = read(order, "jobs");
            let opened = |job: &Json| (str_at(job, "id").to_owned(), open::<A>(&cases, by_id[str_at(job, "case")], job));
            jobs.as_array().unwrap().iter().filter(asked).map(opened).collect()
        }
        other => panic!("no such order: {other}"),
    };
    json!(answers)
}

fn key(cases: &Json, case: &Json) -> Dek {
    let form = &cases["keys"][str_at(case, "key")];
    let record = DekRecord {
        dek_id: array_at(form, "dek_id"),
        tenant: str_at(form, "tenant").into(),
        purpose: purpose(str_at(form, "purpose")),
        suite: 1,
        version: u32::try_from(form["version"].as_u64().unwrap()).unwrap(),
    };
    Dek::from_secret(&secret(&hex_at(form, "dek")), record, &hex_at(form, "key_check")).unwrap()
}

fn context(case: &Json) -> Context {
    common::encode(&pairs(&case["context"])).unwrap().unwrap()
}

fn kek(cases: &Json) -> Kek {
    Kek::from_secret(&secret(&hex_at(cases, "kek"))).unwrap()
}

fn wrapped_in(case: &Json) -> Context {
    match case["kek_uri"].as_str() {
        Some(uri) => canary_context(uri).unwrap(),
        None => {
            let context = wrap_context(str_at(case, "tenant"), &array_at(case, "dek_id"), purpose(str_at(case, "dek_purpose")), 1).unwrap();
            if case["dek_use"] == "open" { open_only_context(&context).unwrap() } else { context }
        }
    }
}

fn channels(case: &Json) -> Vec<(String, Option<[u8; 16]>)> {
    let channel = |pair: &Json| (pair[0].as_str().unwrap().to_owned(), pair[1].as_str().map(|hex| unhex(hex).try_into().unwrap()));
    case["channels"].as_array().unwrap().iter().map(channel).collect()
}

fn borrowed(channels: &[(String, Option<[u8; 16]>)]) -> Vec<Channel<'_>> {
    channels.iter().map(|(name, commitment)| (name.as_str(), *commitment)).collect()
}

fn seal<A: Backend>(cases: &Json, case: &Json) -> Result<String> {
    let sealed = match str_at(case, "op") {
        "envelope" => {
            let (data, content_type) = (payload(&case["payload"]), str_at(case, "content_type"));
            let padding = if case["pad"] == true { Padding::Bucket } else { Padding::None };
            let mut out = vec![0; sealed_len(data.len(), content_type.len(), padding)?];
            key(cases, case).seal_with::<A>(&data, content_type, padding, &context(case), &mut out)?;
            if case["form"] == "text" {
                return Ok(text::encode(&out, Kind::Data));
            }
            out
        }
        // The core wraps with its default backend; the bytes are opened with each.
        "wrap" => kek(cases).wrap(&secret(&hex_at(case, "secret")), &wrapped_in(case))?,
        "canary" => kek(cases).wrap(&canary_secret(str_at(case, "kek_uri")), &wrapped_in(case))?,
        "key" => {
            let dek = secret(&hex_at(&cases["keys"][str_at(case, "key")], "dek"));
            return Ok(export_key(&dek, key(cases, case).record())?.as_str().to_owned());
        }
        "manifest" => {
            let fields = tree::fields(&case["checkpoint"], &case["metadata"]).unwrap();
            let channels = channels(case);
            manifest::payload(&fields, case["parent"].as_str(), case["exact"] == true, &borrowed(&channels), &hex_at(case, "rest"))?
        }
        other => panic!("no such op: {other}"),
    };
    Ok(BASE64.encode(&sealed))
}

fn open<A: Backend>(cases: &Json, case: &Json, job: &Json) -> Json {
    try_open::<A>(cases, &merged(case.clone(), job)).unwrap_or_else(|error| json!({"code": error.code().as_str()}))
}

/// An object with the members of another, which come first.
fn merged(mut object: Json, other: &Json) -> Json {
    object.as_object_mut().unwrap().extend(other.as_object().unwrap().clone());
    object
}

fn try_open<A: Backend>(cases: &Json, job: &Json) -> Result<Json> {
    let given = str_at(job, "sealed");
    if job["op"] == "key" {
        let key = import_key(given)?;
        let record = key.record();
        let payload = key.open(&BASE64.decode(str_at(job, "envelope").as_bytes()).unwrap(), &context(job))?.payload;
        let held = json!({"dek_id": hex(&record.dek_id), "tenant": &*record.tenant, "version": record.version, "key_check": hex(key.key_check())});
        return Ok(merged(held, &json!({"sha256": sha256(&payload)})));
    }
    let sealed = if job["form"] == "text" { text::decode(given, Kind::Data)? } else { BASE64.decode(given.as_bytes()).unwrap() };
    match str_at(job, "op") {
        "envelope" => {
            let mut payload = Vec::new();
            let content_type = key(cases, job).open_with::<A, _>(&Envelope::parse(&sealed, Kind::Data)?, &context(job), |len| {
                payload.resize(len, 0xAA);
                Ok(&mut payload)
            })?;
            Ok(json!({"content_type": content_type, "len": payload.len(), "sha256": sha256(&payload)}))
        }
        "wrap" | "canary" => Ok(json!({"hex": hex(kek(cases).unwrap_with::<A>(&sealed, &wrapped_in(job))?.expose())})),
        "manifest" => {
            let fields =
                tree::fields(&job["checkpoint"], &job["metadata"]).map_err(|refused| Error::new(tree::code(&refused, true), "the fields"))?;
            let channels = channels(job);
            let verified = manifest::open(&sealed, &fields, job["parent"].as_str(), &borrowed(&channels))?;
            Ok(json!({"hex": hex(verified.metadata), "parent": verified.parent}))
        }
        other => panic!("no such op: {other}"),
    }
}

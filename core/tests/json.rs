//! Contexts and fields that come in as JSON are those that come in as values.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs, reason = "a test fails by panicking")]

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use sealpoint_core::cbor::Writer;
use sealpoint_core::json::fields_from_json;
use sealpoint_core::{Context, ErrorCode, Value};
use serde_json::Value as Json;

#[test]
fn a_context_is_the_same_from_json() {
    let json = r#"{"tenant":"acme","purpose":"p","version":3,"a":"\u00e9\ud83d\ude00","b":-9223372036854775808,"c":18446744073709551615,
        "d":"\u00003fb999999999999a","e":"\u000043b0000000000000","f":1152921504606846976,"g":["hello","a,bc","\u0000\u0000x"],"h":[],
        "i":"\u00004008000000000000","j":"","k":"\u0000444b1ae4d6e2ef50","l":"\u00008000000000000000","m":"\u0000\u00003fb999999999999a","n":"\u0000\u0000"}"#;
    let expected = Context::new(&[
        ("tenant", Value::Text("acme")),
        ("purpose", Value::Text("p")),
        ("version", Value::Int(3)),
        ("a", Value::Text("\u{e9}\u{1f600}")),
        ("b", Value::Int(i128::from(i64::MIN))),
        ("c", Value::Int(i128::from(u64::MAX))),
        ("d", Value::Float(0.1)),
        ("e", Value::Float(1_152_921_504_606_846_976.0)),
        ("f", Value::Int(1_152_921_504_606_846_976)),
        ("g", Value::List(&["hello", "a,bc", "\0x"])),
        ("h", Value::List(&[])),
        ("i", Value::Float(3.0)),
        ("j", Value::Text("")),
        ("k", Value::Float(1e21)),
        ("l", Value::Float(-0.0)),
        ("m", Value::Text("\u{0}3fb999999999999a")),
        ("n", Value::Text("\0")),
    ]);
    assert_eq!(Context::from_json(json), expected);
    let base = Context::from_json(r#"{"tenant":"acme","purpose":"p"}"#).unwrap();
    assert_eq!(base.extend_json(r#"{"version":"1"}"#), base.extend(&[("version", Value::Text("1"))]));
}

#[test]
fn floats_keep_every_bit() {
    for float in [f64::MIN_POSITIVE, 5e-324, 1.797_693_134_862_315_7e308, 0.1 + 0.2, 2.225_073_858_507_201e-308, 1.0 / 3.0] {
        let json = format!(r#"{{"tenant":"acme","purpose":"p","x":"\u0000{:016x}"}}"#, float.to_bits());
        let expected = Context::new(&[("tenant", Value::Text("acme")), ("purpose", Value::Text("p")), ("x", Value::Float(float))]);
        assert_eq!(Context::from_json(&json), expected, "{float:e}");
    }
}

#[test]
fn what_no_context_holds_is_refused() {
    let code = |json: &str| Context::from_json(json).unwrap_err().code();
    for json in [
        "",
        "[]",
        "null",
        "{",
        r#"{"tenant":"acme","purpose":"p","a":null}"#,
        r#"{"tenant":"acme","purpose":"p","a":true}"#,
        r#"{"tenant":"acme","purpose":"p","a":{}}"#,
        r#"{"tenant":"acme","purpose":"p","a":[1]}"#,
        r#"{"tenant":"acme","purpose":"p","a":1.5}"#,
        r#"{"tenant":"acme","purpose":"p","a":1e2}"#,
        r#"{"tenant":"acme","purpose":"p","a":1e999}"#,
        r#"{"tenant":"acme","purpose":"p","a":18446744073709551616}"#,
        r#"{"tenant":"acme","purpose":"p","a":"\u0000"}"#,
        r#"{"tenant":"acme","purpose":"p","a":"\u00003FB999999999999A"}"#,
        r#"{"tenant":"acme","purpose":"p","a":"\u00003fb999999999999"}"#,
        r#"{"tenant":"acme","purpose":"p","a":"\u00007ff8000000000000"}"#,
        r#"{"tenant":"acme","purpose":"p","a":"1","a":"1"}"#,
        r#"{"tenant":"acme","purpose":"p","a":["\u00003fb999999999999a"]}"#,
        r#"{"tenant":"acme","purpose":"p","a":"\ud800"}"#,
        r#"{"tenant":"acme","purpose":"p","A":"x"}"#,
        r#"{"tenant":1,"purpose":"p"}"#,
        r#"{"tenant":"acme"}"#,
    ] {
        assert_eq!(code(json), ErrorCode::InvalidContext, "{json}");
    }
    assert_eq!(code(r#"{"purpose":"p"}"#), ErrorCode::TenantRequired);
}

#[test]
fn fields_are_the_same_from_json() {
    let mut writer = Writer::new();
    writer
        .array(5, |writer| {
            writer.int(4)?;
            writer.text("id");
            writer.map(2, |map| {
                map.entry("b", |writer| writer.int(-1))?;
                map.entry("a", |writer| writer.float(1.5))
            })?;
            writer.null();
            writer.array(2, |writer| {
                writer.bool(true);
                writer.float(1_152_921_504_606_846_976.0)
            })
        })
        .unwrap();
    assert_eq!(fields_from_json(r#"[4,"id",{"a":"\u00003ff8000000000000","b":-1},null,[true,"\u000043b0000000000000"]]"#), writer.finish());
}

#[test]
fn what_no_manifest_holds_is_refused() {
    for (json, code) in [
        ("", ErrorCode::InvalidArgument),
        (r#"["\ud800"]"#, ErrorCode::InvalidArgument),
        ("[1.5]", ErrorCode::InvalidArgument),
        ("[18446744073709551616]", ErrorCode::InvalidArgument),
        (r#"["\u0000x"]"#, ErrorCode::InvalidArgument),
        (r#"["\u00007ff0000000000000"]"#, ErrorCode::InvalidArgument),
        (r#"[{"a":1,"a":1}]"#, ErrorCode::InvalidArgument),
        (&"[".repeat(100_000), ErrorCode::InvalidArgument),
        (&format!("{}{}", "[".repeat(20), "]".repeat(20)), ErrorCode::LimitExceeded),
    ] {
        assert_eq!(fields_from_json(json).unwrap_err().code(), code);
    }
}

/// JSON of the kinds that are handed over, as `serde_json` writes it.
fn handed_over() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<u64>().prop_map(Json::from),
        "[^\0]\\PC{0,8}|[\u{1}-\u{1f}\"\\\\/\u{7f}-\u{a0}\u{10000}-\u{10010}]{1,6}|".prop_map(Json::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Json::from),
            btree_map("\\PC{0,5}", inner, 0..5).prop_map(|map| Json::Object(map.into_iter().collect()))
        ]
    })
}

fn written(writer: &mut Writer, value: &Json) -> sealpoint_core::Result<()> {
    match value {
        Json::Null => writer.null(),
        Json::Bool(truth) => writer.bool(*truth),
        Json::Number(number) => writer.int(number.as_i64().map(i128::from).or(number.as_u64().map(i128::from)).unwrap())?,
        Json::String(text) => writer.text(text),
        Json::Array(items) => writer.array(items.len(), |writer| items.iter().try_for_each(|item| written(writer, item)))?,
        Json::Object(map) => {
            writer.map(map.len(), |entries| map.iter().try_for_each(|(key, item)| entries.entry(key, |writer| written(writer, item))))?
        }
    }
    Ok(())
}

proptest! {
    /// Another parser's idea of JSON, compact, spaced, and with everything escaped.
    #[test]
    fn read_as_serde_json_reads_it(value in handed_over()) {
        let mut writer = Writer::new();
        written(&mut writer, &value).unwrap();
        let expected = writer.finish();
        let compact = value.to_string();
        let escaped: String = compact
            .chars()
            .map(|c| if c.is_ascii() { c.to_string() } else { c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04X}")).collect() })
            .collect();
        for text in [compact.as_str(), &serde_json::to_string_pretty(&value).unwrap(), &escaped] {
            prop_assert_eq!(&fields_from_json(text), &expected, "{}", text);
        }
    }

    /// Whatever is no JSON for `serde_json` is none here.
    #[test]
    fn what_serde_json_refuses_is_refused(text in r#"[\[\]{}":,0-9a-fnrtul\\ .eE+-]{0,12}"#) {
        if serde_json::from_str::<Json>(&text).is_err() {
            prop_assert!(fields_from_json(&text).is_err(), "{}", text);
        }
    }
}

//! Contexts and manifest fields from JSON: how languages hand them over whose objects are slow to walk from outside.
//!
//! It is a transport, not a format: nothing of it is stored. A number is an integer of 64 bits. A float is a string of U+0000 and the 16 lowercase hex digits
//! of its bits, so that nothing is lost on the way and nobody here reads decimal fractions; a string that begins with U+0000 gets another one before it.

use alloc::{string::String, vec::Vec};
use core::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::cbor::Writer;
use crate::context::{Context, Value};
use crate::error::{Error, ErrorCode, Result};

const MARK: char = '\0';
const NO_FLOAT: &str = "a float is written as its bits";

impl Context {
    /// [`Context::new`] from a JSON object.
    ///
    /// # Errors
    /// `tenant_required`, `invalid_context`.
    pub fn from_json(pairs: &str) -> Result<Self> {
        with_pairs(pairs, Self::new)
    }

    /// [`Context::extend`] from a JSON object.
    ///
    /// # Errors
    /// `invalid_context`.
    pub fn extend_json(&self, pairs: &str) -> Result<Self> {
        with_pairs(pairs, |pairs| self.extend(pairs))
    }
}

/// The deterministic CBOR of a manifest's fields from a JSON array (SPEC section 7.2).
///
/// # Errors
/// `invalid_argument`, `limit_exceeded`.
pub fn fields_from_json(fields: &str) -> Result<Vec<u8>> {
    let fields: Json = serde_json::from_str(fields).map_err(|_| invalid("the fields of a manifest are no JSON"))?;
    let mut writer = Writer::new();
    write(&mut writer, &fields)?;
    writer.finish()
}

fn with_pairs(pairs: &str, make: impl FnOnce(&[(&str, Value<'_>)]) -> Result<Context>) -> Result<Context> {
    const NO_OBJECT: Error = context("a context's pairs are no JSON object of well-formed strings");
    let Ok(Json::Object(pairs)) = serde_json::from_str(pairs) else { return Err(NO_OBJECT) };
    let lists = pairs.iter().map(|(_, value)| items(value)).collect::<Result<Vec<_>>>()?;
    let values = pairs.iter().zip(&lists).map(|((key, value), list)| Ok((key.as_str(), value_of(value, list)?)));
    make(&values.collect::<Result<Vec<_>>>()?)
}

fn items(value: &Json) -> Result<Vec<&str>> {
    let Json::Array(items) = value else { return Ok(Vec::new()) };
    let texts = items.iter().map(|item| if let Json::Text(text) = item { text_of(text) } else { None });
    texts.map(|text| text.ok_or(context("a list in a context holds strings"))).collect()
}

fn value_of<'a>(value: &'a Json, list: &'a [&'a str]) -> Result<Value<'a>> {
    Ok(match value {
        Json::Text(text) => match (text_of(text), float_of(text)) {
            (Some(text), _) => Value::Text(text),
            (None, Some(float)) => Value::Float(float),
            (None, None) => return Err(context(NO_FLOAT)),
        },
        Json::Int(int) => Value::Int(*int),
        Json::Array(_) => Value::List(list),
        Json::Fraction => return Err(context(NO_FLOAT)),
        Json::Null | Json::Bool(_) | Json::Object(_) => return Err(context("a context's values are strings, numbers and lists of strings")),
    })
}

fn write(writer: &mut Writer, value: &Json) -> Result<()> {
    match value {
        Json::Null => writer.null(),
        Json::Bool(truth) => writer.bool(*truth),
        Json::Int(int) => writer.int(*int)?,
        Json::Fraction => return Err(invalid(NO_FLOAT)),
        Json::Text(text) => match text_of(text) {
            Some(text) => writer.text(text),
            None => writer.float(float_of(text).ok_or(invalid(NO_FLOAT))?)?,
        },
        Json::Array(items) => writer.array(items.len(), |writer| items.iter().try_for_each(|item| write(writer, item)))?,
        Json::Object(entries) => {
            writer.map(entries.len(), |map| entries.iter().try_for_each(|(key, item)| map.entry(key, |writer| write(writer, item))))?
        }
    }
    Ok(())
}

/// A string itself, unless it stands for a float.
fn text_of(text: &str) -> Option<&str> {
    text.strip_prefix(MARK).map_or(Some(text), |rest| rest.starts_with(MARK).then_some(rest))
}

fn float_of(text: &str) -> Option<f64> {
    let mut bits = [0; 8];
    base16ct::lower::decode(text.strip_prefix(MARK)?, &mut bits).ok().filter(|bits| bits.len() == 8)?;
    Some(f64::from_bits(u64::from_be_bytes(bits)))
}

/// JSON as it comes. `serde_json`'s own has maps that sort, and decimal fractions, of which no use is made here and which are most of its code.
enum Json {
    Null,
    Bool(bool),
    Int(i128),
    Fraction,
    Text(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> core::result::Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> core::result::Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, truth: bool) -> core::result::Result<Json, E> {
        Ok(Json::Bool(truth))
    }

    fn visit_i64<E>(self, int: i64) -> core::result::Result<Json, E> {
        Ok(Json::Int(int.into()))
    }

    fn visit_u64<E>(self, int: u64) -> core::result::Result<Json, E> {
        Ok(Json::Int(int.into()))
    }

    fn visit_f64<E>(self, _: f64) -> core::result::Result<Json, E> {
        Ok(Json::Fraction)
    }

    fn visit_str<E>(self, text: &str) -> core::result::Result<Json, E> {
        Ok(Json::Text(text.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> core::result::Result<Json, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element()? {
            array.push(item);
        }
        Ok(Json::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> core::result::Result<Json, A::Error> {
        let mut object = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            object.push(entry);
        }
        Ok(Json::Object(object))
    }
}

const fn invalid(message: &'static str) -> Error {
    Error::new(ErrorCode::InvalidArgument, message)
}

const fn context(message: &'static str) -> Error {
    Error::new(ErrorCode::InvalidContext, message)
}

//! Contexts and manifest fields from JSON: how languages hand them over whose objects are slow to walk from outside.
//!
//! It is a transport, not a format: nothing of it is stored. A number without fraction and exponent is an integer; any other is a float, so a caller writes an
//! integral float beyond 2^53 with a fraction (`1152921504606846976.0`).

use alloc::{string::String, vec::Vec};

use serde_json::{Map, Value as Json};

use crate::cbor::Writer;
use crate::context::{Context, Value};
use crate::error::{Error, ErrorCode, Result};

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
    let pairs: Map<String, Json> = serde_json::from_str(pairs).map_err(|_| context("a context's pairs are no JSON object of well-formed strings"))?;
    let lists = pairs.values().map(items).collect::<Result<Vec<_>>>()?;
    let values = pairs.iter().zip(&lists).map(|((key, value), list)| Ok((key.as_str(), value_of(value, list)?)));
    make(&values.collect::<Result<Vec<_>>>()?)
}

fn items(value: &Json) -> Result<Vec<&str>> {
    const ITEMS: Error = context("a list in a context holds strings");
    value.as_array().map_or(Ok(Vec::new()), |items| items.iter().map(|item| item.as_str().ok_or(ITEMS)).collect())
}

fn value_of<'a>(value: &'a Json, list: &'a [&'a str]) -> Result<Value<'a>> {
    Ok(match value {
        Json::String(text) => Value::Text(text),
        Json::Number(number) => match (int_of(number), number.as_f64()) {
            (Some(int), _) => Value::Int(int),
            (None, Some(float)) => Value::Float(float),
            (None, None) => return Err(context("a number in a context is finite")),
        },
        Json::Array(_) => Value::List(list),
        Json::Null | Json::Bool(_) | Json::Object(_) => return Err(context("a context's values are strings, numbers and lists of strings")),
    })
}

fn write(writer: &mut Writer, value: &Json) -> Result<()> {
    match value {
        Json::Null => writer.null(),
        Json::Bool(truth) => writer.bool(*truth),
        Json::Number(number) => match (int_of(number), number.as_f64()) {
            (Some(int), _) => writer.int(int)?,
            (None, Some(float)) => writer.float(float)?,
            (None, None) => return Err(invalid("a number in a manifest's fields is finite")),
        },
        Json::String(text) => writer.text(text),
        Json::Array(items) => writer.array(items.len(), |writer| items.iter().try_for_each(|item| write(writer, item)))?,
        Json::Object(entries) => {
            writer.map(entries.len(), |map| entries.iter().try_for_each(|(key, item)| map.entry(key, |writer| write(writer, item))))?
        }
    }
    Ok(())
}

fn int_of(number: &serde_json::Number) -> Option<i128> {
    number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
}

const fn invalid(message: &'static str) -> Error {
    Error::new(ErrorCode::InvalidArgument, message)
}

const fn context(message: &'static str) -> Error {
    Error::new(ErrorCode::InvalidContext, message)
}

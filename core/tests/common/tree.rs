//! The values of CBOR and manifest vectors, fed to the core's writer as a binding feeds a language's objects.

use sealpoint_core::cbor::Writer;
use sealpoint_core::manifest::CLEAR_METADATA;
use sealpoint_core::{Error, ErrorCode, Result};
use serde_json::Value as Json;

use super::{float, hex_at, repeat};

/// Why a value could not be written.
#[derive(Debug)]
pub enum Refused {
    /// The core refuses it.
    ByCore(Error),
    /// The writer's types do not admit it: it takes `&str` for texts and keys.
    ByType(&'static str),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::ByCore(error)
    }
}

/// The CBOR of one value.
pub fn cbor(value: &Json) -> std::result::Result<Vec<u8>, Refused> {
    let mut writer = Writer::new();
    write(&mut writer, value)?;
    Ok(writer.finish()?)
}

/// `M` of SPEC section 7.2.
pub fn fields(checkpoint: &Json, metadata: &Json) -> std::result::Result<Vec<u8>, Refused> {
    let mut writer = Writer::new();
    writer.array(7, |writer| {
        for name in ["v", "id", "ts", "channel_versions", "versions_seen", "updated_channels"] {
            write(writer, &checkpoint[name])?;
        }
        let clear: Vec<_> = metadata.as_object().unwrap().iter().filter(|(key, _)| CLEAR_METADATA.contains(&key.as_str())).collect();
        writer.map(clear.len(), |map| clear.iter().try_for_each(|(key, item)| map.entry(key, |writer| write(writer, item))))
    })?;
    Ok(writer.finish()?)
}

fn write(writer: &mut Writer, value: &Json) -> std::result::Result<(), Refused> {
    match value {
        Json::Null => writer.null(),
        Json::Bool(value) => writer.bool(*value),
        Json::Number(number) => match number.as_i128() {
            Some(int) => writer.int(int)?,
            None => writer.float(number.as_f64().unwrap())?,
        },
        Json::String(text) => writer.text(text),
        Json::Array(items) => writer.array(items.len(), |writer| items.iter().try_for_each(|item| write(writer, item)))?,
        Json::Object(object) if object.len() == 1 && special(writer, value)? => {}
        Json::Object(object) => {
            writer.map(object.len(), |map| object.iter().try_for_each(|(key, item)| map.entry(key, |writer| write(writer, item))))?;
        }
    }
    Ok(())
}

/// README, CBOR and manifests: objects with exactly one of these members are no maps.
fn special(writer: &mut Writer, form: &Json) -> std::result::Result<bool, Refused> {
    let (name, value) = form.as_object().and_then(|object| object.iter().next()).unwrap();
    match (name.as_str(), value) {
        ("float", Json::String(bits)) => writer.float(float(bits))?,
        ("int", Json::String(digits)) => writer.int(digits.parse().unwrap())?,
        ("bytes_hex", Json::String(_)) => writer.bytes(&hex_at(form, "bytes_hex")),
        ("utf8_hex", Json::String(_)) => match std::str::from_utf8(&hex_at(form, "utf8_hex")) {
            Ok(text) => writer.text(text),
            Err(_) => return Err(Refused::ByType("text that is no UTF-8")),
        },
        ("repeat", Json::Object(_)) => writer.text(&repeat(value)),
        ("nested", Json::Number(levels)) => nested(writer, levels.as_u64().unwrap())?,
        ("map", Json::Array(pairs)) => writer.map(pairs.len(), |map| {
            pairs.iter().try_for_each(|pair| match key(&pair[0]) {
                Some(key) => map.entry(&key, |writer| write(writer, &pair[1])),
                None => Err(Refused::ByType("a map key that is no UTF-8 text")),
            })
        })?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn key(form: &Json) -> Option<String> {
    match form {
        Json::String(text) => Some(text.clone()),
        Json::Object(object) if object.contains_key("repeat") => Some(repeat(&form["repeat"])),
        Json::Object(object) if object.contains_key("utf8_hex") => String::from_utf8(hex_at(form, "utf8_hex")).ok(),
        _ => None,
    }
}

fn nested(writer: &mut Writer, levels: u64) -> Result<()> {
    if levels == 0 { writer.int(0) } else { writer.array(1, |writer| nested(writer, levels - 1)) }
}

/// What a reader answers where a writer says that a value is outside the format.
pub fn code(refused: &Refused, reading: bool) -> ErrorCode {
    match refused {
        Refused::ByCore(error) if error.code() == ErrorCode::InvalidArgument && reading => ErrorCode::Malformed,
        Refused::ByCore(error) => error.code(),
        Refused::ByType(_) => ErrorCode::InvalidArgument,
    }
}

//! Contexts and manifest fields from JSON: how languages hand them over whose objects are slow to walk from outside.
//!
//! It is a transport, not a format: nothing of it is stored. A number is an integer of 64 bits. A float is a string of U+0000 and the 16 lowercase hex digits
//! of its bits, so that nothing is lost on the way and nobody here reads decimal fractions; a string that begins with U+0000 gets another one before it.

use alloc::{string::String, vec::Vec};

use crate::cbor::Writer;
use crate::context::{Context, Value};
use crate::error::{Error, ErrorCode, Result};

const MARK: char = '\0';
/// More than anything here takes: it keeps hostile nesting off the stack.
const MAX_DEPTH: usize = 64;
const NO_FLOAT: &str = "a float is written as its bits";

impl Context {
    /// [`Context::new`] from a JSON object.
    ///
    /// # Errors
    /// `tenant_required`, `invalid_context`.
    pub fn from_json(pairs: &str) -> Result<Self> {
        Self::EMPTY.extend_json(pairs)
    }

    /// [`Context::extend`] from a JSON object.
    ///
    /// # Errors
    /// `invalid_context`.
    pub fn extend_json(&self, pairs: &str) -> Result<Self> {
        const NO_OBJECT: Error = context("a context's pairs are no JSON object of well-formed strings");
        let Some(Json::Object(pairs)) = Json::parse(pairs) else { return Err(NO_OBJECT) };
        let mut lists = Vec::with_capacity(pairs.len());
        for (_, value) in &pairs {
            lists.push(items(value)?);
        }
        let mut values = Vec::with_capacity(pairs.len());
        for ((key, value), list) in pairs.iter().zip(&lists) {
            values.push((key.as_str(), value_of(value, list)?));
        }
        self.extend(&values)
    }
}

/// The deterministic CBOR of a manifest's fields from a JSON array (SPEC section 7.2).
///
/// # Errors
/// `invalid_argument`, `limit_exceeded`.
pub fn fields_from_json(fields: &str) -> Result<Vec<u8>> {
    let fields = Json::parse(fields).ok_or(invalid("the fields of a manifest are no JSON of this kind"))?;
    let mut writer = Writer::new();
    write(&mut writer, &fields)?;
    writer.finish()
}

fn items(value: &Json) -> Result<Vec<&str>> {
    let Json::Array(items) = value else { return Ok(Vec::new()) };
    let mut texts = Vec::with_capacity(items.len());
    for item in items {
        let text = if let Json::Text(text) = item { text_of(text) } else { None };
        texts.push(text.ok_or(context("a list in a context holds strings"))?);
    }
    Ok(texts)
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
        Json::Null | Json::Bool(_) | Json::Object(_) => return Err(context("a context's values are strings, numbers and lists of strings")),
    })
}

fn write(writer: &mut Writer, value: &Json) -> Result<()> {
    match value {
        Json::Null => writer.null(),
        Json::Bool(truth) => writer.bool(*truth),
        Json::Int(int) => writer.int(*int)?,
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

enum Json {
    Null,
    Bool(bool),
    Int(i128),
    Text(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// None if it is no JSON, or has numbers that are no integers of 64 bits.
    fn parse(text: &str) -> Option<Self> {
        let mut reader = Reader(text);
        let value = reader.value(0)?;
        reader.skip_space();
        reader.0.is_empty().then_some(value)
    }
}

/// What is not read yet. Written out here, since a general parser with its tables for decimal fractions makes up a fifth of the WebAssembly module.
struct Reader<'j>(&'j str);

impl Reader<'_> {
    fn value(&mut self, depth: usize) -> Option<Json> {
        if depth > MAX_DEPTH {
            return None;
        }
        self.skip_space();
        if self.take('"') {
            return self.text().map(Json::Text);
        }
        if self.take('[') {
            let mut items = Vec::new();
            self.list(']', |reader| {
                items.push(reader.value(depth + 1)?);
                Some(())
            })?;
            return Some(Json::Array(items));
        }
        if self.take('{') {
            let mut entries = Vec::new();
            self.list('}', |reader| {
                reader.skip_space();
                let key = reader.take('"').then(|| reader.text())??;
                reader.skip_space();
                let value = reader.take(':').then(|| reader.value(depth + 1))??;
                entries.push((key, value));
                Some(())
            })?;
            return Some(Json::Object(entries));
        }
        match self.take_while(|byte| byte.is_ascii_alphanumeric() || byte == b'-')? {
            "null" => Some(Json::Null),
            "false" => Some(Json::Bool(false)),
            "true" => Some(Json::Bool(true)),
            number => int_of(number),
        }
    }

    /// Items between commas, up to `close`.
    fn list(&mut self, close: char, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.skip_space();
        if self.take(close) {
            return Some(());
        }
        loop {
            item(self)?;
            self.skip_space();
            if self.take(close) {
                return Some(());
            }
            self.take(',').then_some(())?;
        }
    }

    /// The rest of a string after its opening quote.
    fn text(&mut self) -> Option<String> {
        let mut text = String::new();
        loop {
            text.push_str(self.take_while(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\')?);
            if self.take('"') {
                return Some(text);
            }
            self.take('\\').then_some(())?;
            let mut rest = self.0.chars();
            let escaped = rest.next()?;
            self.0 = rest.as_str();
            text.push(match escaped {
                '"' | '\\' | '/' => escaped,
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'u' => self.code_point()?,
                _ => return None,
            });
        }
    }

    /// What `\u` and four hex digits stand for, and a second such if it is the first half of a pair.
    fn code_point(&mut self) -> Option<char> {
        let first = self.code_unit()?;
        if !(0xD800..0xDC00).contains(&first) {
            return char::from_u32(first);
        }
        let second = (self.take('\\') && self.take('u')).then(|| self.code_unit())??;
        (0xDC00..0xE000).contains(&second).then_some(0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00)).and_then(char::from_u32)
    }

    fn code_unit(&mut self) -> Option<u32> {
        let (digits, rest) = self.0.split_at_checked(4)?;
        self.0 = rest;
        let mut bytes = [0; 2];
        base16ct::mixed::decode(digits, &mut bytes).ok()?;
        Some(u16::from_be_bytes(bytes).into())
    }

    /// The bytes for which `wanted` holds: whole characters, since it holds for all bytes of those outside ASCII or for none.
    fn take_while(&mut self, wanted: impl Fn(u8) -> bool) -> Option<&str> {
        let len = self.0.bytes().position(|byte| !wanted(byte)).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn take(&mut self, expected: char) -> bool {
        let rest = self.0.strip_prefix(expected);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn skip_space(&mut self) {
        let _ = self.take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
    }
}

fn int_of(number: &str) -> Option<Json> {
    let digits = number.strip_prefix('-').unwrap_or(number);
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) || (digits.len() > 1 && digits.starts_with('0')) {
        return None;
    }
    let int = number.parse::<i64>().map(i128::from).or_else(|_| number.parse::<u64>().map(i128::from));
    int.ok().map(Json::Int)
}

const fn invalid(message: &'static str) -> Error {
    Error::new(ErrorCode::InvalidArgument, message)
}

const fn context(message: &'static str) -> Error {
    Error::new(ErrorCode::InvalidContext, message)
}

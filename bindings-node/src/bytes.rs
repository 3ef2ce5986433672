//! Bytes and texts: sealing into and opening into what JavaScript allocated, and what needs no key.

use napi::Env;
use napi::bindgen_prelude::Uint8ArraySlice;
use napi_derive::napi;
use sealpoint_core::envelope::{self, Envelope, HEAD_LEN, Kind};
use sealpoint_core::{Context, Dek, Padding, Result, text};

use crate::{copied, done, invalid, raise};

#[napi(object)]
pub struct Opened {
    pub content_type: String,
    pub length: i64,
}

pub const fn padding(pad: bool) -> Padding {
    if pad { Padding::Bucket } else { Padding::None }
}

/// A length of JavaScript. One that is negative is none that anything has.
pub fn length(len: i64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

pub fn seal_into(dek: &Dek, payload: &[u8], content_type: &str, pad: bool, context: &Context, out: &mut Uint8ArraySlice<'_>) -> Result<()> {
    let out = room(payload, out)?;
    dek.seal_into(payload, content_type, padding(pad), context, out)
}

/// The content type, and the length of the payload that `out` now begins with.
pub fn open_into(dek: &Dek, sealed: &[u8], context: &Context, out: &mut Uint8ArraySlice<'_>) -> Result<(String, usize)> {
    let out = room(sealed, out)?;
    let mut payload_len = 0;
    let content_type = dek.open_into(sealed, context, |len| {
        payload_len = len;
        out.get_mut(..len).ok_or(invalid("the output is shorter than the payload"))
    })?;
    Ok((content_type, payload_len))
}

pub fn opened((content_type, len): (String, usize)) -> Opened {
    Opened { content_type, length: i64::try_from(len).unwrap_or_default() }
}

/// What JavaScript allocated for the output. It may lend the same memory twice: that is refused.
fn room<'o>(input: &[u8], output: &'o mut Uint8ArraySlice<'_>) -> Result<&'o mut [u8]> {
    let (from, to) = (input.as_ptr_range(), output.as_ptr_range());
    if from.start < to.end && to.start < from.end {
        return Err(invalid("the output overlaps the input"));
    }
    // SAFETY: nobody else writes to it or reads it before JavaScript runs again: it is none of the input, and TypeScript lets no shared memory through.
    Ok(unsafe { output.as_mut() })
}

#[napi]
pub fn sealed_len(env: &Env, payload_len: i64, content_type_len: i64, pad: bool) -> napi::Result<i64> {
    let len = done(env, envelope::sealed_len(length(payload_len), length(content_type_len), padding(pad)))?;
    i64::try_from(len).map_err(|_| raise(env, &invalid("too long")))
}

#[napi]
pub fn payload_bound(sealed_len: i64) -> i64 {
    i64::try_from(envelope::payload_bound(length(sealed_len))).unwrap_or_default()
}

#[napi]
pub fn head_len() -> i64 {
    HEAD_LEN as i64
}

#[napi]
pub fn is_sealed(value: &[u8]) -> bool {
    text::is_sealed(value)
}

#[napi]
pub fn envelope_dek_id<'e>(env: &'e Env, sealed: &[u8]) -> napi::Result<Uint8ArraySlice<'e>> {
    copied(env, Envelope::parse(sealed, Kind::Data).map(|envelope| *envelope.key_id()))
}

#[napi]
pub fn short_commitment<'e>(env: &'e Env, sealed: &[u8]) -> napi::Result<Uint8ArraySlice<'e>> {
    copied(env, Envelope::parse(sealed, Kind::Data).map(|envelope| envelope.short_commitment()))
}

#[napi]
pub fn encode_text(env: &Env, envelope: &[u8], kind: String) -> napi::Result<String> {
    done(env, kind_of(&kind)).map(|kind| text::encode(envelope, kind))
}

#[napi]
pub fn decode_text<'e>(env: &'e Env, sealed: String, kind: String) -> napi::Result<Uint8ArraySlice<'e>> {
    copied(env, kind_of(&kind).and_then(|kind| text::decode(&sealed, kind)))
}

fn kind_of(kind: &str) -> Result<Kind> {
    match kind {
        "data" => Ok(Kind::Data),
        "wrapped-key" => Ok(Kind::WrappedKey),
        _ => Err(invalid("a kind is \"data\" or \"wrapped-key\"")),
    }
}

//! Bytes into the module's memory and out of it, one copy each.

use js_sys::{JsString, Uint8Array};
use sealpoint_core::envelope::{HEAD_LEN, Head, Kind, sealed_len};
use sealpoint_core::limits::MAX_PAYLOAD_LEN;
use sealpoint_core::{Context, Dek, Error, ErrorCode, Padding};
use wasm_bindgen::prelude::*;

use crate::{Result, invalid_argument, usize_of};

#[wasm_bindgen]
extern "C" {
    /// A `Uint8Array`. `js_sys` takes its length for 32 bits, and the methods here need no copy of their own.
    #[wasm_bindgen(extends = Uint8Array, js_name = Uint8Array, typescript_type = "Uint8Array")]
    pub type Bytes;

    #[wasm_bindgen(method, getter, js_name = length)]
    fn len(this: &Bytes) -> f64;

    #[wasm_bindgen(method, js_name = subarray)]
    fn slice(this: &Bytes, start: usize, end: usize) -> Bytes;

    #[wasm_bindgen(method, js_name = set)]
    fn fill_from(this: &Bytes, bytes: &[u8]);

    #[wasm_bindgen(js_namespace = ["Uint8Array", "prototype", "set"], js_name = call)]
    fn copy_to(to: &mut [u8], from: &Bytes);
}

/// No input is longer: the text form of the longest envelope.
const MAX_INPUT_LEN: usize = 2 * MAX_PAYLOAD_LEN;
const ZEROS: &[u8] = &[0; 2048];
const TOO_LONG: Error = Error::new(ErrorCode::LimitExceeded, "longer than anything that is sealed or opened here");
const NO_MEMORY: Error = Error::new(ErrorCode::LimitExceeded, "no memory for this much data");

pub fn zeroed(len: usize) -> std::result::Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len).map_err(|_| NO_MEMORY)?;
    // Faster than `resize` in a build for size, which writes byte by byte.
    for start in (0..len).step_by(ZEROS.len()) {
        bytes.extend_from_slice(ZEROS.get(..len - start).unwrap_or(ZEROS));
    }
    Ok(bytes)
}

impl Bytes {
    pub fn length(&self) -> usize {
        usize_of(self.len())
    }

    /// A copy in the module's memory, which is wiped when it is freed.
    pub fn take(&self) -> Result<Vec<u8>> {
        let len = self.length();
        if len > MAX_INPUT_LEN {
            return Err(TOO_LONG.into());
        }
        let mut copy = zeroed(len)?;
        copy_to(&mut copy, self);
        Ok(copy)
    }

    /// A copy of at most the first `len` bytes.
    pub fn take_start(&self, len: usize) -> Result<Vec<u8>> {
        if self.length() > len { self.slice(0, len).take() } else { self.take() }
    }
}

/// A copy of a string in the module's memory.
pub fn take_text(text: &JsString) -> Result<String> {
    if usize_of(text.length().into()) > MAX_INPUT_LEN {
        return Err(TOO_LONG.into());
    }
    Ok(text.into())
}

pub const fn padding(pad: bool) -> Padding {
    if pad { Padding::Bucket } else { Padding::None }
}

pub fn seal(dek: &Dek, payload: &Bytes, content_type: &str, pad: bool, context: &Context, out: &Bytes) -> Result<()> {
    let len = sealed_len(payload.length(), content_type.len(), padding(pad))?;
    if out.length() != len {
        return Err(invalid_argument("the output has not the envelope's length"));
    }
    let (data, mut sealed) = (payload.take()?, zeroed(len)?);
    dek.seal_into(&data, content_type, padding(pad), context, &mut sealed)?;
    out.fill_from(&sealed);
    Ok(())
}

/// The bytes of an envelope, unless they are already seen not to be one.
pub fn take_sealed(sealed: &Bytes) -> Result<Vec<u8>> {
    if sealed.length() > MAX_PAYLOAD_LEN {
        Head::parse(&sealed.take_start(HEAD_LEN)?, sealed.length(), Kind::Data)?;
    }
    sealed.take()
}

/// The content type and the payload's length.
pub fn open(dek: &Dek, sealed: &[u8], context: &Context, out: &Bytes) -> Result<(String, usize)> {
    const SHORT: Error = Error::new(ErrorCode::InvalidArgument, "the output is shorter than the payload");
    let (room, mut payload) = (out.length(), Vec::new());
    let slot = &mut payload;
    let content_type = dek.open_into(sealed, context, move |len| {
        if len > room {
            return Err(SHORT);
        }
        *slot = zeroed(len)?;
        Ok(slot.as_mut_slice())
    })?;
    out.fill_from(&payload);
    Ok((content_type, payload.len()))
}

//! The WebAssembly module of sealpoint: converts types and errors, and decides nothing. What it exports is written down in `../bindings-node/ts/core.ts`.

mod bytes;
mod cache;
mod context;
mod envelope;
mod keys;
mod manifest;
mod message;

use std::alloc::System;

use sealpoint_core::{Error, ErrorCode, limits};
use serde::ser::{SerializeMap as _, Serializer};
use wasm_bindgen::prelude::*;
use zeroizing_alloc::ZeroAlloc;

/// Keys and plaintext pass through here in many small copies, and nothing leaves a module's memory but by being overwritten.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

type Entries<'s> = <&'s serde_wasm_bindgen::Serializer as Serializer>::SerializeMap;
type Result<T> = std::result::Result<T, JsError>;

#[wasm_bindgen]
extern "C" {
    /// A plain `Error` of JavaScript with the code and whether a retry can help.
    #[wasm_bindgen(js_name = Error)]
    pub type JsError;

    #[wasm_bindgen(constructor, js_class = "Error")]
    fn new(message: &str) -> JsError;

    #[wasm_bindgen(method, setter)]
    fn set_code(this: &JsError, code: &str);

    #[wasm_bindgen(method, setter)]
    fn set_retryable(this: &JsError, retryable: bool);
}

impl From<Error> for JsError {
    fn from(error: Error) -> Self {
        let raised = Self::new(error.message());
        raised.set_code(error.code().as_str());
        raised.set_retryable(error.code().is_retryable());
        raised
    }
}

fn invalid_argument(message: &'static str) -> JsError {
    Error::new(ErrorCode::InvalidArgument, message).into()
}

/// A plain object on its way out, of the entries that `write` gives it: bytes become `Uint8Array`s and numbers numbers.
///
/// No structs: their keys would be looked up in a table that is more than all the rest of this.
fn object(write: impl FnOnce(&mut Entries<'_>) -> std::result::Result<(), serde_wasm_bindgen::Error>) -> Result<JsValue> {
    let serializer = serde_wasm_bindgen::Serializer::new().serialize_maps_as_objects(true);
    let made = serializer.serialize_map(None).and_then(|mut entries| write(&mut entries).and_then(|()| entries.end()));
    made.map_err(|_| Error::new(ErrorCode::Internal, "a value that JavaScript cannot hold").into())
}

/// A purpose, suite or the like from JavaScript. (As a `u8`, 257 would come in as 1.)
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates")]
const fn byte_of(number: f64) -> u8 {
    number as u8
}

/// A length from JavaScript. One that no memory here has is longer than any limit.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates")]
const fn usize_of(length: f64) -> usize {
    length as usize
}

/// The release.
#[wasm_bindgen(js_name = coreVersion)]
pub fn core_version() -> String {
    env!("CARGO_PKG_VERSION").into()
}

/// Every code and whether a retry can help.
#[wasm_bindgen(js_name = errorCodes, unchecked_return_type = "Record<string, boolean>")]
pub fn error_codes() -> Result<JsValue> {
    object(|entries| ErrorCode::ALL.iter().try_for_each(|code| entries.serialize_entry(code.as_str(), &code.is_retryable())))
}

/// Every limit by name.
#[wasm_bindgen(js_name = limits, unchecked_return_type = "Record<string, number>")]
pub fn all_limits() -> Result<JsValue> {
    object(|entries| limits::ALL.iter().try_for_each(|(name, value)| entries.serialize_entry(name, value)))
}

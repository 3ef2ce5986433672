//! The native Node module: converts types and errors, and decides nothing. What it exports is `ts/core.ts`.

pub mod bytes;
pub mod cache;
pub mod context;
pub mod keys;
pub mod manifest;
pub mod message;
pub mod recovery;

use std::collections::HashMap;

use napi::bindgen_prelude::Uint8ArraySlice;
use napi::{Env, JsError, JsValue as _};
use napi_derive::napi;
use sealpoint_core::{Error, ErrorCode, limits};

// `ClassInstance<T>` is `&T` without napi-rs's table of borrows, which costs a quarter of a microsecond: for the calls that seal and open. Nothing runs between them.

/// A plain `Error` with `code` and `retryable`.
fn raise(env: &Env, error: &Error) -> napi::Error {
    let code = error.code();
    let thrown = JsError::from(napi::Error::new(code.as_str(), error.message())).into_unknown(*env);
    let described = thrown.coerce_to_object().and_then(|mut object| object.set("retryable", code.is_retryable()));
    described.map_or_else(|failed| failed, |()| thrown.into())
}

/// The core's result as napi's.
fn done<T>(env: &Env, result: sealpoint_core::Result<T>) -> napi::Result<T> {
    result.map_err(|error| raise(env, &error))
}

/// The core's bytes in memory of JavaScript.
fn copied<B: AsRef<[u8]>>(env: &Env, bytes: sealpoint_core::Result<B>) -> napi::Result<Uint8ArraySlice<'_>> {
    Uint8ArraySlice::copy_from(env, done(env, bytes)?)
}

const fn invalid(message: &'static str) -> Error {
    Error::new(ErrorCode::InvalidArgument, message)
}

const DISPOSED: Error = invalid("this handle was disposed of");

#[napi]
pub fn core_version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

#[napi]
pub fn error_codes() -> HashMap<&'static str, bool> {
    ErrorCode::ALL.iter().map(|code| (code.as_str(), code.is_retryable())).collect()
}

#[napi(js_name = "limits")]
pub fn all_limits() -> HashMap<&'static str, i64> {
    limits::ALL.iter().map(|(name, value)| (*name, i64::try_from(*value).unwrap_or(i64::MAX))).collect()
}

//! The core of sealpoint: envelope encryption for the state of agents. Bytes in, bytes out; no I/O but the operating system's randomness.
//!
//! [`docs/SPEC.md`](https://github.com/sealpoint/sealpoint/blob/main/docs/SPEC.md) says what every byte means; section numbers in these pages are its.
//! Start at [`Dek`] (seals and opens payloads), [`Context`] (what a payload is bound to) and [`DekCache`] (holds opened keys).
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(any(feature = "native", test))]
extern crate std;

pub mod backend;
pub mod cache;
pub mod cbor;
pub mod context;
pub mod dek;
pub mod envelope;
pub mod error;
pub mod exported;
#[cfg(feature = "hazmat")]
pub mod hazmat;
#[cfg(feature = "json")]
pub mod json;
pub mod kek;
pub mod limits;
pub mod manifest;
pub mod message;
#[cfg(feature = "recovery")]
pub mod recovery;
pub mod text;

mod chunked;
mod expand;
mod padding;
mod secret;

pub use cache::{CacheConfig, DekCache, Timestamp};
pub use context::{Context, Value};
pub use dek::{Dek, DekPurpose, DekRecord, Salts};
pub use envelope::{Opened, Padding};
pub use error::{Error, ErrorCode, Result};
pub use exported::{export_key, import_key};
pub use kek::{Kek, canary_context, canary_secret, open_only_context, wrap_context};
pub use message::Message;
#[cfg(feature = "recovery")]
pub use recovery::{RecoveryKey, RecoveryPublicKey};
pub use secret::Secret;

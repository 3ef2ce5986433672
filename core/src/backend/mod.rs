//! AES-256-GCM behind one small trait, so that one format runs on two implementations with the same bytes.

use crate::error::{Error, ErrorCode, Result};

#[cfg(feature = "native")]
mod native;
mod portable;

#[cfg(feature = "native")]
pub use native::AwsLc;
pub use portable::RustCrypto;

/// The implementation that this build seals and opens with.
#[cfg(feature = "native")]
pub type Default = AwsLc;
/// The implementation that this build seals and opens with.
#[cfg(not(feature = "native"))]
pub type Default = RustCrypto;

/// The tag of AES-GCM, in bytes.
pub const TAG_LEN: usize = 16;
/// The nonce of AES-GCM, in bytes.
pub const NONCE_LEN: usize = 12;

/// AES-256-GCM without additional data, under one key, which is wiped when dropped.
pub trait Aead: Sized {
    /// More than twice the stack, in bytes, that sealing and opening use in an optimised build, derivation included: what is overwritten afterwards.
    const STACK_LEN: usize;

    /// Expands the key schedule.
    ///
    /// # Errors
    /// `internal` if the implementation refuses the key.
    fn new(key: &[u8; 32]) -> Result<Self>;

    /// Encrypts `data` in place and returns the tag.
    ///
    /// # Errors
    /// `internal` if the implementation refuses.
    fn seal_in_place(&self, nonce: &[u8; NONCE_LEN], data: &mut [u8]) -> Result<[u8; TAG_LEN]>;

    /// Encrypts `input` into `output`, which has the same length, and returns the tag.
    ///
    /// # Errors
    /// `internal` if the implementation refuses.
    fn seal(&self, nonce: &[u8; NONCE_LEN], input: &[u8], output: &mut [u8]) -> Result<[u8; TAG_LEN]>;

    /// Decrypts `input` into `output`, which has the same length. After an error `output` must not be used.
    ///
    /// # Errors
    /// `authentication_failed`.
    fn open(&self, nonce: &[u8; NONCE_LEN], input: &[u8], tag: &[u8; TAG_LEN], output: &mut [u8]) -> Result<()>;
}

const REFUSED: Error = Error::new(ErrorCode::Internal, "the AES-GCM implementation refused its input");

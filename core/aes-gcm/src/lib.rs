//! AES-256-GCM without additional data by the crate `aes-gcm`. Generic code is compiled where it is used, as that crate is: here, so that the WebAssembly
//! module, which is built for size, has this part of it built for speed.
#![no_std]
#![forbid(unsafe_code)]

use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::{AeadInOut as _, Aes256Gcm, KeyInit as _};

/// The key schedule, which is wiped when dropped.
#[derive(Debug)]
pub struct Key(Aes256Gcm);

impl Key {
    /// Expands the key schedule.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self(Aes256Gcm::new(key.into()))
    }

    /// Encrypts `data` in place and returns the tag. None if it is too long.
    #[must_use]
    pub fn seal_in_place(&self, nonce: &[u8; 12], data: &mut [u8]) -> Option<[u8; 16]> {
        self.0.encrypt_inout_detached(nonce.into(), b"", InOutBuf::from(data)).ok().map(Into::into)
    }

    /// Encrypts `input` into `output` and returns the tag. None if they differ in length, or are too long.
    #[must_use]
    pub fn seal(&self, nonce: &[u8; 12], input: &[u8], output: &mut [u8]) -> Option<[u8; 16]> {
        self.0.encrypt_inout_detached(nonce.into(), b"", InOutBuf::new(input, output).ok()?).ok().map(Into::into)
    }

    /// Decrypts `input` into `output`. None if they differ in length, or the tag is not theirs.
    #[must_use]
    pub fn open(&self, nonce: &[u8; 12], input: &[u8], tag: &[u8; 16], output: &mut [u8]) -> Option<()> {
        self.0.decrypt_inout_detached(nonce.into(), b"", InOutBuf::new(input, output).ok()?, tag.into()).ok()
    }
}

//! RustCrypto's `aes-gcm`: every target, `WebAssembly` and bare metal included.

use sealpoint_aes_gcm::Key;

use super::{Aead, NONCE_LEN, REFUSED, TAG_LEN};
use crate::error::{AUTHENTICATION_FAILED, Result};

/// AES-256-GCM by the crate `aes-gcm`.
#[derive(Debug)]
pub struct RustCrypto(Key);

impl Aead for RustCrypto {
    const STACK_LEN: usize = 16_384;

    fn new(key: &[u8; 32]) -> Result<Self> {
        Ok(Self(Key::new(key)))
    }

    fn seal_in_place(&self, nonce: &[u8; NONCE_LEN], data: &mut [u8]) -> Result<[u8; TAG_LEN]> {
        self.0.seal_in_place(nonce, data).ok_or(REFUSED)
    }

    fn seal(&self, nonce: &[u8; NONCE_LEN], input: &[u8], output: &mut [u8]) -> Result<[u8; TAG_LEN]> {
        self.0.seal(nonce, input, output).ok_or(REFUSED)
    }

    fn open(&self, nonce: &[u8; NONCE_LEN], input: &[u8], tag: &[u8; TAG_LEN], output: &mut [u8]) -> Result<()> {
        self.0.open(nonce, input, tag, output).ok_or(AUTHENTICATION_FAILED)
    }
}

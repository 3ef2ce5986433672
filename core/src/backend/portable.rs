//! RustCrypto's `aes-gcm`: every target, `WebAssembly` and bare metal included.

use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::{AeadInOut as _, Aes256Gcm, KeyInit as _};

use super::{Aead, NONCE_LEN, REFUSED, TAG_LEN};
use crate::error::{AUTHENTICATION_FAILED, Result};

/// AES-256-GCM by the crate `aes-gcm`.
#[derive(Debug)]
pub struct RustCrypto(Aes256Gcm);

impl Aead for RustCrypto {
    const STACK_LEN: usize = 16_384;

    fn new(key: &[u8; 32]) -> Result<Self> {
        Ok(Self(Aes256Gcm::new(key.into())))
    }

    fn seal_in_place(&self, nonce: &[u8; NONCE_LEN], data: &mut [u8]) -> Result<[u8; TAG_LEN]> {
        let tag = self.0.encrypt_inout_detached(nonce.into(), b"", InOutBuf::from(data)).map_err(|_| REFUSED)?;
        Ok(tag.into())
    }

    fn seal(&self, nonce: &[u8; NONCE_LEN], input: &[u8], output: &mut [u8]) -> Result<[u8; TAG_LEN]> {
        let buffer = InOutBuf::new(input, output).map_err(|_| REFUSED)?;
        let tag = self.0.encrypt_inout_detached(nonce.into(), b"", buffer).map_err(|_| REFUSED)?;
        Ok(tag.into())
    }

    fn open(&self, nonce: &[u8; NONCE_LEN], input: &[u8], tag: &[u8; TAG_LEN], output: &mut [u8]) -> Result<()> {
        let buffer = InOutBuf::new(input, output).map_err(|_| REFUSED)?;
        self.0.decrypt_inout_detached(nonce.into(), b"", buffer, tag.into()).map_err(|_| AUTHENTICATION_FAILED)
    }
}

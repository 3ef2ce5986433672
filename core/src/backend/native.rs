//! aws-lc-rs: native code for wheels and Node binaries.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use super::{Aead, NONCE_LEN, REFUSED, TAG_LEN};
use crate::error::{AUTHENTICATION_FAILED, Result};

/// AES-256-GCM by the crate `aws-lc-rs`.
#[derive(Debug)]
pub struct AwsLc(LessSafeKey);

impl Aead for AwsLc {
    const STACK_LEN: usize = 8_192;

    fn new(key: &[u8; 32]) -> Result<Self> {
        UnboundKey::new(&AES_256_GCM, key).map(|key| Self(LessSafeKey::new(key))).map_err(|_| REFUSED)
    }

    fn seal_in_place(&self, nonce: &[u8; NONCE_LEN], data: &mut [u8]) -> Result<[u8; TAG_LEN]> {
        let mut tag = [0; TAG_LEN];
        let nonce = Nonce::assume_unique_for_key(*nonce);
        self.0.seal_in_place_scatter(nonce, Aad::empty(), data, &[], &mut tag).map_err(|_| REFUSED)?;
        Ok(tag)
    }

    fn seal(&self, nonce: &[u8; NONCE_LEN], input: &[u8], output: &mut [u8]) -> Result<[u8; TAG_LEN]> {
        let mut tag = [0; TAG_LEN];
        let nonce = Nonce::assume_unique_for_key(*nonce);
        self.0.seal_out_of_place_scatter(nonce, Aad::empty(), input, output, &[], &mut tag).map_err(|_| REFUSED)?;
        Ok(tag)
    }

    fn open(&self, nonce: &[u8; NONCE_LEN], input: &[u8], tag: &[u8; TAG_LEN], output: &mut [u8]) -> Result<()> {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        self.0.open_separate_gather(nonce, Aad::empty(), input, tag, output).map_err(|_| AUTHENTICATION_FAILED)
    }
}

//! 32 secret bytes on the heap, wiped when dropped.

use alloc::boxed::Box;
use core::fmt;

use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, ZeroizeOnDrop, Zeroizing};

use crate::error::{Error, ErrorCode, Result};

/// The length of every key here, in bytes.
pub(crate) const KEY_LEN: usize = 32;

/// 32 secret bytes (a DEK, a KEK, a canary). On the heap, so that moving it leaves no copies behind; wiped when dropped; `Debug` shows nothing.
#[derive(Clone)]
pub struct Secret(Box<Zeroizing<[u8; KEY_LEN]>>);

impl Secret {
    /// 32 bytes from the operating system.
    ///
    /// # Errors
    /// `internal` if the operating system has no randomness to give.
    pub fn generate() -> Result<Self> {
        let mut secret = Self::zeroed();
        fill_random(secret.0.as_mut_slice())?;
        Ok(secret)
    }

    /// Takes a copy of exactly 32 bytes.
    ///
    /// # Errors
    /// `invalid_argument` for another length.
    pub fn from_slice(bytes: &[u8]) -> Result<Self> {
        if bytes.len() != KEY_LEN {
            return Err(Error::new(ErrorCode::InvalidArgument, "a key has exactly 32 bytes"));
        }
        let mut secret = Self::zeroed();
        secret.0.copy_from_slice(bytes);
        Ok(secret)
    }

    /// The bytes themselves. Whoever copies them wipes the copy.
    #[must_use]
    pub fn expose(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    pub(crate) fn expose_mut(&mut self) -> &mut [u8; KEY_LEN] {
        &mut self.0
    }

    pub(crate) fn zeroed() -> Self {
        Self(Box::new(Zeroizing::new([0; KEY_LEN])))
    }
}

impl PartialEq for Secret {
    /// In constant time.
    fn eq(&self, other: &Self) -> bool {
        self.0.as_slice().ct_eq(other.0.as_slice()).into()
    }
}

impl Eq for Secret {}

impl ZeroizeOnDrop for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret([redacted])")
    }
}

/// Fills from the operating system's generator, with no buffering in between (SPEC section 10).
pub(crate) fn fill_random(out: &mut [u8]) -> Result<()> {
    getrandom::fill(out).map_err(|_| {
        out.zeroize();
        Error::new(ErrorCode::Internal, "the operating system has no randomness to give")
    })
}

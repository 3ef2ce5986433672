//! 32 secret bytes on the heap, wiped when dropped.

use alloc::boxed::Box;
use core::fmt;

use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, ZeroizeOnDrop, Zeroizing};

use crate::backend::Aead;
use crate::error::{Error, ErrorCode, Result};

/// The length of every key here, in bytes.
pub(crate) const KEY_LEN: usize = 32;

/// 32 secret bytes (a DEK, a KEK, a canary). On the heap, so that moving it leaves no copies behind; wiped when dropped; `Debug` shows nothing.
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

impl Clone for Secret {
    /// From heap to heap, with no copy on the stack.
    fn clone(&self) -> Self {
        let mut copy = Self::zeroed();
        copy.0.copy_from_slice(self.0.as_slice());
        copy
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
        Error::new(ErrorCode::Internal, NO_RANDOMNESS)
    })
}

#[cfg(not(feature = "hazmat"))]
const NO_RANDOMNESS: &str = "the operating system has no randomness to give";
/// Stands in every binary that can seal, so that a build with known-answer hooks can be told by looking for it (`tests/check_core.sh`).
#[cfg(feature = "hazmat")]
const NO_RANDOMNESS: &str = "the operating system has no randomness to give (sealpoint-hazmat: a build with known-answer hooks)";

/// Runs `work` and overwrites the stack that it used. The implementations of HMAC and AES-GCM leave copies of keys in stack buffers that nobody else can
/// reach, and moving a value leaves one behind. This empties what a dump of the process would show; registers are beyond it.
pub(crate) fn scrubbed<A: Aead, T>(work: impl FnOnce() -> T) -> T {
    let done = apart(work);
    overwrite_stack::<A>();
    done
}

#[inline(never)]
fn apart<T>(work: impl FnOnce() -> T) -> T {
    work()
}

/// Overwrites the stack below the caller, for work that is done in several calls: no more than it can have used, since that empties the processor's
/// nearest cache.
pub(crate) fn overwrite_stack<A: Aead>() {
    if A::STACK_LEN > 8_192 { overwrite::<16_384>() } else { overwrite::<8_192>() }
}

#[inline(never)]
fn overwrite<const LEN: usize>() {
    let mut below = [0_u8; LEN];
    core::hint::black_box(&mut below);
}

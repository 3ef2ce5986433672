//! `Expand` of SPEC section 2: HKDF-Expand with HMAC-SHA-512 and a key of 32 bytes.

use alloc::boxed::Box;
use core::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha512;
use zeroize::{Zeroize as _, ZeroizeOnDrop};

use crate::error::{Error, ErrorCode, Result};
use crate::secret::{KEY_LEN, Secret};

/// What T1 and T2 can give together.
const MAX_LEN: usize = 128;

/// A key ready to derive from: the HMAC state with the key absorbed, on the heap, wiped when dropped.
#[derive(Clone)]
pub(crate) struct Expander(Box<Hmac<Sha512>>);

impl Expander {
    pub(crate) fn new(key: &[u8; KEY_LEN]) -> Result<Self> {
        Self::of_any_length(key)
    }

    /// From a pseudorandom key of any length: [`crate::hazmat`] alone has others than 32 bytes.
    pub(crate) fn of_any_length(key: &[u8]) -> Result<Self> {
        let mac = Hmac::new_from_slice(key).map_err(|_| Error::new(ErrorCode::Internal, "HMAC refused a key"))?;
        Ok(Self(Box::new(mac)))
    }

    /// Fills `out` (at most 128 bytes) from the concatenation of `info`.
    pub(crate) fn expand_into(&self, info: &[&[u8]], out: &mut [u8]) -> Result<()> {
        if out.len() > MAX_LEN {
            return Err(Error::new(ErrorCode::Internal, "a derivation of more than 128 bytes"));
        }
        let mut mac = Hmac::clone(&self.0);
        info.iter().for_each(|part| mac.update(part));
        mac.update(&[1]);
        // `CtOutput` wipes itself; the copies into `out` are the caller's.
        let first = mac.finalize();
        let head = out.len().min(64);
        let (front, back) = out.split_at_mut(head);
        front.copy_from_slice(first.as_bytes().get(..head).unwrap_or_default());
        if !back.is_empty() {
            let mut mac = Hmac::clone(&self.0);
            mac.update(first.as_bytes());
            info.iter().for_each(|part| mac.update(part));
            mac.update(&[2]);
            let second = mac.finalize();
            back.copy_from_slice(second.as_bytes().get(..back.len()).unwrap_or_default());
        }
        Ok(())
    }

    /// N bytes that are no secret (an id, a check value).
    pub(crate) fn derive_public<const N: usize>(&self, info: &[&[u8]]) -> Result<[u8; N]> {
        let mut out = [0; N];
        self.expand_into(info, &mut out)?;
        Ok(out)
    }

    /// The next key down the hierarchy.
    pub(crate) fn derive_key(&self, info: &[&[u8]]) -> Result<Secret> {
        let mut key = Secret::zeroed();
        let derived = self.expand_into(info, key.expose_mut());
        if derived.is_err() {
            key.expose_mut().zeroize();
        }
        derived.map(|()| key)
    }
}

impl ZeroizeOnDrop for Expander {}

impl fmt::Debug for Expander {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Expander([redacted])")
    }
}

// `Hmac` holds two `Sha512` cores and a buffer, which wipe themselves only with the crates' `zeroize` features: without them this does not compile.
const fn wiped_on_drop<T: ZeroizeOnDrop>() {}
const _: () = wiped_on_drop::<Sha512>();

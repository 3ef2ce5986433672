//! The error codes, the same in every language (SPEC section 9).

use alloc::{borrow::Cow, string::String};
use core::fmt;

/// The result of everything here that can fail.
pub type Result<T> = core::result::Result<T, Error>;

/// A code and a message for people. The message holds no key bytes, plaintext or context values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    code: ErrorCode,
    message: Cow<'static, str>,
}

impl Error {
    /// An error with a message known at compile time.
    #[must_use]
    pub const fn new(code: ErrorCode, message: &'static str) -> Self {
        Self { code, message: Cow::Borrowed(message) }
    }

    pub(crate) fn with(code: ErrorCode, message: String) -> Self {
        Self { code, message: Cow::Owned(message) }
    }

    /// What a program decides by.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        self.code
    }

    /// What a person reads.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl core::error::Error for Error {}

macro_rules! error_codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, retryable: $retryable:literal;)*) => {
        /// What went wrong. The strings are the contract across languages.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorCode { $($(#[$doc])* $name,)* }

        impl ErrorCode {
            /// Every code, in the order of the SPEC.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The code as every language spells it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// Whether the same call can succeed later without anybody changing anything.
            #[must_use]
            pub const fn is_retryable(self) -> bool {
                match self { $(Self::$name => $retryable,)* }
            }
        }
    };
}

error_codes! {
    /// Bytes that no version of the format produces.
    Malformed = "malformed", retryable: false;
    /// A format version that this release does not know.
    UnsupportedVersion = "unsupported_version", retryable: false;
    /// A suite that this release does not know, or not the key's.
    UnsupportedSuite = "unsupported_suite", retryable: false;
    /// A content encoding that this release does not know.
    UnsupportedEncoding = "unsupported_encoding", retryable: false;
    /// Unsealed data where sealed data was expected.
    PlaintextRefused = "plaintext_refused", retryable: false;
    /// A context outside SPEC section 3.
    InvalidContext = "invalid_context", retryable: false;
    /// No tenant was given.
    TenantRequired = "tenant_required", retryable: false;
    /// The envelope names a key that is not there.
    KeyNotFound = "key_not_found", retryable: false;
    /// The key exists and may not be used.
    KeyDisabled = "key_disabled", retryable: false;
    /// The key was destroyed; what it sealed is gone.
    KeyDestroyed = "key_destroyed", retryable: false;
    /// Wrong key, wrong context, tampering or truncation, indistinguishably.
    AuthenticationFailed = "authentication_failed", retryable: false;
    /// A limit of SPEC section 1.
    LimitExceeded = "limit_exceeded", retryable: false;
    /// The key service refused.
    KmsDenied = "kms_denied", retryable: false;
    /// The key service asks to slow down.
    KmsThrottled = "kms_throttled", retryable: true;
    /// The key service cannot be reached.
    KmsUnavailable = "kms_unavailable", retryable: true;
    /// The key store cannot be reached or is locked.
    StoreUnavailable = "store_unavailable", retryable: true;
    /// The key store is corrupt, not set up, or newer than this release.
    StoreInvalid = "store_invalid", retryable: false;
    /// An optional package is needed.
    MissingDependency = "missing_dependency", retryable: false;
    /// A destructive call without its confirmation.
    ConfirmationRequired = "confirmation_required", retryable: false;
    /// A call that could never work.
    InvalidArgument = "invalid_argument", retryable: false;
    /// A defect in sealpoint.
    Internal = "internal", retryable: false;
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

pub(crate) const AUTHENTICATION_FAILED: Error =
    Error::new(ErrorCode::AuthenticationFailed, "the envelope does not open: wrong key, wrong context, or changed bytes");

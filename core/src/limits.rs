//! Every limit of SPEC section 1, with its reason there.

/// The longest canonical context, inclusive.
pub const MAX_CONTEXT_BYTES: usize = 65_536;
/// `tenant` and `purpose`.
pub const MIN_CONTEXT_PAIRS: usize = 2;
/// The most pairs of a context.
pub const MAX_CONTEXT_PAIRS: usize = 32;
/// The longest key of a context.
pub const MAX_CONTEXT_KEY_LEN: usize = 64;
/// The longest tenant, in UTF-8 bytes.
pub const MAX_TENANT_LEN: usize = 1_024;
/// The longest content type.
pub const MAX_CONTENT_TYPE_LEN: usize = 255;
/// The longest payload: 1 GiB, or 256 MiB where pointers have 32 bits or fewer.
pub const MAX_PAYLOAD_LEN: usize = if usize::BITS > 32 { 1 << 30 } else { 1 << 28 };
/// The most envelopes under one DEK (C2SP chunked encryption: messages of at most 1 GiB).
pub const MAX_SEALS_PER_DEK: u64 = 1 << 45;
/// The plaintext of a full chunk.
pub const CHUNK_LEN: usize = 16_384;
/// The longest CBOR of a manifest's fields.
pub const MAX_MANIFEST_LEN: usize = 1 << 24;
/// The deepest nesting of a manifest's values.
pub const MAX_CBOR_DEPTH: usize = 16;

/// All of the above by name, for bindings that show them.
pub const ALL: [(&str, u64); 11] = [
    ("MAX_CONTEXT_BYTES", MAX_CONTEXT_BYTES as u64),
    ("MIN_CONTEXT_PAIRS", MIN_CONTEXT_PAIRS as u64),
    ("MAX_CONTEXT_PAIRS", MAX_CONTEXT_PAIRS as u64),
    ("MAX_CONTEXT_KEY_LEN", MAX_CONTEXT_KEY_LEN as u64),
    ("MAX_TENANT_LEN", MAX_TENANT_LEN as u64),
    ("MAX_CONTENT_TYPE_LEN", MAX_CONTENT_TYPE_LEN as u64),
    ("MAX_PAYLOAD_LEN", MAX_PAYLOAD_LEN as u64),
    ("MAX_SEALS_PER_DEK", MAX_SEALS_PER_DEK),
    ("CHUNK_LEN", CHUNK_LEN as u64),
    ("MAX_MANIFEST_LEN", MAX_MANIFEST_LEN as u64),
    ("MAX_CBOR_DEPTH", MAX_CBOR_DEPTH as u64),
];

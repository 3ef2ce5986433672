//! The crate that is linked. Link-time optimisation goes by its level, which is 3: what is compiled for size stays small, and what is compiled for speed gets
//! inlined, which makes the whole smaller too.

pub use sealpoint_wasm::*;

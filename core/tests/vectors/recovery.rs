//! The vectors of recovery.json.

use sealpoint_core::{RecoveryKey, RecoveryPublicKey, Result, wrap_context};
use serde_json::Value as Json;

use crate::common::{array_at, hex, hex_at, purpose, secret, str_at};
use crate::unknown;

pub fn recovery(vector: &Json) -> Result<()> {
    match str_at(vector, "op") {
        "pair" => {
            let key = RecoveryKey::from_text(str_at(vector, "secret_text"))?;
            assert_eq!(*key.to_text(), str_at(vector, "secret_text"));
            assert_eq!(key.public().to_text(), str_at(vector, "public_text"));
            assert_eq!(hex(RecoveryPublicKey::from_text(str_at(vector, "public_text"))?.recovery_id()), str_at(vector, "recovery_id"));
            // What is wrapped here opens here: that other implementations open it too, tests/test_recovery.py shows.
            let context = wrap_context("acme", &[3; 16], purpose("data"), 1)?;
            let wrapped = key.public().wrap(&secret(&[9; 32]), &context)?;
            assert!(key.unwrap(&wrapped, &context)? == secret(&[9; 32]));
            Ok(())
        }
        "unwrap" => {
            let key = RecoveryKey::from_text(str_at(vector, "secret_text"))?;
            let context = wrap_context(str_at(vector, "tenant"), &array_at(vector, "dek_id"), purpose(str_at(vector, "dek_purpose")), 1)?;
            let dek = key.unwrap(&hex_at(vector, "wrapped"), &context)?;
            assert_eq!(hex(dek.expose()), str_at(vector, "dek"), "{}", vector["id"]);
            Ok(())
        }
        "import-secret" => RecoveryKey::from_text(str_at(vector, "text")).map(drop),
        "import-public" => RecoveryPublicKey::from_text(str_at(vector, "text")).map(drop),
        _ => unknown(vector),
    }
}

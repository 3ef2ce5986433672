//! The vectors of exported-key.json.

use sealpoint_core::{DekRecord, Result, export_key, import_key};
use serde_json::Value as Json;

use crate::common::{array_at, hex, hex_at, purpose, secret, str_at};
use crate::unknown;

pub fn exported_key(vector: &Json) -> Result<()> {
    let op = str_at(vector, "op");
    match op {
        "import" => import_key(str_at(vector, "text")).map(drop),
        "export" | "export-import" => {
            let record = DekRecord {
                dek_id: array_at(vector, "dek_id"),
                tenant: str_at(vector, "tenant").into(),
                purpose: purpose(str_at(vector, "dek_purpose")),
                suite: 1,
                version: u32::try_from(vector["version"].as_u64().unwrap()).unwrap(),
            };
            let text = export_key(&secret(&hex_at(vector, "dek")), &record)?;
            assert_eq!(*text, str_at(vector, "text"), "{}", vector["id"]);
            let encoded = text.strip_prefix("sealpoint-key:v1:").unwrap();
            assert_eq!(hex(&data_encoding::BASE64URL_NOPAD.decode(encoded.as_bytes()).unwrap()), str_at(vector, "bytes_hex"));
            let dek = import_key(&text)?;
            assert_eq!(dek.record(), &record);
            Ok(())
        }
        _ => unknown(vector),
    }
}

//! The vectors of cbor.json and manifest.json.

use sealpoint_core::{Error, ErrorCode, Result, manifest};
use serde_json::Value as Json;

use crate::common::tree::{self, Refused};
use crate::common::{hex, hex_at, pattern, sha256, str_at, unhex};
use crate::{Outcome, unknown};

pub fn cbor(vector: &Json) -> Outcome {
    match str_at(vector, "op") {
        "encode" => match tree::cbor(&vector["value"]) {
            Ok(encoded) => {
                if str_at(vector, "expect") == "ok" {
                    assert_eq!(hex(&encoded), str_at(vector, "cbor_hex"), "{}", vector["id"]);
                }
                Ok(()).into()
            }
            Err(refused @ Refused::ByType(_)) => Outcome::Inexpressible("no &str holds it: the writer's types refuse", tree::code(&refused, false)),
            Err(Refused::ByCore(error)) => Err(error).into(),
        },
        "decode" => decode(vector),
        _ => unknown(vector),
    }
}

/// The core reads no CBOR but manifest records. So a good item is written again, and a bad one must be refused as a record and in each place of one.
fn decode(vector: &Json) -> Outcome {
    let item = hex_at(vector, "cbor_hex");
    if str_at(vector, "expect") == "ok" {
        assert_eq!(hex(&tree::cbor(&vector["value"]).unwrap()), hex(&item), "{}", vector["id"]);
        return Outcome::Code(Ok(()));
    }
    let digest = [&[0x58, 32][..], &unhex(&sha256(b"sealpoint/v1/manifest\0\x80"))].concat();
    let good: [&[u8]; 5] = [&[0x01], &[0xF5], &digest, &[0xF6], &[0x80]];
    let record = |slot: usize| (0..5).fold(vec![0x85], |out, at| [out, if at == slot { item.clone() } else { good[at].to_vec() }].concat());
    assert_eq!(open_record(&record(5)), Ok(()), "the record that the bad item is put into");
    for slot in 0..5 {
        let code = open_record(&record(slot)).expect_err("a bad item was accepted");
        // A cut-off head as the record's version takes the next byte along and is then a version that nobody knows.
        let version = slot == 0 && code == ErrorCode::UnsupportedVersion;
        assert!(code == ErrorCode::Malformed || version, "{} in place {slot}: {code}", vector["id"]);
    }
    let code = open_record(&item).expect_err("a bad item was accepted");
    match str_at(vector, "expect") {
        // A record nests three levels: deeper ones have another form, whatever their depth.
        "limit_exceeded" => {
            assert_eq!(code, ErrorCode::Malformed);
            Outcome::Inexpressible("the core reads records only: refused as malformed", ErrorCode::LimitExceeded)
        }
        _ => Outcome::Code(Err(Error::new(code, ""))),
    }
}

fn open_record(record: &[u8]) -> std::result::Result<(), ErrorCode> {
    let payload = [&u32::try_from(record.len()).unwrap().to_be_bytes()[..], record].concat();
    manifest::open(&payload, &[0x80], None, &[]).map(drop).map_err(|error| error.code())
}

type Channels = Vec<(String, Option<[u8; 16]>)>;

fn channels(form: &Json) -> Channels {
    let commitment = |value: &Json| value.as_str().map(|hex| unhex(hex).try_into().unwrap());
    form.as_object().unwrap().iter().map(|(name, value)| (name.clone(), commitment(value))).collect()
}

fn borrowed(channels: &Channels) -> Vec<manifest::Channel<'_>> {
    channels.iter().map(|(name, commitment)| (name.as_str(), *commitment)).collect()
}

pub fn manifest_vector(vector: &Json) -> Result<()> {
    let parent = vector["parent"].as_str();
    let refused = |reading: bool| move |refused: Refused| Error::new(tree::code(&refused, reading), "the fields");
    match str_at(vector, "op") {
        "build" => {
            let fields = tree::fields(&vector["checkpoint"], &vector["metadata"]).map_err(refused(false))?;
            let metadata = pattern(7);
            let payload =
                manifest::payload(&fields, parent, vector["exact"].as_bool().unwrap(), &borrowed(&channels(&vector["channels"])), &metadata)?;
            if str_at(vector, "expect") == "ok" {
                assert_eq!(hex(&fields), str_at(vector, "manifest_hex"), "{}", vector["id"]);
                let (record, rest) = payload[4..].split_at(payload.len() - 4 - metadata.len());
                assert_eq!((hex(record), rest), (str_at(vector, "record_hex").to_owned(), &metadata[..]), "{}", vector["id"]);
                assert_eq!(usize::try_from(u32::from_be_bytes(payload[..4].try_into().unwrap())).unwrap(), record.len());
                assert!(hex(record).contains(str_at(vector, "digest")));
            }
            Ok(())
        }
        "split" => {
            let payload = hex_at(vector, "payload_hex");
            // The core splits and verifies in one call: what a record does not bind differs here, and is refused after the split.
            let opened = manifest::open(&payload, &[0x80], None, &[]);
            if str_at(vector, "expect") != "ok" {
                return opened.map(drop);
            }
            assert_eq!(opened.map_err(|error| error.code()), Err(ErrorCode::AuthenticationFailed));
            let record = hex_at(vector, "record_hex");
            assert_eq!(payload, [&u32::try_from(record.len()).unwrap().to_be_bytes()[..], &record, &hex_at(vector, "metadata_hex")].concat());
            Ok(())
        }
        "verify" => {
            let record = hex_at(vector, "record_hex");
            let payload = [&u32::try_from(record.len()).unwrap().to_be_bytes()[..], &record, b"rest"].concat();
            let checkpoint = &vector["checkpoint"];
            let fields = tree::fields(checkpoint, &vector["metadata"]).map_err(refused(true))?;
            assert_eq!(manifest::open(&payload, &fields, parent, &borrowed(&channels(&vector["channels"])))?.metadata, b"rest");
            // Step 1 is the caller's: the core does not see the row.
            if vector["row_id"] != checkpoint["id"] { Err(Error::new(ErrorCode::AuthenticationFailed, "step 1")) } else { Ok(()) }
        }
        _ => unknown(vector),
    }
}

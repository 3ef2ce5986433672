//! The vectors of store.json: items put together and taken apart with the core, as a binding does (SPEC section 7.3).

use sealpoint_core::envelope::{Envelope, Kind};
use sealpoint_core::{Context, Dek, Error, ErrorCode, Padding, Result, Value, manifest, text};
use serde_json::{Map, Value as Json};

use crate::common::{Backend, array_at, dek, hex_at, purpose, str_at, tree, unhex};
use crate::unknown;

const SEALED_KEY: &str = "sealpoint";
const MALFORMED: Error = Error::new(ErrorCode::Malformed, "no JSON of an item");

struct Place {
    key: Dek,
    item: Context,
    field: Context,
}

impl Place {
    fn of(vector: &Json) -> Self {
        let (tenant, key) = (str_at(vector, "tenant"), &vector["key"]);
        let ns: Vec<&str> = vector["ns"].as_array().unwrap().iter().map(|label| label.as_str().unwrap()).collect();
        let context = |purpose| {
            let pairs =
                [("tenant", Value::Text(tenant)), ("purpose", purpose), ("ns", Value::List(&ns)), ("key", Value::Text(str_at(vector, "item")))];
            Context::new(&pairs).unwrap()
        };
        Self {
            key: dek(&hex_at(key, "dek"), array_at(key, "dek_id"), tenant, purpose(str_at(key, "purpose")), 1),
            item: context(Value::Text("langgraph.store")),
            field: context(Value::Text("langgraph.store.field")),
        }
    }

    fn at(&self, field: &str) -> Context {
        let path = format!("/{}", field.replace('~', "~0").replace('/', "~1"));
        self.field.extend(&[("path", Value::Text(&path))]).unwrap()
    }

    fn seal<A: Backend>(&self, payload: &[u8], context: &Context, salt: &[u8; 24]) -> Result<String> {
        Ok(text::encode(&self.key.seal_with_salt::<A>(payload, "json", Padding::Bucket, context, salt)?, Kind::Data))
    }

    fn open<A: Backend>(&self, sealed: &str, context: &Context) -> Result<Vec<u8>> {
        let bytes = text::decode(sealed, Kind::Data)?;
        let mut payload = Vec::new();
        let content_type = self.key.open_with::<A, _>(&Envelope::parse(&bytes, Kind::Data)?, context, |len| {
            payload.resize(len, 0xAA);
            Ok(&mut payload)
        })?;
        if content_type == "json" { Ok(payload) } else { Err(MALFORMED) }
    }

    fn open_item<A: Backend>(&self, stored: &Map<String, Json>) -> Result<Map<String, Json>> {
        let sealed = stored.get(SEALED_KEY).and_then(Json::as_str).ok_or(Error::new(ErrorCode::PlaintextRefused, "no envelope"))?;
        let payload = self.open::<A>(sealed, &self.item)?;
        let (mut value, mut apart) = (Map::new(), Vec::new());
        for (name, field) in stored.iter().filter(|(name, _)| *name != SEALED_KEY) {
            match field.as_str().filter(|text| text.starts_with("sealpoint:") || text.starts_with("sealpoint-")) {
                Some(envelope) => apart.push((name.as_str(), envelope)),
                None => drop(value.insert(name.clone(), field.clone())),
            }
        }
        let rest = manifest::open(&payload, &clear_fields(&value), None, &commitments(&apart)?)?.metadata;
        for (name, envelope) in apart {
            value.insert(name.to_owned(), json(&self.open::<A>(envelope, &self.at(name))?)?);
        }
        let Json::Object(rest) = json(rest)? else { return Err(MALFORMED) };
        for (name, field) in rest {
            if value.insert(name, field).is_some() {
                return Err(MALFORMED);
            }
        }
        Ok(value)
    }
}

pub fn item<A: Backend>(vector: &Json) -> Result<()> {
    let place = Place::of(vector);
    let stored = vector["stored"].as_object().unwrap();
    match str_at(vector, "op") {
        "seal-open" => {
            assert_eq!(&sealed::<A>(&place, vector)?, stored, "{}", vector["id"]);
            assert_eq!(Json::Object(place.open_item::<A>(stored)?), vector["value"], "{}", vector["id"]);
            Ok(())
        }
        "open" => place.open_item::<A>(stored).map(drop),
        _ => unknown(vector),
    }
}

fn sealed<A: Backend>(place: &Place, vector: &Json) -> Result<Map<String, Json>> {
    let mut stored = vector["clear"].as_object().unwrap().clone();
    let clear = clear_fields(&stored);
    let mut apart = Vec::new();
    for (name, payload) in vector["apart"].as_object().unwrap() {
        let salt = unhex(vector["salts"][name].as_str().unwrap()).try_into().unwrap();
        apart.push((name.as_str(), place.seal::<A>(payload.as_str().unwrap().as_bytes(), &place.at(name), &salt)?));
    }
    let borrowed: Vec<_> = apart.iter().map(|(name, envelope)| (*name, envelope.as_str())).collect();
    let whole = manifest::payload(&clear, None, true, &commitments(&borrowed)?, str_at(vector, "rest").as_bytes())?;
    stored.insert(SEALED_KEY.to_owned(), place.seal::<A>(&whole, &place.item, &array_at(vector, "salt"))?.into());
    stored.extend(apart.into_iter().map(|(name, envelope)| (name.to_owned(), envelope.into())));
    Ok(stored)
}

/// `M` of SPEC section 7.3.
fn clear_fields(clear: &Map<String, Json>) -> Vec<u8> {
    tree::cbor(&Json::Array(vec![Json::Object(clear.clone())])).unwrap()
}

fn commitments<'a>(apart: &[(&'a str, &str)]) -> Result<Vec<manifest::Channel<'a>>> {
    let commitment = |sealed: &str| Ok(Envelope::parse(&text::decode(sealed, Kind::Data)?, Kind::Data)?.short_commitment());
    apart.iter().map(|(name, sealed)| Ok((*name, Some(commitment(sealed)?)))).collect()
}

fn json(payload: &[u8]) -> Result<Json> {
    serde_json::from_slice(payload).map_err(|_| MALFORMED)
}

//! The bodies of the fuzz targets. `core/tests/corpus.rs` includes this file and replays the corpus as plain tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs, reason = "a target fails by panicking")]

use sealpoint_core::backend::{Aead, AwsLc, RustCrypto};
use sealpoint_core::cbor::{Entries, Writer};
use sealpoint_core::envelope::{Envelope, Kind};
use sealpoint_core::{
    Context, Dek, DekPurpose, DekRecord, Error, ErrorCode, Padding, Result, Secret, Value, export_key, hazmat, import_key, manifest, text,
};

/// The vectors' main key (tests/vectors/README.md): their envelopes open here.
const DEK: [u8; 32] =
    *b"\xd6\x39\xe1\x81\x50\x65\xa2\x95\xe9\x3a\xde\x13\x16\x90\x34\x70\x6b\x0d\x8f\x0e\x61\x75\xf7\x6b\x25\x1e\xf4\xc4\x5c\x11\xae\xd7";
const DEK_ID: [u8; 16] = *b"\xdb\x83\xe8\xa0\xf4\xc7\xd5\xbb\x92\xab\xad\xf3\x79\xe9\xe1\xf1";
const SALT: [u8; 24] = [0x5A; 24];

fn dek() -> Dek {
    let mut info = b"sealpoint/v1/key-check\0\x01\x01".to_vec();
    info.extend(DEK_ID);
    info.extend([0, 0, 0, 1, 0, 4]);
    info.extend(b"acme");
    let mut key_check = [0; 32];
    hazmat::expand(&DEK, &info, &mut key_check).unwrap();
    let record = DekRecord { dek_id: DEK_ID, tenant: "acme".into(), purpose: DekPurpose::Data, suite: 1, version: 1 };
    Dek::from_secret(&Secret::from_slice(&DEK).unwrap(), record, &key_check).unwrap()
}

fn note() -> Context {
    Context::new(&[("tenant", Value::Text("acme")), ("purpose", Value::Text("app.note")), ("note", Value::Text("n-1"))]).unwrap()
}

fn one_of(error: &Error, allowed: &[ErrorCode]) {
    assert!(allowed.contains(&error.code()), "{error}");
}

const PARSE: [ErrorCode; 5] =
    [ErrorCode::PlaintextRefused, ErrorCode::Malformed, ErrorCode::UnsupportedVersion, ErrorCode::UnsupportedSuite, ErrorCode::UnsupportedEncoding];

/// Parsing answers in the order of SPEC section 8, which is written down here once more.
pub fn parse_envelope(data: &[u8]) {
    for (kind, byte, encodings) in [(Kind::Data, 0x53, 1), (Kind::WrappedKey, 0x57, 0)] {
        let expected = match data {
            [0xC1, rest @ ..] => match rest {
                [kind, ..] if *kind != byte => Err(ErrorCode::Malformed),
                [_, version, ..] if *version != 1 => Err(ErrorCode::UnsupportedVersion),
                [_, _, suite, ..] if *suite != 1 => Err(ErrorCode::UnsupportedSuite),
                [_, _, _, encoding, ..] if *encoding > encodings => Err(ErrorCode::UnsupportedEncoding),
                _ if data.len() < 93 || (data.len() - 77) % 16_400 < 16 => Err(ErrorCode::Malformed),
                _ if kind == Kind::WrappedKey && data.len() != 125 => Err(ErrorCode::Malformed),
                _ => Ok(()),
            },
            _ if data.starts_with(b"sealpoint:") || data.starts_with(b"sealpoint-") => Err(ErrorCode::Malformed),
            _ => Err(ErrorCode::PlaintextRefused),
        };
        let parsed = Envelope::parse(data, kind);
        assert_eq!(parsed.as_ref().map(|_| ()).map_err(Error::code), expected);
        if let Ok(envelope) = parsed {
            assert_eq!((&envelope.key_id()[..], &envelope.short_commitment()[..]), (&data[5..21], &data[45..61]));
            assert!(text::is_sealed(data));
            assert_eq!(text::decode(&text::encode(data, kind), kind).as_deref(), Ok(data));
        }
    }
    let sealed = data.first() == Some(&0xC1) || data.starts_with(b"sealpoint:") || data.starts_with(b"sealpoint-");
    assert_eq!(text::is_sealed(data), sealed);
}

/// Canonical bytes are the only bytes of their context: what parses is encoded to itself from its pairs in any order, and so is what is built.
pub fn context(data: &[u8]) {
    let allowed = [ErrorCode::InvalidContext, ErrorCode::TenantRequired];
    match Context::from_canonical(data) {
        Ok(context) => {
            assert_eq!(context.canonical(), data);
            // A typed version cannot be given as text: it would get `s:` in front of it.
            let pairs: Vec<(&str, Value<'_>)> =
                context.iter().filter(|(key, _)| *key != "version").map(|(key, value)| (key, Value::Text(value))).collect();
            if pairs.len() == context.iter().count() {
                let reversed: Vec<_> = pairs.iter().rev().copied().collect();
                assert_eq!(Context::new(&reversed).unwrap(), context);
            }
        }
        Err(error) => one_of(&error, &allowed),
    }
    let mut pairs = vec![("tenant", Value::Text("acme")), ("purpose", Value::Text("app.note"))];
    pairs.extend(data.split(|byte| *byte == b'\n').take(40).filter_map(pair));
    let half = pairs.len() / 2 + 1;
    match Context::new(&pairs) {
        Ok(context) => {
            assert_eq!(Context::from_canonical(context.canonical()).as_ref(), Ok(&context));
            assert!((2..=32).contains(&context.iter().count()) && context.canonical().len() <= 65_536);
            assert_eq!(Context::new(&pairs[..half.min(pairs.len())]).and_then(|front| front.extend(&pairs[half.min(pairs.len())..])), Ok(context));
        }
        Err(error) => one_of(&error, &allowed),
    }
}

/// `key kind value`, the kind one byte.
fn pair(line: &[u8]) -> Option<(&str, Value<'_>)> {
    let line = std::str::from_utf8(line).ok()?;
    let (key, rest) = line.split_once(' ')?;
    let (kind, value) = rest.split_once(' ').unwrap_or((rest, ""));
    Some((
        key,
        match kind {
            "i" => Value::Int(value.parse().ok()?),
            "f" => Value::Float(value.parse().ok()?),
            _ => Value::Text(value),
        },
    ))
}

/// A record that opens is the one that the builder makes of its parts; what the builder makes opens, and not with anything changed.
pub fn manifest(data: &[u8]) {
    let allowed = [ErrorCode::Malformed, ErrorCode::UnsupportedVersion, ErrorCode::AuthenticationFailed, ErrorCode::LimitExceeded];
    for channels in [&[][..], &[("a", None)], &[("a", Some([1; 16])), ("b", None)]] {
        if let Err(error) = manifest::open(data, b"\x80", None, channels) {
            one_of(&error, &allowed);
        } else {
            let exact = data[6] == 0xF5;
            let built = manifest::payload(b"\x80", None, exact, channels, &[]).unwrap();
            // Whose record lists all of the channels with their commitments and has no parent is the builder's byte for byte.
            assert_eq!(data.starts_with(&built), data.len() >= built.len() && data[..built.len()] == built);
        }
    }
    let Some((&flags, rest)) = data.split_first() else { return };
    let names: Vec<String> = rest.chunks(5).take(40).map(|chunk| String::from_utf8_lossy(chunk).into_owned()).collect();
    let channels: Vec<manifest::Channel<'_>> =
        names.iter().enumerate().map(|(index, name)| (name.as_str(), (index % 3 > 0).then(|| [u8::try_from(index).unwrap(); 16]))).collect();
    let fields = fields(flags, &names).unwrap_or_else(|_| vec![0x80]);
    let parent = (flags & 1 > 0).then_some("parent");
    match manifest::payload(&fields, parent, flags & 2 > 0, &channels, rest) {
        Ok(payload) => {
            let verified = Ok(manifest::Verified { metadata: rest, parent });
            assert_eq!(manifest::open(&payload, &fields, parent, &channels), verified);
            assert_eq!(manifest::open(&payload, &fields, None, &channels), verified, "pruning takes the parent away");
            assert!(manifest::open(&payload, &fields, Some("another"), &channels).is_err());
            assert!(manifest::open(&payload, &[&fields[..], b"\0"].concat(), parent, &channels).is_err());
            assert!(channels.is_empty() || manifest::open(&payload, &fields, parent, &channels[1..]).is_err());
            let more = [&channels[..], &[("one more than fits five bytes", None)]].concat();
            assert_eq!(manifest::open(&payload, &fields, parent, &more).is_err(), flags & 2 > 0, "only an exact record forbids a channel more");
        }
        Err(error) => one_of(&error, &[ErrorCode::InvalidArgument]),
    }
}

/// Maps come out in one order, whatever the order they are written in.
fn fields(flags: u8, names: &[String]) -> Result<Vec<u8>> {
    let write = |names: Vec<&String>| {
        let mut writer = Writer::new();
        writer.map(names.len(), |entries: &mut Entries<'_>| {
            names.iter().try_for_each(|name| {
                entries.entry(name, |writer| match name.len() % 4 {
                    0 => writer.float(f64::from(flags) / 3.0 + name.len() as f64),
                    1 => writer.int(-i128::from(flags) << 20),
                    2 => writer.array(1, |writer| {
                        writer.text(name);
                        Ok(())
                    }),
                    _ => {
                        writer.null();
                        Ok(())
                    }
                })
            })
        })?;
        writer.finish()
    };
    let forward = write(names.iter().collect());
    assert_eq!(forward, write(names.iter().rev().collect()));
    forward
}

/// What opens is what sealing makes of it with its salt; and a changed envelope never opens.
pub fn open(data: &[u8]) {
    let dek = dek();
    match dek.open(data, &note()) {
        Ok(opened) => {
            let padding = if data[4] == 0 { Padding::None } else { Padding::Bucket };
            let salt = data[21..45].try_into().unwrap();
            let sealed = dek.seal_with_salt::<RustCrypto>(&opened.payload, &opened.content_type, padding, &note(), salt);
            assert_eq!(sealed.as_deref(), Ok(data));
        }
        Err(error) => one_of(&error, &[&PARSE[..], &[ErrorCode::KeyNotFound, ErrorCode::AuthenticationFailed]].concat()),
    }
    // The same bytes as changes to a valid envelope: (where, what) after (flags, length).
    let [flags, len @ .., _] = data else { return };
    let Some((len, changes)) = len.split_first_chunk::<2>() else { return };
    let padding = if flags & 1 == 0 { Padding::None } else { Padding::Bucket };
    let payload = vec![*flags; usize::from(u16::from_be_bytes(*len))];
    let valid = dek.seal_with_salt::<AwsLc>(&payload, "bytes", padding, &note(), &SALT).unwrap();
    assert_eq!(dek.open(&valid, &note()).map(|opened| opened.payload), Ok(payload));
    let mut changed = valid.clone();
    for change in changes.chunks_exact(3) {
        let at = usize::from(u16::from_be_bytes([change[0], change[1]])) % changed.len();
        changed[at] ^= change[2];
    }
    if flags & 2 > 0 {
        changed.truncate(changed.len() - changes.len().min(changed.len()));
    }
    assert_eq!(dek.open(&changed, &note()).is_ok(), changed == valid);
}

/// A text that decodes is the one text of its bytes.
pub fn text(data: &[u8]) {
    exported_key(&text::encode(data, Kind::Data).replace("sealpoint:", "sealpoint-key:"));
    let Ok(input) = std::str::from_utf8(data) else { return };
    exported_key(input);
    for (kind, own) in [(Kind::Data, "sealpoint:v1:"), (Kind::WrappedKey, "sealpoint-wrap:v1:")] {
        match text::decode(input, kind) {
            Ok(bytes) => {
                assert!(bytes[0] == 0xC1 && text::encode(&bytes, kind) == input);
                let last = input.len() - 1;
                for other in (b'A'..=b'z').map(char::from).filter(|other| !input.ends_with(*other)) {
                    let changed = format!("{}{other}", &input[..last]);
                    assert_ne!(text::decode(&changed, kind).as_ref(), Ok(&bytes), "two texts of one envelope");
                }
                ["=", "\n", " ", "A"].iter().for_each(|more| assert_ne!(text::decode(&format!("{input}{more}"), kind).as_ref(), Ok(&bytes)));
            }
            Err(error) => {
                one_of(&error, &[ErrorCode::PlaintextRefused, ErrorCode::UnsupportedVersion, ErrorCode::Malformed]);
                let sealed = input.starts_with("sealpoint:") || input.starts_with("sealpoint-");
                assert_eq!(error.code() == ErrorCode::PlaintextRefused, !sealed, "what has the prefix never passes as plaintext");
                assert!(!input.starts_with(own) || error.code() == ErrorCode::Malformed);
            }
        }
    }
}

/// A key that is imported has one text, which exporting it makes again.
fn exported_key(input: &str) {
    match import_key(input) {
        Ok(dek) => {
            // The text without its prefix is as good as that of an envelope.
            let bytes = text::decode(&input.replace("sealpoint-key:", "sealpoint:"), Kind::Data).unwrap();
            assert_eq!(dek.record().purpose, DekPurpose::Client);
            assert_eq!(*export_key(&Secret::from_slice(&bytes[25..57]).unwrap(), dek.record()).unwrap(), input);
        }
        Err(error) => {
            one_of(&error, &[&PARSE[..4], &[ErrorCode::AuthenticationFailed]].concat());
            let sealed = input.starts_with("sealpoint:") || input.starts_with("sealpoint-");
            assert_eq!(error.code() == ErrorCode::PlaintextRefused, !sealed, "what has the prefix never passes as plaintext");
        }
    }
}

/// The backends make the same bytes and open, or refuse, the same bytes.
pub fn differential(data: &[u8]) {
    let dek = dek();
    assert_eq!(open_with::<RustCrypto>(&dek, data), open_with::<AwsLc>(&dek, data));
    let (front, rest) = data.split_at(data.len().min(36));
    let mut fixed = [0; 36];
    fixed[..front.len()].copy_from_slice(front);
    let (key, nonce): ([u8; 32], [u8; 12]) = ([fixed[0]; 32], fixed[24..].try_into().unwrap());
    let salt: [u8; 24] = fixed[..24].try_into().unwrap();
    // Up to three chunks out of few bytes.
    let payload = rest.repeat(1 + usize::from(fixed[35]) * 2);
    let payload = &payload[..payload.len().min(40_000)];
    for padding in [Padding::None, Padding::Bucket] {
        let sealed = dek.seal_with_salt::<RustCrypto>(payload, "bytes", padding, &note(), &salt).unwrap();
        assert_eq!(dek.seal_with_salt::<AwsLc>(payload, "bytes", padding, &note(), &salt).as_ref(), Ok(&sealed));
        let opened = open_with::<RustCrypto>(&dek, &sealed);
        assert_eq!((opened.as_ref(), open_with::<AwsLc>(&dek, &sealed)), (Ok(&("bytes".into(), payload.to_vec())), opened.clone()));
    }
    let sealed = hazmat::chunked_seal::<RustCrypto>(&key, &salt, rest, payload).unwrap();
    assert_eq!(hazmat::chunked_seal::<AwsLc>(&key, &salt, rest, payload).as_ref(), Ok(&sealed));
    assert_eq!(hazmat::chunked_open::<AwsLc>(&key, rest, &sealed).as_deref(), Ok(payload));
    assert_eq!(hazmat::chunked_open::<RustCrypto>(&key, rest, &sealed).as_deref(), Ok(payload));
    aead(&key, &nonce, payload);
}

fn open_with<A: Aead>(dek: &Dek, bytes: &[u8]) -> Result<(String, Vec<u8>)> {
    let mut payload = Vec::new();
    let content_type = dek.open_with::<A, _>(&Envelope::parse(bytes, Kind::Data)?, &note(), |len| {
        payload.resize(len, 0);
        Ok(&mut payload)
    })?;
    Ok((content_type, payload))
}

fn aead(key: &[u8; 32], nonce: &[u8; 12], input: &[u8]) {
    let (portable, native) = (RustCrypto::new(key).unwrap(), AwsLc::new(key).unwrap());
    let (mut one, mut other) = (vec![0; input.len()], input.to_vec());
    let tag = portable.seal(nonce, input, &mut one).unwrap();
    assert_eq!((native.seal_in_place(nonce, &mut other), &other), (Ok(tag), &one));
    let mut opened = vec![0; input.len()];
    assert_eq!((portable.open(nonce, &one, &tag, &mut opened), &opened[..]), (Ok(()), input));
    opened.fill(0);
    assert_eq!((native.open(nonce, &one, &tag, &mut opened), &opened[..]), (Ok(()), input));
    let mut wrong = tag;
    wrong[usize::from(nonce[0] % 16)] ^= 1;
    assert!(portable.open(nonce, &one, &wrong, &mut opened).is_err() && native.open(nonce, &one, &wrong, &mut opened).is_err());
}

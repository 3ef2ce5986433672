//! After a key was used and dropped, nothing of it is left in the process's memory.
//!
//! A second process works out what to look for and prints it masked, so that this one never holds the derived keys outside the core.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs,
    reason = "a test fails by panicking and prints what it found"
)]

#[cfg(target_os = "linux")]
mod common;

#[cfg(not(target_os = "linux"))]
#[test]
fn nothing_of_a_key_stays_in_memory() {
    println!("skipped: only Linux has /proc/self/mem");
}

#[cfg(target_os = "linux")]
mod linux {
    use std::process::Command;
    use std::sync::Arc;

    use sealpoint_core::envelope::{Envelope, Kind};
    use sealpoint_core::{
        CacheConfig, Context, Dek, DekCache, DekPurpose, DekRecord, Kek, Padding, Salts, Secret, Timestamp, Value, export_key, hazmat, import_key,
        wrap_context,
    };
    use sha2::{Digest as _, Sha256};
    use zeroize::{Zeroize as _, Zeroizing};

    use crate::common::memory::{Masked, Scanner};
    use crate::common::{self, Backend};
    use crate::on_each_backend;

    const TENANT: &str = "acme";
    const DEK_ID: [u8; 16] = [7; 16];
    const ENVELOPE: &str = "SEALPOINT_TEST_ENVELOPE";
    const NOW: Timestamp = Timestamp { monotonic_ms: 0, wall_ms: 0 };

    /// The masked bytes of a key: what the digest is XORed with gives the key, which is written down nowhere.
    fn masked_key(name: &str) -> Masked {
        Masked::already(Sha256::digest(name).to_vec())
    }

    fn with_key<T>(name: &str, act: impl FnOnce(&[u8]) -> T) -> T {
        let mut key = Zeroizing::new(vec![0; 32]);
        masked_key(name).reveal(&mut key);
        act(&key)
    }

    fn record() -> DekRecord {
        DekRecord { dek_id: DEK_ID, tenant: TENANT.into(), purpose: DekPurpose::Data, suite: 1, version: 1 }
    }

    fn context() -> Context {
        Context::new(&[("tenant", Value::Text(TENANT)), ("purpose", Value::Text("app.note"))]).unwrap()
    }

    /// The two SHA-512 states that an HMAC keeps of its key.
    fn hmac_states(key: &[u8]) -> [Vec<u8>; 2] {
        [0x36, 0x5C].map(|pad| {
            let mut block = [pad; 128];
            block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
            let mut state = SHA_512;
            sha2::block_api::compress512(&mut state, &[block]);
            state.iter().flat_map(|word| word.to_ne_bytes()).collect()
        })
    }

    /// FIPS 180-4, section 5.3.5.
    const SHA_512: [u64; 8] = [
        0x6A09_E667_F3BC_C908,
        0xBB67_AE85_84CA_A73B,
        0x3C6E_F372_FE94_F82B,
        0xA54F_F53A_5F1D_36F1,
        0x510E_527F_ADE6_82D1,
        0x9B05_688C_2B3E_6C1F,
        0x1F83_D9AB_FB41_BD6B,
        0x5BE0_CD19_137E_2179,
    ];

    /// The second process: prints `needle NAME MASKED`.
    #[test]
    #[ignore = "started by the test below"]
    fn print_needles() {
        let Ok(envelope) = std::env::var(ENVELOPE) else { return };
        let print = |name: &str, bytes: &[u8]| println!("\nneedle {name} {}", common::hex(Masked::hide(bytes).masked()));
        let print_key = |name: &str, key: &[u8]| {
            print(name, key);
            print(&format!("{name}^ipad"), &key.iter().map(|byte| byte ^ 0x36).collect::<Vec<_>>());
            print(&format!("{name}^opad"), &key.iter().map(|byte| byte ^ 0x5C).collect::<Vec<_>>());
            let [inner, outer] = hmac_states(key);
            print(&format!("{name}.inner-state"), &inner);
            print(&format!("{name}.outer-state"), &outer);
        };
        let secret = |name| with_key(name, common::secret);
        print_key("DEK", secret("dek").expose());
        print_key("KEK", secret("kek").expose());
        let kek_text = data_encoding::BASE64URL_NOPAD.encode(secret("kek").expose());
        // Its second half: allocators and readers overwrite a beginning.
        print("KEK-text", &kek_text.as_bytes()[22..]);
        let body = hazmat::body_key(&secret("dek"), 1, DekPurpose::Data, &DEK_ID).unwrap();
        print_key("K_body", body.expose());
        print_key("K_body-client", hazmat::body_key(&secret("dek"), 1, DekPurpose::Client, &DEK_ID).unwrap().expose());
        // What an exported key has of the DEK: it begins at byte 25, and three bytes are four characters.
        print("DEK-text", data_encoding::BASE64URL_NOPAD.encode(&secret("dek").expose()[2..29]).as_bytes());
        print_key("K_wrap", hazmat::wrap_key(&secret("kek")).unwrap().expose());
        if !envelope.is_empty() {
            let envelope = common::unhex(&envelope);
            let (header, salt) = (envelope[..21].try_into().unwrap(), envelope[21..45].try_into().unwrap());
            let keys = hazmat::stream_keys(body.expose(), salt, &hazmat::context_hash(header, &context())).unwrap();
            print("K", &keys[..32]);
        }
        let key_check = common::key_check(secret("dek").expose(), &DEK_ID, TENANT, DekPurpose::Data, 1);
        println!("\npublic key_check {}", common::hex(&key_check));
    }

    fn second_process(envelope: &[u8]) -> (Vec<(String, Masked)>, Vec<u8>) {
        let run = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "linux::print_needles", "--ignored", "--nocapture", "--test-threads=1"])
            .env(ENVELOPE, common::hex(envelope))
            .output()
            .unwrap();
        let output = String::from_utf8(run.stdout).unwrap();
        let words: Vec<Vec<&str>> = output.lines().map(|line| line.split(' ').collect()).collect();
        let needles = words.iter().filter(|words| words[0] == "needle");
        let needles = needles.map(|words| (words[1].to_owned(), Masked::already(common::unhex(words[2])))).collect();
        let key_check = words.iter().find(|words| words[0] == "public").expect("the second process ran");
        (needles, common::unhex(key_check[2]))
    }

    #[test]
    fn nothing_of_a_key_stays_in_memory() {
        on_each_backend!(scan());
    }

    /// As a binding seals several payloads: the salts are drawn and dropped in one function. So deep in the stack that nothing afterwards overwrites by
    /// chance what is left there.
    #[inline(never)]
    fn seal_at_once(dek: &Dek, payload: &[u8], out: &mut [u8]) {
        let mut above = [0_u8; 65_536];
        std::hint::black_box(&mut above);
        let mut salts = Salts::draw(1).unwrap();
        dek.seal_next_into(&mut salts, payload, "bytes", Padding::None, &context(), out).unwrap();
    }

    fn scan<A: Backend>() {
        let (needles, key_check) = second_process(&[]);
        let named = |needles: &[(String, Masked)], scanner: &mut Scanner| {
            scanner.find(&needles.iter().map(|(name, needle)| (name.as_str(), needle.clone())).collect::<Vec<_>>())
        };
        let mut scanner = Scanner::new();

        // A KEK as text, as an environment variable gives it.
        let mut text = with_key("kek", |key| {
            let mut text = String::with_capacity(43);
            data_encoding::BASE64URL_NOPAD.encode_append(key, &mut text);
            text
        });
        let kek = Kek::from_text(&text).unwrap();
        text.zeroize();
        let secret = with_key("dek", |key| Secret::from_slice(key).unwrap());
        let wrapped = kek.wrap(&secret, &wrap_context(TENANT, &DEK_ID, DekPurpose::Data, 1).unwrap()).unwrap();
        let alive = named(&needles, &mut scanner);
        let hits = |found: &[(String, Vec<String>)], name: &str| found.iter().find(|(found, _)| found == name).unwrap().1.len();
        assert!(hits(&alive, "DEK") >= 1 && hits(&alive, "K_wrap.inner-state") >= 1, "the search does not find what is there: {alive:?}");

        // Exported, imported, and refused with the whole DEK in it: in its last character, and in what is left of it.
        let text = export_key(&secret, &DekRecord { purpose: DekPurpose::Client, ..record() }).unwrap();
        drop(secret);
        let imported = import_key(&text).unwrap();
        let alive = named(&needles, &mut scanner);
        assert!(hits(&alive, "DEK-text") >= 1 && hits(&alive, "K_body-client.inner-state") >= 1, "the search does not find what is there: {alive:?}");
        let last = text.len() - 1;
        for bad in [&text[..last], &text[..100]] {
            assert!(import_key(bad).is_err());
        }
        let mut damaged = Zeroizing::new(String::with_capacity(text.len()));
        damaged.push_str(&text[..last]);
        damaged.push('*');
        assert!(import_key(&damaged).is_err());
        drop((text, damaged, imported));

        // What a keyring does: unwrap, compare, hold, use, let go.
        let opened = kek.unwrap_with::<A>(&wrapped, &wrap_context(TENANT, &DEK_ID, DekPurpose::Data, 1).unwrap()).unwrap();
        let dek = Arc::new(Dek::from_secret(&opened, record(), &key_check).unwrap());
        drop(opened);
        let mut cache = DekCache::new(CacheConfig { ttl_ms: 1000, pointer_ttl_ms: 1000, capacity: 2 }).unwrap();
        cache.insert(dek, false, NOW);
        let dek = cache.get(&DEK_ID, NOW).unwrap();
        let payload = common::pattern(40_000);
        let mut sealed = vec![0; sealpoint_core::envelope::sealed_len(payload.len(), 5, Padding::None).unwrap()];
        dek.seal_with::<A>(&payload, "bytes", Padding::None, &context(), &mut sealed).unwrap();
        let mut out = Vec::new();
        let parsed = Envelope::parse(&sealed, Kind::Data).unwrap();
        dek.open_with::<A, _>(&parsed, &context(), |len| {
            out.resize(len, 0);
            Ok(&mut out)
        })
        .unwrap();
        assert_eq!(out, payload);
        let mut sealed_at_once = vec![0; sealed.len()];
        seal_at_once(&dek, &payload, &mut sealed_at_once);
        drop(dek);
        let held = named(&needles, &mut scanner);
        assert!(hits(&held, "K_body.inner-state") >= 1, "a held DEK must be found: {held:?}");
        for name in ["DEK", "KEK", "K_body", "K_wrap"] {
            assert_eq!(hits(&held, name), 0, "{}: the key itself is not kept while its derived state is: {held:?}", A::NAME);
        }
        assert!(cache.evict(&DEK_ID));
        drop(kek);

        for envelope in [&sealed, &sealed_at_once] {
            let (needles, _) = second_process(envelope);
            let left: Vec<_> = named(&needles, &mut scanner).into_iter().filter(|(_, places)| !places.is_empty()).collect();
            println!("{}: looked for {} secrets, left: {left:?}", A::NAME, needles.len());
            assert!(left.is_empty(), "{}: left in memory: {left:?}", A::NAME);
        }
    }
}

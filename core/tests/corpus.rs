//! The fuzz targets' seeds, replayed as plain tests.
#![cfg(feature = "native")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs,
    reason = "a test fails by panicking and prints what it counted"
)]

#[allow(clippy::cast_precision_loss, reason = "the file is the fuzz crate's")]
#[path = "../../tests/fuzz/src/lib.rs"]
mod targets;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

type Target = fn(&[u8]);

const TARGETS: [(&str, Target); 6] = [
    ("context", targets::context),
    ("differential", targets::differential),
    ("manifest", targets::manifest),
    ("open", targets::open),
    ("parse_envelope", targets::parse_envelope),
    ("text", targets::text),
];

#[test]
fn every_seed_of_every_target() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus");
    let there: BTreeSet<String> = fs::read_dir(&corpus).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(there, TARGETS.map(|(name, _)| name.to_owned()).into(), "the corpora against the targets");
    for (name, target) in TARGETS {
        let seeds: Vec<_> = fs::read_dir(corpus.join(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(seeds.len() >= 10, "{name} has {} seeds", seeds.len());
        seeds.iter().for_each(|seed| target(&fs::read(seed).unwrap()));
        println!("{name}: {} seeds", seeds.len());
    }
}

/// Short inputs that a corpus does not list: every length up to a few hundred bytes, with each interesting beginning.
#[test]
fn every_short_length_of_every_target() {
    for start in [
        &[][..],
        b"\xC1\x53\x01\x01\x00",
        b"\xC1\x53\x01\x01\x01",
        b"\xC1\x57\x01\x01\x00",
        b"sealpoint:v1:",
        b"sealpoint-wrap:v1:",
        b"\0\x02",
        b"\0\0\0\x29\x85\x01",
    ] {
        for len in 0..260 {
            let input = [start, &vec![0x41; len]].concat();
            TARGETS.iter().for_each(|(_, target)| target(&input));
        }
    }
}

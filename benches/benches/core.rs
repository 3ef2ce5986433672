//! The core against bare AES-256-GCM of the same backend and against memcpy. Writes benches/results/core.json and prints the ratios.
//! `cargo bench -p sealpoint-benches`
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    missing_docs,
    reason = "a bench stops at the first surprise and prints what it measured"
)]

use std::collections::BTreeMap;
use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use criterion::{BenchmarkId, Criterion, Throughput};
use sealpoint_core::backend::{Aead, AwsLc, RustCrypto};
use sealpoint_core::cbor::Writer;
use sealpoint_core::envelope::{Envelope, Kind, sealed_len};
use sealpoint_core::{CacheConfig, Context, Dek, DekCache, DekPurpose, Error, Padding, Timestamp, Value, manifest};
use serde_json::{Value as Json, json};

const SIZES: [usize; 6] = [64, 1 << 10, 16 << 10, 100 << 10, 1 << 20, 16 << 20];
const NOW: Timestamp = Timestamp { monotonic_ms: 0, wall_ms: 0 };

fn main() {
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("../criterion");
    let since = SystemTime::now();
    let mut criterion = Criterion::default()
        .output_directory(&target)
        .without_plots()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(900))
        .configure_from_args();
    memcpy(&mut criterion);
    backend::<RustCrypto>(&mut criterion, "rustcrypto");
    backend::<AwsLc>(&mut criterion, "aws-lc");
    contexts(&mut criterion);
    manifests(&mut criterion);
    cache(&mut criterion);
    criterion.final_summary();
    summary(&target, since);
}

fn payload(len: usize) -> Vec<u8> {
    (0..251_u8).cycle().take(len).collect()
}

/// The position of a channel's value, as LangGraph's wrapper seals it.
fn position() -> Context {
    let base = [
        ("tenant", Value::Text("acme")),
        ("purpose", Value::Text("langgraph.channel")),
        ("thread", Value::Text("4f1c2d3e-0000-6000")),
        ("ns", Value::Text("")),
    ];
    Context::new(&base).unwrap().extend(&[("channel", Value::Text("messages")), ("version", Value::Text("00000003.0.25"))]).unwrap()
}

fn memcpy(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("memcpy");
    for len in SIZES {
        let (from, mut to) = (payload(len), vec![0; len]);
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(BenchmarkId::from_parameter(len), |bencher| bencher.iter(|| to.copy_from_slice(black_box(&from))));
    }
}

fn backend<A: Aead>(criterion: &mut Criterion, name: &str) {
    let (dek, _) = Dek::generate("acme", DekPurpose::Data, 1).unwrap();
    let context = position();
    let cipher = A::new(&[7; 32]).unwrap();
    let mut group = criterion.benchmark_group(name);
    for len in SIZES {
        group.throughput(Throughput::Bytes(len as u64));
        let from = payload(len);
        let mut bare = vec![0; len];
        let mut nonce = [0; 12];
        group.bench_function(BenchmarkId::new("bare-seal", len), |bencher| {
            bencher.iter(|| {
                getrandom::fill(&mut nonce).unwrap();
                cipher.seal(&nonce, black_box(&from), &mut bare).unwrap()
            });
        });
        let tag = cipher.seal(&nonce, &from, &mut bare).unwrap();
        let mut out = vec![0; len];
        group.bench_function(BenchmarkId::new("bare-open", len), |bencher| {
            bencher.iter(|| cipher.open(&nonce, black_box(&bare), &tag, &mut out).unwrap());
        });
        let mut sealed = vec![0; sealed_len(len, 7, Padding::None).unwrap()];
        group.bench_function(BenchmarkId::new("seal", len), |bencher| {
            bencher.iter(|| dek.seal_with::<A>(black_box(&from), "msgpack", Padding::None, &context, &mut sealed).unwrap());
        });
        group.bench_function(BenchmarkId::new("open", len), |bencher| {
            bencher.iter(|| {
                let envelope = Envelope::parse(black_box(&sealed), Kind::Data).unwrap();
                dek.open_with::<A, _>(&envelope, &context, |_| Ok(&mut out)).unwrap()
            });
        });
        assert_eq!(out, from);
    }
}

fn contexts(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("context");
    let base = Context::new(&[
        ("tenant", Value::Text("acme")),
        ("purpose", Value::Text("langgraph.channel")),
        ("thread", Value::Text("t-1")),
        ("ns", Value::Text("")),
    ])
    .unwrap();
    group.bench_function("new-6-pairs", |bencher| bencher.iter(|| black_box(position())));
    group.bench_function("extend-2-pairs", |bencher| {
        bencher.iter(|| base.extend(black_box(&[("channel", Value::Text("messages")), ("version", Value::Int(3))])).unwrap());
    });
    let canonical = position();
    group.bench_function("from-canonical", |bencher| bencher.iter(|| Context::from_canonical(black_box(canonical.canonical())).unwrap()));
}

/// `M` of a graph: each node has a channel of its own and has seen two.
fn fields(nodes: &[String]) -> Result<Vec<u8>, Error> {
    let version = |writer: &mut Writer| {
        writer.text("00000000000000000000000000000003.0.2505163459");
        Ok::<(), Error>(())
    };
    let mut writer = Writer::new();
    writer.array(7, |writer| {
        writer.int(4)?;
        writer.text("1f0c1d6e-0000-6000-8000-000000000003");
        writer.text("2026-01-02T03:04:05.678901+00:00");
        writer.map(nodes.len(), |map| nodes.iter().try_for_each(|name| map.entry(name, version)))?;
        writer.map(nodes.len(), |map| {
            nodes.iter().try_for_each(|name| {
                map.entry(name, |writer| {
                    writer.map(2, |seen| {
                        [&nodes[0], name].iter().enumerate().try_for_each(|(index, name)| seen.entry(&format!("{index}{name}"), version))
                    })
                })
            })
        })?;
        writer.null();
        writer.map(1, |map| map.entry("source", version))
    })?;
    writer.finish()
}

fn manifests(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("manifest");
    for nodes in [10, 50, 200] {
        let names: Vec<String> = (0..nodes).map(|node| format!("branch:to:node_{node}")).collect();
        let channels: Vec<manifest::Channel<'_>> = names.iter().map(|name| (name.as_str(), Some([7; 16]))).collect();
        group.bench_function(BenchmarkId::new("seal", nodes), |bencher| {
            bencher.iter(|| manifest::payload(&fields(black_box(&names)).unwrap(), Some("parent"), true, &channels, b"metadata").unwrap());
        });
        let payload = manifest::payload(&fields(&names).unwrap(), Some("parent"), true, &channels, b"metadata").unwrap();
        group.bench_function(BenchmarkId::new("open", nodes), |bencher| {
            bencher.iter(|| manifest::open(&payload, &fields(black_box(&names)).unwrap(), Some("parent"), &channels).unwrap().metadata.len());
        });
    }
}

fn cache(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("cache");
    let mut cache = DekCache::new(CacheConfig { ttl_ms: 3_600_000, pointer_ttl_ms: 60_000, capacity: 1000 }).unwrap();
    let mut ids = Vec::new();
    for index in 0..1000 {
        let tenant = format!("tenant-{index}");
        let (dek, _) = Dek::generate(&tenant, DekPurpose::Data, 1).unwrap();
        let dek_id = dek.record().dek_id;
        cache.insert(Arc::new(dek), false, NOW);
        assert!(cache.set_active(&tenant, DekPurpose::Data, &dek_id, NOW));
        ids.push((tenant, dek_id));
    }
    let (tenant, dek_id) = &ids[500];
    group.bench_function("get", |bencher| bencher.iter(|| cache.get(black_box(dek_id), NOW).unwrap()));
    group.bench_function("active", |bencher| bencher.iter(|| cache.active(black_box(tenant), DekPurpose::Data, NOW).unwrap()));
}

/// Reads what criterion measured in this run and puts it side by side.
fn summary(target: &Path, since: SystemTime) {
    let mut nanoseconds = BTreeMap::new();
    read(target, target, since, &mut nanoseconds);
    if nanoseconds.is_empty() {
        return;
    }
    let get = |name: String| nanoseconds.get(&name).copied();
    let mut rows = Vec::new();
    println!(
        "\n{:<11} {:>9} | {:>10} {:>10} {:>6} | {:>10} {:>10} {:>6} | {:>9}",
        "backend", "bytes", "seal ns", "bare ns", "x", "open ns", "bare ns", "x", "memcpy ns"
    );
    for backend in ["rustcrypto", "aws-lc"] {
        for len in SIZES {
            let at = |name: &str| get(format!("{backend}/{name}/{len}"));
            let (Some(seal), Some(bare_seal), Some(open), Some(bare_open), Some(memcpy)) =
                (at("seal"), at("bare-seal"), at("open"), at("bare-open"), get(format!("memcpy/{len}")))
            else {
                continue;
            };
            let (sealing, opening) = (seal / bare_seal, open / bare_open);
            println!(
                "{backend:<11} {len:>9} | {seal:>10.0} {bare_seal:>10.0} {sealing:>6.2} | {open:>10.0} {bare_open:>10.0} {opening:>6.2} | {memcpy:>9.0}"
            );
            rows.push(json!({"backend": backend, "bytes": len, "seal_ratio": sealing, "open_ratio": opening}));
        }
    }
    for (name, value) in nanoseconds.iter().filter(|(name, _)| ["context/", "manifest/", "cache/"].iter().any(|group| name.starts_with(group))) {
        println!("{name:<32} {value:>10.0} ns");
    }
    // A run of a few benches by name is no result.
    if rows.len() == 2 * SIZES.len() {
        let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
        fs::create_dir_all(&results).unwrap();
        let result = json!({"what": "median, nanoseconds", "against_bare_aes_256_gcm": rows, "nanoseconds": nanoseconds});
        fs::write(results.join("core.json"), serde_json::to_string_pretty(&result).unwrap() + "\n").unwrap();
        println!("written: benches/results/core.json");
    }
}

fn read(target: &Path, folder: &Path, since: SystemTime, found: &mut BTreeMap<String, f64>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let estimates = path.join("new/estimates.json");
        let fresh = fs::metadata(&estimates).and_then(|file| file.modified()).is_ok_and(|written| written >= since);
        if fresh && let Ok(Json::Object(estimates)) = serde_json::from_slice(&fs::read(&estimates).unwrap()) {
            let name = path.strip_prefix(target).unwrap().to_string_lossy().into_owned();
            found.insert(name, estimates["median"]["point_estimate"].as_f64().unwrap().round());
        } else if path.is_dir() {
            read(target, &path, since, found);
        }
    }
}

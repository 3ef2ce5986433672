#!/bin/sh
# Builds the WebAssembly module into a directory: sealpoint_bg.wasm, sealpoint.js (an ES module; `initSync({ module: bytes })` starts it) and sealpoint.d.ts.
# bindings-wasm/build.sh OUTDIR
# Needs cargo and Node, and `npm ci` done in bindings-node (binaryen); no network after `cargo fetch` here and in bindings-wasm/bindgen.
set -eu
[ $# -eq 1 ] || { echo "usage: bindings-wasm/build.sh OUTDIR" >&2; exit 2; }
mkdir -p "$1"
out=$(cd "$1" && pwd)
cd "$(dirname "$0")/.."

target=wasm32-unknown-unknown
# What the npm package may add to a page: 60 KB by `gzip -9`.
limit=61440
# What every browser of today has, 128-bit vectors included: they make SHA-2 a fifth of its size.
features="--enable-bulk-memory --enable-bulk-memory-opt --enable-multivalue --enable-mutable-globals --enable-nontrapping-float-to-int
    --enable-reference-types --enable-sign-ext --enable-simd"

fail() {
    echo "bindings-wasm: $*" >&2
    exit 1
}

optimizer=bindings-node/node_modules/binaryen/bin/wasm-opt
[ -e "$optimizer" ] || fail "no $optimizer: run npm ci in bindings-node"
[ -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ] || rustup --quiet target add $target || fail "no Rust target $target, and rustup cannot add it"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
targets=${CARGO_TARGET_DIR:-target}

cargo build --quiet --locked --manifest-path bindings-wasm/bindgen/Cargo.toml --target-dir "$targets/bindgen"

# No path of this machine in what is shipped: the same source gives the same bytes elsewhere.
flags="-Ctarget-feature=+simd128"
separator=$(printf '\037')
for source in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/ "$PWD/"; do
    flags="$flags$separator--remap-path-prefix=$source="
done
CARGO_ENCODED_RUSTFLAGS=$flags cargo build --quiet --locked -p sealpoint-wasm-module --profile wasm --target $target

"$targets/bindgen/debug/sealpoint-bindgen" "$targets/$target/wasm/sealpoint_wasm_module.wasm" "$scratch"
# shellcheck disable=SC2086
node "$optimizer" -O3 --converge $features --strip-debug --strip-producers --strip-target-features "$scratch/sealpoint_bg.wasm" -o "$scratch/optimized.wasm"

size=$(gzip -9 -n -c "$scratch/optimized.wasm" | wc -c)
[ "$size" -le $limit ] || fail "sealpoint_bg.wasm has $size bytes after gzip -9, more than $limit"
mv "$scratch/optimized.wasm" "$out/sealpoint_bg.wasm"
mv "$scratch/sealpoint.js" "$scratch/sealpoint.d.ts" "$out/"
echo "bindings-wasm: $(wc -c <"$out/sealpoint_bg.wasm") bytes, $size after gzip -9"

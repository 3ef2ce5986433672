#!/bin/sh
# Builds the native module for this machine: bindings-node/build-native.sh OUTDIR
# It becomes OUTDIR/sealpoint.<platform>-<arch>[-<abi>].node, named as napi-rs names platform packages, beside its types, native.d.ts.
# Needs `npm ci`; further options go to `napi build` (`--target aarch64-unknown-linux-gnu`).
set -eu
out=$(mkdir -p "${1:?usage: build-native.sh OUTDIR}" && cd "$1" && pwd)
shift
cd "$(dirname "$0")"
exec node_modules/.bin/napi build --release --platform --no-js --dts native.d.ts --output-dir "$out" "$@" >"$out/napi.log"

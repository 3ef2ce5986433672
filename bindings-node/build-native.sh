#!/bin/sh
# Builds the native module for this machine: bindings-node/build-native.sh OUTDIR
# It becomes OUTDIR/sealpoint.<platform>-<arch>[-<abi>].node, named as napi-rs names platform packages. CARGO_BUILD_TARGET builds for another one.
set -eu
out=$(mkdir -p "${1:?usage: build-native.sh OUTDIR}" && cd "$1" && pwd)
cd "$(dirname "$0")/.."

target=${CARGO_BUILD_TARGET:-$(rustc -vV | sed -n 's/^host: //p')}
case $target in
x86_64-*) arch=x64 ;;
aarch64-*) arch=arm64 ;;
*) echo "build-native: no name for the target $target" >&2 && exit 1 ;;
esac
case $target in
*-linux-gnu) name=linux-$arch-gnu library=libsealpoint_node.so ;;
*-linux-musl) name=linux-$arch-musl library=libsealpoint_node.so ;;
*-apple-darwin) name=darwin-$arch library=libsealpoint_node.dylib ;;
*-windows-msvc) name=win32-$arch-msvc library=sealpoint_node.dll ;;
*) echo "build-native: no name for the target $target" >&2 && exit 1 ;;
esac

# Given no target, cargo builds into a directory that is shared with every other build of this machine.
cargo build --release -p sealpoint-node
built=${CARGO_TARGET_DIR:-target}${CARGO_BUILD_TARGET:+/$CARGO_BUILD_TARGET}/release/$library
# Moved, not written over: a process may have the old one loaded.
cp "$built" "$out/sealpoint.$name.node.new"
mv "$out/sealpoint.$name.node.new" "$out/sealpoint.$name.node"
echo "$out/sealpoint.$name.node"

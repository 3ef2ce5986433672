#!/bin/sh
# What of the core no unit test sees:
#   1. it builds for WebAssembly, and for a target without std or an operating system;
#   2. the feature `hazmat` is in nothing that ships: not in the bindings' dependencies, not in the built libraries that are given as arguments.
# tests/check_core.sh [LIBRARY …]
# Targets that are missing are added with rustup; where that cannot be done, their builds are skipped with a word, or fail with SEALPOINT_STRICT=1.
set -eu
cd "$(dirname "$0")/.."

fail() {
    echo "check_core: $*" >&2
    exit 1
}

# Whether there is a standard library for the target, if need be after fetching it.
have_target() {
    [ -d "$(rustc --print sysroot)/lib/rustlib/$1/lib" ] || rustup --quiet target add "$1" 2>/dev/null || {
        [ "${SEALPOINT_STRICT:-}" != 1 ] || fail "no Rust target $1, and rustup cannot add it"
        echo "   skipped: no Rust target $1, and rustup cannot add it"
        return 1
    }
}

echo "== wasm32-unknown-unknown"
if have_target wasm32-unknown-unknown; then
    cargo build --quiet -p sealpoint-core --target wasm32-unknown-unknown --features wasm
fi

echo "== thumbv7em-none-eabihf: no std, 32 bits; whoever builds for such a target brings the randomness"
if have_target thumbv7em-none-eabihf; then
    RUSTFLAGS='--cfg getrandom_backend="custom"' cargo build --quiet -p sealpoint-core --target thumbv7em-none-eabihf
fi

echo "== hazmat is in no binding"
# Other crates have features of that name.
feature='sealpoint-core feature "hazmat"'
for manifest in bindings-*/Cargo.toml; do
    # Also switched on from beside it: what is built together shares features.
    for edges in features,normal,build features,no-dev; do
        tree=$(cargo tree --quiet --manifest-path "$manifest" --edges "$edges" --target all)
        echo "$tree" | grep -q 'sealpoint-core v' || fail "$manifest does not depend on the core: is this the right place to look?"
        if echo "$tree" | grep -q "$feature"; then
            fail "$manifest switches hazmat on"
        fi
    done
done
if cargo tree --quiet --workspace --edges features,normal,build --target all | grep -q "$feature"; then
    fail "a member of the workspace switches hazmat on"
fi

# Stands in every build with the feature (core/src/secret.rs), since whatever seals can say that there is no randomness.
marker='sealpoint-hazmat'
grep -q "$marker" core/src/secret.rs || fail "core/src/secret.rs has no marker"
for library in "$@"; do
    [ -s "$library" ] || fail "$library: no such library"
    grep -q 'no randomness to give' "$library" || fail "$library: nothing of the core is in it"
    if grep -q "$marker" "$library"; then
        fail "$library was built with hazmat"
    fi
    if nm -C "$library" 2>/dev/null | grep -q 'sealpoint_core::hazmat'; then
        fail "$library has symbols of hazmat"
    fi
    echo "   $library: none"
done
echo "check_core: good"

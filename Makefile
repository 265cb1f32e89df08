.DEFAULT_GOAL := help
.PHONY: bench rotation chaos compatibility deploy deploy-test docs-test help run listen clean-data key test cases lint tools toolchain

# RELEASE=1 uses release builds.
PROFILE := $(if $(RELEASE),release,debug)
TARGET := $(or $(CARGO_TARGET_DIR),target)
LOCAL := $(TARGET)/$(PROFILE)/local
# local/get-programs.sh unpacks PostgreSQL and pgbouncer here for users other than root.
PROGRAMS := $(abspath $(TARGET))/programs
export PATH := $(PATH):$(PROGRAMS)/bin

toolchain:
	@command -v cargo >/dev/null || { echo "Rust is missing: https://rustup.rs" >&2; exit 1; }
	@command -v cc >/dev/null || { echo "A C compiler is missing (Debian, Ubuntu: apt-get install gcc libc6-dev;" \
		"macOS: xcode-select --install)" >&2; exit 1; }

help: ## Lists the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

run: toolchain ## Starts the whole service on this machine
	@local/get-programs.sh $(PROGRAMS) initdb
	cargo build --workspace --bins $(if $(RELEASE),--release)
	@exec $(LOCAL) run

key: ## Creates an API key for the running service: make key SCOPES=messages:send,messages:read
	@$(LOCAL) key --scopes "$(SCOPES)"

listen: ## Receives, verifies and prints events of the running service: make listen [TYPES="message.received …"]
	@$(LOCAL) listen $(TYPES)

clean-data: ## Deletes the data that `make run` keeps between runs
	@if [ -x $(LOCAL) ]; then $(LOCAL) clean-data; else rm -rf target/local; fi

# Python packages that some tests start, in their own environment.
PYTHON_TESTS := $(abspath $(TARGET))/python-tests
# The JavaScript library of Standard Webhooks, and a generator of TypeScript clients, if Node.js is installed.
NODE_TESTS := $(abspath $(TARGET))/node-tests
NODE_PACKAGES := standardwebhooks@1.1.1 openapi-fetch@0.17.0 openapi-typescript@7.13.0 typescript@5.9.3 \
	@types/node@20.19.43
# TESTS="--test flow" runs a part.
test: toolchain ## Runs every test: units, SQL, binaries through the Runtime API, the whole stack
	@local/get-programs.sh $(PROGRAMS) initdb pgbouncer
	@local/get-python.sh $(PYTHON_TESTS) local/requirements-tests.txt || echo "Tests that need Python will be skipped"
	@local/get-node.sh $(NODE_TESTS) $(NODE_PACKAGES) || echo "Tests that need Node.js will be skipped"
	@# One build for all tests: building the binaries alone selects fewer features and would compile most crates twice.
	cargo test --workspace --no-run
	TEST_PYTHON=$(PYTHON_TESTS)/bin/python TEST_NODE_MODULES=$(NODE_TESTS)/node_modules \
		$(TARGET)/debug/local with-postgres cargo test --workspace --no-fail-fast $(TESTS)

chaos: toolchain ## Checks the promises while all parts fail: make chaos [MESSAGES=3000] [BULK=5000] [RUNS=1] [SEED=…]
	@local/get-programs.sh $(PROGRAMS) initdb
	cargo build --workspace --bins
	SMS_CHAOS_MESSAGES=$(or $(MESSAGES),3000) SMS_CHAOS_RUNS=$(or $(RUNS),1) $(if $(SEED),SMS_CHAOS_SEED=$(SEED)) \
		SMS_CHAOS_BULK=$(or $(BULK),5000) cargo test --package local --test flow -- chaos:: --nocapture --test-threads 1

# cargo-lambda and zig.
RELEASE_TOOLS := $(abspath $(TARGET))/release-tools
PACKAGE := $(abspath $(TARGET))/package
deploy: toolchain ## Builds, migrates and deploys to a stage of samconfig.toml: make deploy STAGE=dev
	@[ -n "$(STAGE)" ] || { echo "usage: make deploy STAGE=dev" >&2; exit 1; }
	@for tool in aws sam; do command -v $$tool >/dev/null || { echo "$$tool is missing" >&2; exit 1; }; done
	@local/get-python.sh $(RELEASE_TOOLS) local/requirements-release.txt
	@rm -rf $(PACKAGE)
	PATH="$(RELEASE_TOOLS)/bin:$$PATH" local/deploy/package.sh $(PACKAGE)
	local/deploy/deploy.sh $(STAGE) $(PACKAGE)/template.yaml

compatibility: toolchain ## Runs the binaries of the last tag with this schema: make compatibility [PREVIOUS=<git ref>]
	@local/get-programs.sh $(PROGRAMS) initdb
	@local/compatibility.sh $(PREVIOUS)

rotation: toolchain ## Rotates all secrets under load, with the intervals of a deployment: make rotation [SECONDS=35]
	@local/get-programs.sh $(PROGRAMS) initdb
	cargo build --workspace --bins
	SMS_ROTATION_SECONDS=$(or $(SECONDS),35) cargo test --package local --test flow -- rotation:: --nocapture

cases: toolchain ## Runs the conformance cases, or those in SMS_CASES_DIR
	@local/get-programs.sh $(PROGRAMS) initdb
	@cargo build --quiet --package cases --package local --bins
	@$(TARGET)/debug/local with-postgres $(TARGET)/debug/cases

lint: tools ## Checks formatting, code, documentation, template, migrations and workflows
	cargo fmt --all --check
	$(PYTHON)/bin/python local/check_line_width.py
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items
	PATH="$(PYTHON)/bin:$$PATH" SAM_CLI_TELEMETRY=0 sam validate --lint
	$(PYTHON)/bin/cfn-lint template.yaml
	$(PYTHON)/bin/python local/check_template.py template.yaml
	$(PYTHON)/bin/python local/check_deployment.py template.yaml
	$(PYTHON)/bin/python local/cost.py common/docs/cost.md
	$(PYTHON)/bin/squawk migrations/*.sql migrations/functions/*.sql
	$(PYTHON)/bin/zizmor --offline --quiet .github
	@# Not on PyPI as a binary. CI installs it.
	@if command -v actionlint >/dev/null; then actionlint; else echo "actionlint is not installed: skipped"; fi
	@# checkov logs a warning if its vendor's site is unreachable; the checks do not need it.
	LOG_LEVEL=ERROR $(CHECKOV)/bin/checkov --file template.yaml --framework cloudformation --compact --quiet

# Linters from PyPI, in two environments because their dependencies conflict.
PYTHON := $(TARGET)/python
CHECKOV := $(TARGET)/checkov
tools: $(PYTHON)/.installed $(CHECKOV)/.installed
$(PYTHON)/.installed: local/requirements.txt
$(CHECKOV)/.installed: local/requirements-checkov.txt
$(PYTHON)/.installed $(CHECKOV)/.installed:
	@local/get-python.sh $(@D) $<

FUNCTIONS := $(notdir $(patsubst %/src/main.rs,%,$(wildcard functions/*/src/main.rs functions/*/*/src/main.rs)))

# BINARIES=target/debug skips the release build. PROVE=1 breaks the template in one place at a time and requires a failure.
DEPLOY_TEST := $(abspath $(TARGET))/deploy-test-python
deploy-test: toolchain ## Deploys the template to an AWS emulator and uses the service: make deploy-test [BINARIES=target/debug] [PROVE=1]
	@local/get-programs.sh $(PROGRAMS) initdb
	@local/get-python.sh $(DEPLOY_TEST) local/requirements-deploy-test.txt
	$(if $(BINARIES),,cargo build --release $(addprefix --package ,$(FUNCTIONS)))
	cargo build --package local --package twilio-simulator
	@$(TARGET)/debug/local with-postgres $(DEPLOY_TEST)/bin/python local/deploy-test$(if $(PROVE),/prove.py) \
		--binaries $(or $(BINARIES),$(TARGET)/release) --tools $(TARGET)/debug

AWS := $(abspath $(TARGET))/aws-python
docs-test: toolchain ## Runs the commands of the documentation on the local stack and on an AWS emulator: make docs-test [ONLY=local|simulator|deployed]
	@local/get-programs.sh $(PROGRAMS) initdb
	@local/get-python.sh $(DEPLOY_TEST) local/requirements-deploy-test.txt
	@local/get-python.sh $(AWS) local/requirements-aws.txt
	cargo build --workspace --bins
	@$(TARGET)/debug/local with-postgres $(DEPLOY_TEST)/bin/python local/docs-test --binaries $(TARGET)/debug \
		--tools $(TARGET)/debug --aws $(AWS)/bin $(if $(ONLY),--only $(ONLY))

bench: toolchain ## Prints the figures of common/docs/performance.md: make bench [BENCH=cold-start|secrets|webhooks|workers|sends|batches|bulk|media|events|conversations|domain|years] [YEARS_MESSAGES=20000000]
	@local/get-programs.sh $(PROGRAMS) initdb
	$(if $(filter years,$(BENCH)),cargo build --release --package bench,\
		cargo build --release --package hello $(addprefix --package ,$(FUNCTIONS)))
	$(if $(filter years,$(BENCH)),,cargo build --package bench --package local)
	@# The latency of events is that of the whole stack. Its features differ from those of the functions.
	$(if $(filter-out events,$(BENCH)),,cargo build --release --package local)
	@$(TARGET)/$(if $(filter years,$(BENCH)),release,debug)/bench --binaries $(TARGET)/release \
		$(if $(YEARS_MESSAGES),--messages $(YEARS_MESSAGES)) $(BENCH)
	$(if $(filter domain years,$(BENCH)),,@cargo bench --quiet --package common --bench domain)

.DEFAULT_GOAL := help
.PHONY: help run clean-data key

# RELEASE=1 builds and runs what a deployment would.
PROFILE := $(if $(RELEASE),release,debug)
TARGET := $(or $(CARGO_TARGET_DIR),target)
LOCAL := $(TARGET)/$(PROFILE)/local

help: ## Lists the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

run: ## Runs the whole service on this machine: no account, no Docker, no configuration
	@local/get-postgres.sh
	cargo build --workspace --bins $(if $(RELEASE),--release)
	@exec $(LOCAL) run

key: ## Prints a new API key of the running service: make key SCOPES=messages:send,messages:read
	@$(LOCAL) key --scopes "$(SCOPES)"

clean-data: ## Removes everything that `make run` keeps between runs
	@if [ -x $(LOCAL) ]; then $(LOCAL) clean-data; else rm -rf target/local; fi

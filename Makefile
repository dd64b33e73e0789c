# `make probe`: measure every runtime of this host. `make test`: every test, the live ones included.
# Both set up what is missing first and need nothing prepared.

SHELL := /bin/bash
CARGO ?= cargo
OUT   ?= target/awf-probe
BIN   := target/$$(rustc -vV | sed -n 's/^host: //p')/release/awf-probe

.PHONY: probe test test-command test-vm setup build generate lint speed clean-host

probe: setup build
	$(BIN) run --all --report-only --out $(OUT)

# AWF_PROBE_LIVE: the live tests must run; where no engine answers they fail instead of being left out.
test: setup
	AWF_PROBE_LIVE=1 $(CARGO) test --release --locked --workspace

# The command engine with real launchers: needs root, bubblewrap, QEMU, and a Linux kernel in AWF_PROBE_KERNEL.
test-command:
	$(CARGO) test --release --locked --test command -- --include-ignored

# A second host, as a machine under QEMU (scripts/vm): the matrix is measured in it, and its journal judged by what
# tests/expectations-vm.toml adds. Needs root or sudo. VM_ARGS="--runtime runsc", or "--only 'identity.*'" for a part of it.
VM_ARGS ?= --runtime runc
VM_OUT  ?= target/vm/out
SUDO    := $(if $(filter 0,$(shell id -u)),,sudo --preserve-env=AWF_PROBE_VM_DIR,AWF_PROBE_VM_TIMEOUT)
test-vm: build
	$(SUDO) scripts/vm $(VM_ARGS) --out $(VM_OUT)
	AWF_PROBE_JOURNAL=$(abspath $(VM_OUT))/journal.jsonl $(CARGO) test --release --locked --test conformance

setup:
	scripts/setup

build:
	$(CARGO) build --release --locked

# Renews every generated file: ids, verdicts, schema, sample reports, docs. Needs no engine; journals are left alone.
generate:
	AWF_PROBE_RENEW=1 $(CARGO) test --release --locked --workspace --lib --test catalogue --test golden --test generated --test select -- \
	  ids_are_never_removed verdicts_of_the_golden up_to_date

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --locked --workspace --no-deps

speed: build
	scripts/speed

clean-host: build
	$(BIN) clean --image

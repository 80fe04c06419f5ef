# homing: `make help` names the targets.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build
MAKEFLAGS += --no-print-directory

# Debian keeps nginx and haproxy where a user's PATH does not look.
export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin
# Debian's Go does not fetch the toolchain that go.mod asks for unless told so.
export GOTOOLCHAIN ?= auto
# The version is stamped below, so that a clone owned by somebody else builds too.
export GOFLAGS := $(GOFLAGS) -buildvcs=false

# What reads the code is built by the toolchain that go.mod names: an older one's golangci-lint and govulncheck refuse it.
TOOLCHAIN := $(shell awk '$$1 == "toolchain" {print $$2}' go.mod)
GOLANGCI_VERSION := v2.15.0
GOLANGCI := bin/tools/golangci-lint-$(GOLANGCI_VERSION)-$(TOOLCHAIN)
GOVULNCHECK_VERSION := v1.9.0
GOVULNCHECK := bin/tools/govulncheck-$(GOVULNCHECK_VERSION)-$(TOOLCHAIN)
VULNDB_VERSION := v0.0.0-20261105234957-e22db6528018
VULNDB := bin/tools/vulndb-$(VULNDB_VERSION)
NFPM := bin/tools/nfpm
ARCHS ?= amd64
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION)
FUZZTIME ?= 30s
DEMO_FLAGS ?=
COMPARE_FLAGS ?=

SERVERS := nginx=nginx stunnel4=stunnel4 nodejs=nodejs dnsmasq=dnsmasq-base socat=socat haproxy=haproxy openssl=openssl curl=curl gnutls-cli=gnutls-bin apache2=apache2-bin lighttpd=lighttpd keepalived=keepalived chromium=chromium promtool=prometheus ip=iproute2 nft=nftables strace=strace sysctl=procps \
	/usr/lib/lighttpd/mod_openssl.so=lighttpd-mod-openssl /usr/lib/lighttpd/mod_nss.so=lighttpd-mod-nss /usr/lib/nginx/modules/ngx_stream_module.so=libnginx-mod-stream systemd-socket-activate=systemd systemd-analyze=systemd bird=bird2 named=bind9 nsupdate=bind9-dnsutils javac=default-jdk-headless tcpdump=tcpdump tshark=tshark bzip2=bzip2
COMPILER := gcc=gcc ld=binutils /usr/include/stdlib.h=libc6-dev

.PHONY: help build test packages unit integration soak race fuzz golden fmt fmt-check vet lint vuln tidy-check layering cross check demo perf compare speed kernel dist dist-test clean need-go

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' Makefile

build: need-go ## static binaries in bin/, version from git
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/homing ./cmd/homing/homing-observe ./cmd/homing-bench

test: packages unit integration ## unit tests, then the tests with real nginx, haproxy, apache, lighttpd, gnutls, java, openssl, curl

# First of all, so that nobody waits for tests before they are told what is missing.
packages: need-go
	@.ci/packages $(SERVERS) $(PACKAGES)

# The loops' tests run on the engine of choice, which is io_uring where there is one, and on epoll.
unit: need-go ## unit tests
	go test ./...
	HOMING_ENGINE=epoll go test ./balancer

# The tests named TestIntegration* start real servers; they skip themselves unless HOMING_INTEGRATION=1.
integration: build ## tests with real servers and clients; installs them when root
	@.ci/packages $(SERVERS)
	@.ci/captures bin/captures
	HOMING_INTEGRATION=1 HOMING_BINARY='$(CURDIR)/bin/homing' HOMING_CAPTURES='$(CURDIR)/bin/captures' go test -count=1 -p 1 -timeout 60m -run '^TestIntegration' ./... | { grep -v -e 'no test files' -e 'no tests to run' || true; }

# HOMING_SEED=n repeats the conns of another run.
soak: build ## hostile clients, busy loops, every byte of 11,000 random conns, 50,000 idle ones, a flood, 25,000 slow ones, ten minutes of dying nodes and backends, and ten of all attacks at once
	@.ci/packages nginx=nginx
	HOMING_SOAK=1 HOMING_INTEGRATION=1 HOMING_BINARY='$(CURDIR)/bin/homing' go test -count=1 -v -timeout 40m -run '^TestIntegration(Exact|Hostile|Chaos|Flood|LimitsMemory|Idle|Starvation|Onslaught)' ./cmd/homing/integration

race: need-go ## unit tests under the race detector, in random order
	@.ci/packages $(COMPILER)
	CGO_ENABLED=1 go test -race -shuffle=on ./...
	CGO_ENABLED=1 HOMING_ENGINE=epoll go test -race -shuffle=on ./balancer

# Names come from the sources: a list by go test would link every test first. Making an input smaller may take a second and
# not the minute that is the default: it was seen to eat a short run whole.
fuzz: need-go ## each fuzz target for FUZZTIME (30s) with one worker, as many at once as there are processors
	@grep -rHoE '^func Fuzz[A-Za-z0-9_]+' --include='*_test.go' . | sed -E 's|/[^/]*:func | |' | sort | \
	xargs -P "$$(nproc)" -n 2 sh -c 'echo "fuzz $$0 $$1 $(FUZZTIME)"; \
		exec go test -run "^$$" -fuzz "^$$1\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1s -parallel 1 "$$0" </dev/null'

golden: need-go ## rewrite the golden files of the command; read the diff
	go test ./cmd/... ./bench/... -update
	@git --no-pager diff --stat; echo 'read the diff before you commit it'

fmt: $(GOLANGCI) ## format
	$(GOLANGCI) fmt

fmt-check: $(GOLANGCI)
	@$(GOLANGCI) fmt --diff >/dev/null || { echo 'make: not formatted: run make fmt' >&2; $(GOLANGCI) fmt --diff; exit 1; }

vet: need-go ## go vet
	go vet ./...

lint: $(GOLANGCI) ## golangci-lint, pinned
	$(GOLANGCI) run

vuln: $(GOVULNCHECK) $(VULNDB) ## known vulnerabilities, by pinned govulncheck and a pinned database, without the network
	@.ci/vuln $(GOVULNCHECK) '$(CURDIR)/$(VULNDB)' .ci/vuln-accepted

tidy-check: need-go
	go mod tidy -diff

layering: need-go ## the import graph of the house plan
	go test -count=1 -run '^TestLayering' ./cmd/homing

# The agent runs on Windows too, with the cluster and what that stands on, and so does diagnose.
cross: need-go
	GOOS=windows go vet ./cluster/... ./balancer/affinity ./balancer/pool ./tlsparse ./cmd/homing ./cmd/homing/homing-observe ./cmd/homing/internal/agent ./cmd/homing/internal/operate ./cmd/homing-bench ./bench/diagnose
	GOOS=windows go build -o /dev/null ./cmd/homing
	GOOS=windows go build -o /dev/null ./cmd/homing/homing-observe
	GOOS=windows go build -o /dev/null ./cmd/homing-bench
	GOOS=linux GOARCH=arm64 go build ./balancer/...
	for arch in 386 arm; do GOOS=linux GOARCH=$$arch CGO_ENABLED=0 go vet ./... || exit; done

check: PACKAGES = $(COMPILER)
check: packages fmt-check vet lint vuln tidy-check layering cross build race ## all that CI runs: format, vet, lint, known vulnerabilities, layering, race, fuzz (5 s each), unit, integration
	@$(MAKE) fuzz FUZZTIME=5s
	@$(MAKE) test

demo: build ## real TLS through round robin, then through homing (DEMO_FLAGS=--nginx: three real nginx)
	@case ' $(DEMO_FLAGS) ' in *' --nginx '*) .ci/packages nginx=nginx openssl=openssl;; esac
	@bin/homing-bench demo $(DEMO_FLAGS)

ROUNDS ?= 5
perf: build ## cost per connection and per GB beside HAProxy's, interleaved (ROUNDS=5, about a minute each)
	@.ci/packages haproxy=haproxy $(COMPILER) python3=python3 openssl=openssl
	@bench/perf/compare.sh $(ROUNDS) 'bin/homing run --loops 1 --listen @LISTEN@ --backend @B1@ --backend @B2@ --backend @B3@'

compare: build ## homing beside HAProxy and nginx: what becomes of sessions, at what cost (about 5 minutes; COMPARE_FLAGS='--scenario second --html report.html')
	@.ci/packages nginx=nginx haproxy=haproxy /usr/lib/nginx/modules/ngx_stream_module.so=libnginx-mod-stream
	@bin/homing-bench compare $(COMPARE_FLAGS)

speed: build ## homing observe on a capture of 1 GB with one processor, and live beside 10,000 conns/s (a minute)
	@.ci/packages nginx=nginx haproxy=haproxy curl=curl tcpdump=tcpdump ip=iproute2 $(COMPILER)
	HOMING_SPEED=1 HOMING_INTEGRATION=1 HOMING_BINARY='$(CURDIR)/bin/homing' go test -count=1 -v -run '^TestIntegrationObserve(Speed|Live)' ./cmd/homing/integration

KERNELS ?= 6.1 5.10
kernel: need-go ## the tests of both engines on Debian's kernels, emulated (KERNELS='6.1 5.10', 3 to 10 minutes each)
	@.ci/packages qemu-system-x86_64=qemu-system-x86 busybox=busybox-static
	@bench/kernel/boot.sh $(KERNELS)

dist: need-go $(NFPM) ## .deb, .rpm, archives (one for Windows), checksums and SBOM in dist/ (ARCHS='amd64 arm64')
	@.ci/packages zip=zip
	cmd/homing/packaging/dist.sh $(VERSION) $(ARCHS)

# Builds twice, compares the bytes, installs the package on a fresh Debian root and on one that systemd has booted; ten minutes, needs root.
dist-test: dist ## the packages: reproducible, installable, removable, and at one with systemd
	@.ci/packages debootstrap=debootstrap promtool=prometheus systemd-analyze=systemd systemd-nspawn=systemd-container unzip=unzip wine=wine /usr/lib/wine/wine64=wine64 x86_64-w64-mingw32-gcc=gcc-mingw-w64-x86-64
	@.ci/captures bin/captures
	cmd/homing/packaging/dist_test.sh $(VERSION)

clean: ## remove bin/ and dist/
	rm -rf bin dist

need-go:
	@found=$$(GOTOOLCHAIN=local go env GOVERSION 2>/dev/null || true); found=$${found#go}; \
	case $$found in \
	'') echo 'make: Go 1.21 or newer is needed and no go command was found: see https://go.dev/dl' >&2; exit 1;; \
	1.?|1.?.*|1.1?|1.1?.*|1.20|1.20.*) echo "make: Go 1.21 or newer is needed, this is Go $$found: see https://go.dev/dl" >&2; exit 1;; \
	esac; \
	go env GOVERSION >/dev/null || { echo "make: Go $$found could not fetch the toolchain that go.mod names: unset GOTOOLCHAIN, or install it from https://go.dev/dl" >&2; exit 1; }

$(GOLANGCI): | need-go
	GOTOOLCHAIN=$(TOOLCHAIN) GOBIN='$(CURDIR)/bin/tools' CGO_ENABLED=0 go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	@mv bin/tools/golangci-lint $@

$(GOVULNCHECK): | need-go
	GOTOOLCHAIN=$(TOOLCHAIN) GOBIN='$(CURDIR)/bin/tools' CGO_ENABLED=0 go install golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK_VERSION)
	@mv bin/tools/govulncheck $@

# The database is a module of reports, and what makes of them the files that govulncheck reads.
$(VULNDB): | need-go
	GOBIN='$(CURDIR)/bin/tools' CGO_ENABLED=0 go install golang.org/x/vulndb/cmd/indexdb@$(VULNDB_VERSION)
	@rm -rf $@.new
	bin/tools/indexdb -vulns "$$(go list -m -f '{{.Dir}}' golang.org/x/vulndb@$(VULNDB_VERSION))/data/osv" -out $@.new
	@rm bin/tools/indexdb && mv $@.new $@

$(NFPM): | need-go
	GOBIN='$(CURDIR)/bin/tools' CGO_ENABLED=0 go install github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.0

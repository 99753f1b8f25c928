# dcmgate: `make help` lists the targets. Two commands are all a newcomer needs: make demo, make test.
SHELL := /bin/bash
GO ?= go
BIN := bin/dcmgate
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
GOFLAGS_BUILD := -trimpath -ldflags "-s -w -X main.version=$(VERSION)"
# How long each fuzz target runs in `make fuzz`; continuous integration sets another time.
FUZZTIME ?= 10s

.PHONY: help build demo test test-deps check suite race e2e fuzz bench peers-bench cross image deb deb-test clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

build: ## build bin/dcmgate
	CGO_ENABLED=0 $(GO) build $(GOFLAGS_BUILD) -o $(BIN) ./cmd/dcmgate

demo: build ## gateway, stand-in cloud and real MR series on this machine; DEMO="--once" ends by itself
	$(BIN) demo $(DEMO)

test: test-deps check suite fuzz ## everything: what it needs is installed first
	@echo "all tests passed"

test-deps: ## install the peers that the tests talk to (Debian packages)
	@scripts/test-deps

check: ## formatting, vet, staticcheck, tidy modules, build for arm64
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); echo "run gofmt -w on these"; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	$(GO) mod tidy -diff
	CGO_ENABLED=0 GOARCH=arm64 $(GO) build -o /dev/null ./cmd/dcmgate

# The two run beside each other: those of the whole program wait for processes and disks half of their time.
suite: ## all tests
	@$(MAKE) --no-print-directory -j2 race e2e

race: ## the tests of the packages, under the race detector
	$(GO) test -race -timeout 15m $$($(GO) list ./... | grep -v /test/e2e$$)

# The program itself is built without the race detector there, and the detector would only slow the peers of our own down.
e2e: ## the tests of the whole program with real peers
	$(GO) test -timeout 20m ./test/e2e

fuzz: ## each fuzz target for FUZZTIME
	@FUZZTIME=$(FUZZTIME) scripts/fuzz

bench: ## the packages' benchmarks
	$(GO) test -run '^$$' -bench . -benchmem ./...

peers-bench: build ## the performance report: dcmgate beside DCMTK and Orthanc in the same run
	$(GO) test -run '^$$' -bench . -benchtime 1x -timeout 60m -v ./test/peers

cross: ## static binaries for the supported machines into dist/
	@for arch in amd64 arm64; do CGO_ENABLED=0 GOOS=linux GOARCH=$$arch $(GO) build $(GOFLAGS_BUILD) -o dist/dcmgate-linux-$$arch ./cmd/dcmgate || exit 1; done

image: cross ## container images into dist/, with buildah and no other image, for docker load
	@for arch in amd64 arm64; do scripts/image dist/dcmgate-linux-$$arch $$arch $(VERSION) dist/dcmgate-image-$$arch.tar || exit 1; done

deb: ## Debian packages into dist/
	@for arch in amd64 arm64; do scripts/deb $$arch $(VERSION) dist || exit 1; done

deb-test: ## install, upgrade and remove the package in a Debian that is booted for it; root, some minutes
	@scripts/deb-test

clean: ## remove what was built
	rm -rf bin dist

# The same targets serve people and CI. make alone lists them.
STATICCHECK = go run honnef.co/go/tools/cmd/staticcheck@v0.8.2
.DEFAULT_GOAL := help
.PHONY: help demo test check bench soak fuzz vault

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "%-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## run the agent's loop three times on a fleet and a real Vault
	@internal/vaultserver/build.sh any
	@go run ./internal/demo

vault: ## build the Vault server for tests and demo, once for all checkouts
	@internal/vaultserver/build.sh

test: vault ## run every test with the race detector
	go test -race -timeout 20m ./resolver ./... # the longest first

bench: vault ## measure the promised figures beside their yardsticks, then run Go's benchmarks
	go run ./internal/bench
	go test -run '^$$' -bench . -benchmem ./ref ./resolver

SOAK = 2m
soak: vault ## run for SOAK=2m against a cluster whose nodes, tokens and secrets change
	go run -race ./internal/soak -for $(SOAK)

FUZZTIME = 10s
fuzz: ## run every fuzz target for FUZZTIME=10s
	@for package in $$(go list ./...); do \
		for target in $$(go test -short -list '^Fuzz' $$package | grep '^Fuzz'); do \
			go test -short -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x -parallel 1 $$package || exit 1; \
		done; done

check: ## check formatting, vet for every platform, staticcheck, go fix
	@test -z "$$(gofmt -l . | tee /dev/stderr)"
	go vet ./...
	@for target in windows/amd64 darwin/arm64 linux/arm64; do \
		echo "go vet for $$target"; GOOS=$${target%/*} GOARCH=$${target#*/} go vet ./... || exit 1; done
	$(STATICCHECK) ./...
	go fix -diff ./...

# Kubus: build, run, test. `make help` lists the targets.
#
# Binaries land in bin/. The heavy ones, which link Kubernetes' own packages, are
# few (kubus, kubus-gateway, kubectl); everything is built two packages at a time
# in one module graph (go.work), so that each package is compiled once.

SHELL       := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VERSION ?= v1.37.2+kubus.1
IMAGES  ?= latest
FORM    ?= allinone
UPFLAGS ?=
GO      ?= go
JOBS    ?= 2

# One setting for builds, tests, vet and staticcheck, so that they share the build cache.
export GOFLAGS     := -buildvcs=false -trimpath
export CGO_ENABLED := 0
BIN     := $(CURDIR)/bin
TAGS    := -tags grpcnotrace
K8S     := v1.37.2
LDFLAGS := -s -w -X kubus.dev/services/kit.Version=$(VERSION) \
  -X k8s.io/component-base/version.gitVersion=$(K8S) -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=37
BUILD   := $(GO) build -p $(JOBS) -trimpath $(TAGS) -ldflags "$(LDFLAGS)"

SERVICES := $(notdir $(patsubst %/,%,$(dir $(wildcard services/*/cmd/kubus-*/main.go gateway/cmd/kubus-*/main.go))))
MODULES  := $(patsubst %/go.mod,%,$(wildcard proto/go.mod proto/*/go.mod gateway/go.mod services/*/go.mod cmd/*/go.mod examples/go.mod test/go.mod test/scheduler/go.mod bench/go.mod))

##@ Use

.PHONY: help
help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: up
up: deps build ## install what is missing, build, start a cluster (FORM=services: each service a process), wait until it is Ready
	@$(BIN)/kubus up --detach --form $(FORM) $(UPFLAGS)

.PHONY: down
down: ## stop the cluster; PURGE=1 also removes its data and every change to the host
	@$(BIN)/kubus down $(if $(PURGE),--purge --yes)

.PHONY: status
status: ## tell how the cluster is
	@$(BIN)/kubus status

##@ Build

.PHONY: deps
deps: ## install the Debian packages that are missing
	@.ci/deps

.PHONY: build
build: $(BIN)/runc $(BIN)/kubectl $(BIN)/nats-server ## build everything into bin/
	@mkdir -p $(BIN)
	@$(BUILD) -o $(BIN)/ ./cmd/kubus ./cmd/kubus-keeper ./cmd/kubus-images \
	  $(foreach s,$(SERVICES),$(firstword $(wildcard ./services/*/cmd/$(s) ./gateway/cmd/$(s))))

.PHONY: kubus-images
kubus-images: build ## make an image of each process, for `docker load` and compose.yaml: bin/images.tar
	@$(BIN)/kubus-images -bin $(BIN) -version $(IMAGES) -out $(BIN)/images.tar

$(BIN)/runc: services/agent/tools/runc/go.mod services/agent/tools/runc/build.sh
	@mkdir -p $(BIN)
	@services/agent/tools/runc/build.sh $@

$(BIN)/kubectl: $(wildcard cmd/kubectl/*.go) cmd/kubectl/go.mod
	@mkdir -p $(BIN)
	@$(BUILD) -o $@ ./cmd/kubectl

$(BIN)/nats-server: proto/store/go.mod
	@mkdir -p $(BIN)
	@$(BUILD) -o $@ github.com/nats-io/nats-server/v2

.PHONY: generate
generate: ## write the messages' Go form anew after a change of message.proto (needs Debian's protobuf-compiler)
	@$(GO) build -C proto -trimpath -o $(BIN)/ google.golang.org/protobuf/cmd/protoc-gen-go
	@PATH=$(BIN):$$PATH protoc -I proto --go_out=proto --go_opt=paths=source_relative message/message.proto

.PHONY: images
images: ## build the images of the examples and serve them on 127.0.0.1:5000 until Ctrl-C
	@$(BUILD) -o $(BIN)/ ./test/images/web ./test/cmd/kubus-test-registry
	@exec $(BIN)/kubus-test-registry -listen 127.0.0.1:5000 -web $(BIN)/web

##@ Check

.PHONY: ci
ci: deps build lint test race e2e ## everything that CI runs

.PHONY: test
test: ## quick unit and integration tests (the main job is make e2e)
	@failed=; for p in $(foreach m,$(MODULES),$(if $(filter test,$m),./test ./test/differential/... ./test/controllers/... ./test/faults,./$m/...)); do \
	  $(GO) test -p $(JOBS) $(TAGS) -trimpath $$p || failed="$$failed $$p"; \
	done; [ -z "$$failed" ] || { echo "failed in:$$failed"; exit 1; }

# Everything that is linked is instrumented: of generic code that some packages share the
# linker takes either's, and half of it reports what is not so.
RACE := CGO_ENABLED=1 $(GO) test -race -vet=off -short -p $(JOBS) $(TAGS) -ldflags='-s -w'

.PHONY: race
race: ## the race detector on the packages that share memory, the gateway's registry, reads, services and fairness among them
	@$(RACE) ./proto/... ./proto/bustest/... ./proto/store/... ./cmd/kubus-keeper/... ./services/kit/... ./services/scheduler/... \
	  $(addprefix ./gateway/internal/,resource read service flow token continuation)

.PHONY: race-state
race-state: ## the race detector on what links still more: the gateway's admission, storage and their like, and the agent (needs root and what make build builds; long from an empty cache; not in CI)
	@$(RACE) ./services/agent/... $(addprefix ./gateway/internal/,admission/... storage audit custom informer streams aggregate)

.PHONY: scheduler-fuzz
scheduler-fuzz: ## the scheduler against kube-scheduler in 100,000 random clusters, 10^6 random events, and who wakes whom (about an hour)
	@$(GO) test -p $(JOBS) $(TAGS) -count=1 -timeout 0 ./test/scheduler -args -clusters 100000
	@$(GO) test -p $(JOBS) $(TAGS) -count=1 -timeout 0 ./services/scheduler/internal/simulation -run H12 -args -events 1000000

.PHONY: attack
attack: ## try what one stolen credential opens, write the table of docs/security.md anew, run the tests of attacks that need a node (root) or a home
	@$(GO) test -p $(JOBS) $(TAGS) -count=1 ./gateway -run 'TestWhatOneStolen|Finding' -attack
	@$(GO) test -p $(JOBS) $(TAGS) -count=1 ./proto/store ./proto/apiclient ./proto/bustest/statelogtest ./proto/bustest/tunneltest ./proto/bustest/floodtest ./services/status/internal/intake
	@$(GO) test -p $(JOBS) $(TAGS) -count=1 -run Finding ./services/agent/... ./services/proxy/... ./services/dns/... ./cmd/kubus/internal/...

.PHONY: helm
helm: build ## Helm's own library installs, upgrades, rolls back and uninstalls a chart, against a control plane without nodes
	@test/helm/run.sh

FUZZTIME ?= 3m
.PHONY: fuzz
fuzz: ## fuzz every decoder, selectors, patches, tokens, field paths and packets, FUZZTIME each, guided by what our own code does; what is found stays in testdata/fuzz
	@grep -rHo --include='*_test.go' '^func Fuzz[A-Za-z0-9]*' $(MODULES) | sed 's/:func / /' | while read -r file name; do \
	  dir=$$(dirname $$file); echo "$$name in $$dir"; \
	  $(GO) test -c -p $(JOBS) $(TAGS) -gcflags='kubus.dev/...=-d=libfuzzer' -o $(BIN)/fuzz/ ./$$dir || exit 1; \
	  (cd $$dir && $(BIN)/fuzz/$$(basename $$dir).test -test.run '^$$' -test.fuzz "^$$name\$$" -test.fuzztime $(FUZZTIME) -test.fuzzminimizetime 2s -test.parallel $(JOBS) -test.fuzzcachedir $(BIN)/fuzz/cache/$$dir) || exit 1; \
	done

.PHONY: e2e
e2e: build ## the main job with real kubectl, containers and rules, in both forms (needs root); one package at a time, since the machine is compared before and after
	@$(GO) test -C test -p 1 -count=1 -v -timeout 40m ./e2e/... -args -bin $(BIN)

.PHONY: faults
faults: build ## the long form of the faults of docs/reliability.md (root, about an hour); ONLY=F7 one row; REPORT=file takes the table
	@$(GO) test -C test -count=1 -v -timeout 4h -run '$(or $(ONLY),.)' ./faults -args -bin $(BIN) -long $(if $(REPORT),-report $(abspath $(REPORT)))

.PHONY: simulate
simulate: ## the long form of the controllers' simulations: SEEDS seeds of each, an eighth of all together (default 16000); or PLAY='seed=17$$' alone
	@$(GO) test -p $(JOBS) $(TAGS) -count=1 -timeout 4h ./services/controllers -run 'TestAllTogether/$(PLAY)' -args -sim.seeds $(or $(SEEDS),16000)
	@$(if $(PLAY),,$(GO) test -p $(JOBS) $(TAGS) -count=1 -timeout 4h ./services/controllers/internal/{daemonset,deployment,job,statefulset} -run Simulation -args -sim.seeds $(or $(SEEDS),16000))

.PHONY: roll
roll: build ## kill -9 the controllers during a rolling update of 200 pods (needs root)
	@$(GO) test -C test -count=1 -v -timeout 60m ./e2e -run TestTheControllersAreKilledDuringARoll -args -bin $(BIN) -rolled 200

.PHONY: policies
policies: ## packets of SEEDS random clusters with NetworkPolicies, on three nodes made of namespaces, beside what the objects say (default 1000; needs root)
	@$(GO) test -p $(JOBS) $(TAGS) -count=1 -timeout 4h ./services/proxy/internal/nft -run TestPacketsGoWhereTheObjectsSay -args -policy.seeds $(or $(SEEDS),1000)

.PHONY: lint
lint: verify-fmt verify-tidy vet staticcheck ## all linters

.PHONY: verify-fmt
verify-fmt: ## every Go file is formatted
	@out=$$(gofmt -l $$(git ls-files '*.go' | grep -v '\.pb\.go$$')); [ -z "$$out" ] || { echo "not formatted (make fix-fmt):"; echo "$$out"; exit 1; }

.PHONY: fix-fmt
fix-fmt: ## format every Go file
	@gofmt -w $$(git ls-files '*.go' | grep -v '\.pb\.go$$')

.PHONY: verify-tidy
verify-tidy: ## every go.mod is tidy
	@for m in $(MODULES); do GOWORK=off $(GO) -C $$m mod tidy -diff >/dev/null || { echo "$$m/go.mod is not tidy (make fix-tidy)"; exit 1; }; done

.PHONY: fix-tidy
fix-tidy: ## tidy every go.mod
	@for m in $(MODULES); do GOWORK=off $(GO) -C $$m mod tidy; done

.PHONY: vet
vet: ## go vet
	@$(GO) vet -p $(JOBS) $(TAGS) -trimpath $(MODULES:%=./%/...)

.PHONY: staticcheck
staticcheck: ## staticcheck, without the checks that ask for comments of a set form
	@GOWORK=off $(GO) build -C test/tools -trimpath -o $(BIN)/staticcheck honnef.co/go/tools/cmd/staticcheck
	@$(BIN)/staticcheck -tags grpcnotrace $(MODULES:%=./%/...)

.PHONY: bench
bench: build ## the figures of docs/performance.md
	@bench/compare.sh 3

.PHONY: clean
clean: ## remove what build made
	@rm -rf $(BIN)

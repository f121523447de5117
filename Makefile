# Everything a person or CI does here. `make` alone prints this list.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.ready
UV     := .venv-lock/bin/uv
AUDIT  := .venv-audit/.ready
ASYNCAPI := .node-asyncapi/node_modules/.bin/asyncapi

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo detection test fuzz chaos dashboards limits soak reliability lint contract format picture bench lock audit sbom clean

help: ## Print this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make .venv with the locked dependencies, and fetch Kafka (once; PYTHON=python3.12 picks another)

$(STAMP): pyproject.toml requirements/dev.lock streamer/kafka-jars.sha256
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "streamer needs Python 3.11 or newer, and $(PYTHON) is not that: make setup PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make virtual environments; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@test -x $(BIN)/python && $(BIN)/python -m pip --version >/dev/null 2>&1 || { \
	  echo "making $(VENV)"; $(PYTHON) -m venv --clear $(VENV); }
	@echo "installing the locked dependencies"
	@$(BIN)/python -m pip install --quiet --require-hashes -r requirements/dev.lock
	@$(BIN)/python -m pip install --quiet --no-deps -e .
	@$(BIN)/python -m streamer.local fetch
	@touch $@
	@echo "ready: $(BIN)/streamer --help"

demo: setup ## A real Kafka, a worker, four models, live figures and alerts (KEEP=1 leaves it running)
	@$(BIN)/streamer demo $(if $(KEEP),--keep)

test: setup ## Run all tests, on a real Kafka (ARGS="-k join" for some)
	@$(BIN)/python -m pytest $(ARGS)

fuzz: setup ## Bad input: 1,000,000 forged payloads (N=, SEED=) → tests/fuzz/results/latest.json
	@$(BIN)/python -m tests.fuzz.run --payloads $(or $(N),1000000) $(if $(SEED),--seed $(SEED))

lint: setup ## Check style and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy --strict streamer

contract: $(ASYNCAPI) ## Hold the AsyncAPI document against AsyncAPI's own tool (needs npm)
	@CI=true SUPPRESS_NO_CONFIG_WARNING=1 $(ASYNCAPI) validate streamer/schemas/asyncapi.yml --fail-severity=warn

$(ASYNCAPI): Makefile
	@npm install --silent --no-audit --no-fund --ignore-scripts --prefix .node-asyncapi @asyncapi/cli@6.2.0
	@touch $@

format: setup ## Repair style
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

picture: setup ## Draw docs/demo.svg anew, from a run of the demo
	@$(BIN)/streamer demo --picture docs/demo.svg

bench: setup ## Measure speed on this machine (at most 15 minutes)
	@$(BIN)/python -m benchmarks.run

detection: setup ## What the detectors find on ../shared/data, how soon, how often for nothing → docs/detection.md
	@$(BIN)/python -m benchmarks.detection

chaos: setup ## Break everything at random, judge the rest (SCHEDULES=10, MINUTES=60, SEED=7, ANEW=1, BROKERS=1, REPARTITION=1)
	@$(BIN)/python -m tests.chaos $(if $(SCHEDULES),--schedules $(SCHEDULES)) $(if $(MINUTES),--minutes $(MINUTES)) \
	  $(if $(SEED),--seed $(SEED)) $(if $(ANEW),--anew) $(if $(BROKERS),--brokers) $(if $(REPARTITION),--repartition)

soak: setup ## An hour at 20,000 events a second: nothing may grow or be lost (MINUTES=60) → tests/soak/results
	@$(BIN)/python -m tests.soak --minutes $(or $(MINUTES),60)

limits: setup ## Disk and memory: too little, too many models, one too busy (SCENE=hot) → tests/limits/results
	@$(BIN)/python -m tests.limits $(if $(SCENE),--scene $(SCENE))

reliability: setup ## Write docs/reliability.md anew from the results of chaos
	@$(BIN)/python -m tests.chaos.report

lock: $(UV) ## Write requirements/dev.lock anew from pyproject.toml (UPGRADE=1 takes newer versions)
	UV_CUSTOM_COMPILE_COMMAND="make lock" $(UV) pip compile --quiet --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-emit-find-links $(if $(UPGRADE),--upgrade) \
	  --extra worker --extra local --extra dev pyproject.toml -o requirements/dev.lock
	UV_CUSTOM_COMPILE_COMMAND="make lock" $(UV) pip compile --quiet --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-emit-find-links -c requirements/dev.lock \
	  --extra worker pyproject.toml -o requirements/worker.lock

$(UV):
	@$(PYTHON) -m venv .venv-lock
	@.venv-lock/bin/pip install --quiet uv==0.13.9

dashboards: setup ## Write the dashboards of deploy/grafana anew from their generator
	@$(BIN)/python -m deploy.grafana.build

audit: $(AUDIT) ## Hold the locked dependencies against the known vulnerabilities
	@.venv-audit/bin/python .ci/audit.py $(if $(MAY_SKIP),--may-skip)

sbom: $(AUDIT) ## Write build/sbom.json: the locked dependencies as CycloneDX
	@mkdir -p build
	@.venv-audit/bin/python -W ignore -m cyclonedx_py requirements requirements/dev.lock \
	  --pyproject pyproject.toml --output-reproducible --of JSON -o build/sbom.json
	@echo "wrote build/sbom.json"

$(AUDIT): Makefile
	@$(PYTHON) -m venv .venv-audit
	@.venv-audit/bin/pip install --quiet pip-audit==2.10.1 cyclonedx-bom==7.5.0
	@touch $@

clean: ## Remove what setup, tests and linters made here (Kafka's jars stay in the user's cache)
	rm -rf $(VENV) .venv-lock .venv-audit .node-asyncapi build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

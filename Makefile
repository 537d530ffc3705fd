# Parley: `make up` runs it, `make test` tests it, `make check` lints and type-checks it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: up install check test test-images test-rollout bench generate lock clean

install: $(STAMP)

# The list is fully resolved and hashed, so pip resolves nothing (--no-deps).
$(STAMP): requirements/dev.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --no-deps --require-hashes -r requirements/dev.txt
	touch $@

# Prints a curl line as soon as both parts answer. Ctrl-C ends everything.
up: $(STAMP)
	@$(BIN)/python -m gateway hint --parent $$$$ & exec $(BIN)/honcho start

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code
	$(BIN)/buf breaking protos --against protos/baseline.binpb
	$(BIN)/python protos/generate.py --check
	$(BIN)/python -m gateway check

# In two processes: most of the time tests wait. A file's tests stay together, and so do what they have started.
test: $(STAMP)
	$(BIN)/pytest --numprocesses 2 --dist loadfile

# Builds the images of deploy/images/ step by step, without a container engine, and starts them; needs root and minutes.
test-images: $(STAMP)
	PARLEY_TEST_IMAGES=1 $(BIN)/pytest tests/deploy/test_image_builds.py

# Rolls the rendered manifests out without a cluster, in namespaces that end with it; needs root, kubectl and minutes.
test-rollout: $(STAMP)
	unshare --net --mount --pid --fork --kill-child --mount-proc \
	  $(BIN)/python -m pytest tests/rollout --timeout 280

# Measures Parley beside other gateways, which it installs into .bench; needs h2load, npm and twenty minutes of a machine
# that does nothing else. More in BENCH="--only parley,ferrogw --measures unary".
bench: $(STAMP)
	$(BIN)/python -m bench.compare $(BENCH)

generate: $(STAMP)
	$(BIN)/python protos/generate.py

# Renews the pinned lists from requirements/*.in; name packages in UPGRADE="--upgrade-package x".
lock: $(STAMP)
	cd requirements && for part in dev service gateway; do \
	  ../$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	    --no-emit-index-url --no-emit-find-links --overrides overrides.txt $(UPGRADE) \
	    $$([ $$part = dev ] || echo "-c dev.txt") $$part.in -o $$part.txt || exit 1; done

clean:
	rm -rf $(VENV) .run tests/rest/node/node_modules

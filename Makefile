# Everything here runs in .venv, which the first command makes.
#   make demo          the main job on the built-in data
#   make test          the tests
#   make demo TF=gpu   with TensorFlow for NVIDIA GPUs (about 2.7 GB more)
PYTHON ?= python3
TF ?= cpu
VENV ?= $(if $(filter gpu,$(TF)),.venv-gpu,.venv)
BIN := $(VENV)/bin
LOCK := $(if $(filter gpu,$(TF)),requirements-gpu.lock,requirements.lock)
UV_VERSION := 0.13.9

.PHONY: demo install test test-core parity test-slow test-launchers check lock clean

demo: install
	$(BIN)/python -m segframe

test: $(VENV)/.test-installed
	$(BIN)/python -m pytest -n 3 --dist loadfile -m "not slow"

# The core by itself, without the bundled plugins. CORE: some test files of it.
CORE ?= tests
test-core: $(VENV)/.test-installed
	SEGFRAME_BLOCK=unet,uresnet,losses,tfds $(BIN)/python -m pytest -n 3 --dist loadfile $(CORE) -m "not slow and not bundled" -k "not browser"

# What is compared with PyTorch, which is installed for it (its CPU build is enough): the tests that take `torch`.
parity: $(VENV)/.test-installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	@! grep -rnE '(import|from) torch|importorskip\("torch' tests plugins --include='*.py' \
		|| { echo 'take the fixture `torch` (conftest.py) instead'; exit 1; }
	$(BIN)/python -m pytest -n 2 -m parity $$(grep -rlw torch tests plugins --include='test_*.py')

# With PostgreSQL's driver: the tests of a server with one behind it run where PostgreSQL is installed.
test-slow: $(VENV)/.test-installed
	$(BIN)/uv pip install --python $(BIN)/python --compile-bytecode -c requirements-dev.lock 'psycopg[binary]>=3.2,<4'
	$(BIN)/python -m pytest -m slow

# The launchers with what their extras install: jobs on this machine, on a local Ray, and through submitit.
test-launchers: $(VENV)/.test-installed
	$(BIN)/uv pip install --python $(BIN)/python --compile-bytecode -c requirements-dev.lock 'ray>=2.55,<3' 'submitit>=1.5.4,<2'
	$(BIN)/python -m pytest tests/test_launchers.py tests/test_preflight.py

check: $(VENV)/.test-installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

install: $(VENV)/.installed-$(TF)

$(VENV)/bin/uv:
	$(PYTHON) -m venv "$(VENV)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

# Bytecode is compiled here: without it TensorFlow's import takes three times as long.
$(VENV)/.installed-$(TF): $(LOCK) pyproject.toml | $(VENV)/bin/uv
	$(BIN)/uv pip install --python $(BIN)/python --compile-bytecode -r $(LOCK)
	$(BIN)/uv pip install --python $(BIN)/python --no-deps -e .
	touch "$@"

$(VENV)/.test-installed: $(VENV)/.installed-$(TF) requirements-dev.lock
	$(BIN)/uv pip install --python $(BIN)/python --compile-bytecode -r requirements-dev.lock
	touch "$@"

# Universal (Python 3.11 to 3.13), with hashes, without hosts.
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate pyproject.toml
lock: | $(VENV)/bin/uv
	$(COMPILE) --extra cpu -o requirements.lock
	$(COMPILE) --extra gpu -c requirements.lock -o requirements-gpu.lock
	$(COMPILE) --extra cpu --extra dev --extra optuna --extra tfds -c requirements.lock -o requirements-dev.lock

clean:
	rm -rf $(VENV) build *.egg-info

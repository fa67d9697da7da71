# `make lab` opens the course, `make test` passes its tests; both set everything up in .venv first.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
ROOT   := $(shell [ "$$(id -u)" = 0 ] && echo --allow-root)
PORT   ?= 8888
SETTINGS := $(VENV)/share/jupyter/lab/settings

.PHONY: help lab test run notebooks sync homework grade ablations study conditioning autoencoders adversaries styles evaluation league fusion fast benchmarks lint format clean
help:
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

# A stamp is newer than pyproject.toml once its packages are in: a second call does nothing.
$(VENV)/base.stamp: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "The course needs Python 3.11 or newer: $$($(PYTHON) --version). Name one with: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' || \
	  { echo "This Python has no venv module. On Debian or Ubuntu: apt install python3-venv"; exit 1; }
	@echo "Installing the course into $(VENV): a few minutes the first time, nothing afterwards."
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -e .
	@# JupyterLab asks every newcomer about news and looks for updates: neither helps here, or offline
	@mkdir -p $(SETTINGS) && echo '{"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": false}}' > $(SETTINGS)/overrides.json
	@touch $@

$(VENV)/all.stamp: $(VENV)/base.stamp
	$(BIN)/python -m pip install --quiet -e '.[homework,test]'
	@touch $@

# the whole checkout is served, so that pictures beside notebooks/ are found; the printed address opens the first notebook
lab: $(VENV)/base.stamp  ## open the course in JupyterLab
	$(BIN)/jupyter lab $(ROOT) --port=$(PORT) --LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb

test: $(VENV)/all.stamp  ## lint, unit tests, every notebook (ci preset), homework copies
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	COURSE_PRESET=ci $(BIN)/python -m pytest tests notebooks --nbval-lax --nbval-current-env --nbval-cell-timeout=300

run: $(VENV)/all.stamp  ## execute every notebook (lecture preset) into build/html
	$(BIN)/python -m course_utils.authoring.run --html build/html

notebooks: $(VENV)/all.stamp  ## execute the masters in place: refreshes the committed outputs
	$(BIN)/python -m course_utils.authoring.run --inplace

sync: $(VENV)/all.stamp  ## bring each .ipynb and its percent script in step, the newer one wins
	$(BIN)/jupytext --sync notebooks/py/*.py

homework: $(VENV)/all.stamp  ## student copies in build/homework, as a folder and a zip
	rm -rf build/wheel && $(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir build/wheel .
	$(BIN)/python -m course_utils.authoring.homework --wheel build/wheel/*.whl

grade: $(VENV)/all.stamp  ## autograde into build/marks.csv: make grade SUBMISSIONS=folder
	@[ -d build/homework/nbgrader ] || $(MAKE) homework
	@[ -n "$(SUBMISSIONS)" ] || { echo "Say where the submissions are: make grade SUBMISSIONS=folder"; exit 2; }
	$(BIN)/python -m course_utils.authoring.grade "$(SUBMISSIONS)"

ablations: $(VENV)/base.stamp  ## retrain everything behind the ablation figures of notebook 01 (about an hour)
	OMP_NUM_THREADS=1 $(BIN)/python -m course_utils.ablations

study: $(VENV)/base.stamp  ## retrain everything behind the comparisons of notebook 03 (an hour or two)
	OMP_NUM_THREADS=1 $(BIN)/python -m course_utils.studies.networks

conditioning: $(VENV)/base.stamp  ## measure everything behind notebook 04 anew (hours; needs CIFAR-10)
	OMP_NUM_THREADS=1 $(BIN)/python -m course_utils.studies.conditioning

autoencoders: $(VENV)/base.stamp  ## measure everything behind notebook 05 anew (hours; needs the cat faces)
	OMP_NUM_THREADS=1 $(BIN)/python -m course_utils.studies.autoencoders

adversaries: $(VENV)/base.stamp  ## measure everything behind notebook 06 anew (hours; needs CIFAR-10)
	OMP_NUM_THREADS=1 $(BIN)/python -m course_utils.studies.adversaries

styles: $(VENV)/base.stamp  ## measure everything behind notebook 10 anew (hours; needs the cat faces)
	OMP_NUM_THREADS=1 $(BIN)/python -m course_utils.studies.styles

evaluation: $(VENV)/base.stamp  ## measure everything behind notebook 07 anew (an hour; needs CIFAR-10 and the cat faces)
	OMP_NUM_THREADS=1 $(BIN)/python -m course_utils.studies.evaluation

league: $(VENV)/base.stamp  ## score every shipped checkpoint anew: the league table of notebook 07 (hours; needs both, too)
	OMP_NUM_THREADS=1 $(BIN)/python -m course_utils.studies.league

fusion: $(VENV)/base.stamp  ## measure everything behind notebook 08 anew (an hour; needs the cat faces)
	OMP_NUM_THREADS=1 $(BIN)/python -m course_utils.studies.fusions

fast: $(VENV)/base.stamp  ## measure everything behind notebook 09 anew (hours; needs CIFAR-10)
	OMP_NUM_THREADS=1 $(BIN)/python -m course_utils.studies.fast

benchmarks: $(VENV)/all.stamp  ## measure the speed of drawing, widgets, training, sampling and scoring
	$(BIN)/python benchmarks/foundation.py && $(BIN)/python benchmarks/images.py && $(BIN)/python benchmarks/scores.py

lint: $(VENV)/all.stamp
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

format: $(VENV)/all.stamp  ## format the code and the percent scripts
	$(BIN)/ruff check --fix . && $(BIN)/ruff format .

clean:  ## remove what make built, but not the environment
	rm -rf build dist .pytest_cache .ruff_cache

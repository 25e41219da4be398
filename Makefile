# PROFILE=name takes notebooks/profiles/name/*.yaml, PYTHON=python3.12 another interpreter for .venv. Two at a time, but not on one GPU
# nor with `make -j1`: the stage-1 notebooks, and the halves of the tests. ROOMS go with the notebooks: so both halves take as long.
PROFILE  ?= demo
PYTHON   ?= python3
PROFILES := demo $(notdir $(wildcard notebooks/profiles/*))
DONE     := $(or $(SLEEPKIT_RUNS),runs)/$(PROFILE)
START    := $(shell date +%s)
VENV     := .venv/bin/python
NOTEBOOK := @$(VENV) -m sleepkit run --profile $(PROFILE)
SITE     := $(PROFILE:demo=first5s-cpu)
ROOMS    := $(addprefix tests/,recordings search pruning network)

ifeq ($(filter $(PROFILE),$(PROFILES)),)
$(error there is no profile "$(PROFILE)"; there are: $(PROFILES). Each is a folder notebooks/profiles/NAME, demo the notebooks' own defaults)
endif
ifeq ($(MAKELEVEL)$(word 2,$(MAKECMDGOALS))$(shell command -v nvidia-smi 2>/dev/null),0)
MAKEFLAGS += -j2
endif

.PHONY: reproduce test lint test-units test-notebooks lab golden figures html fuzz lock clean .venv
reproduce: stale-figures # the five notebooks in their order, only those that are stale -> figures/$(PROFILE)/
	@echo "figures/$(PROFILE)/index.md lists $$(ls figures/$(PROFILE) | grep -Eo '^(fig|tab)[0-9]+' | sort -u | wc -l) figures and tables;" "numbers are in results/$(PROFILE), executed notebooks in $(DONE)."; \
	echo "make reproduce took $$(( $$(date +%s) - $(START) )) s."
stale-%: .venv/stamp
	$(NOTEBOOK) --if-stale $*
stale-stage1_edf20 stale-stage1_edf78: stale-prepare
stale-stage2_prune: stale-stage1_edf20 stale-stage1_edf78
stale-figures: stale-stage2_prune

test: lint # and unit tests, the golden notebooks cell by cell
	@$(MAKE) --no-print-directory -k test-units test-notebooks
lint: .venv/stamp
	$(VENV) -m ruff check . && $(VENV) -m ruff format --check .
test-units: .venv/stamp
	$(VENV) -m pytest $(ROOMS:%=--ignore=%)
test-notebooks: .venv/stamp
	$(VENV) -m pytest --nbval notebooks tests/execution/test_runs.py $(ROOMS)
fuzz: .venv/stamp # 20,000 damaged recordings and hypnograms: a quarter of an hour
	$(VENV) -m pytest -m slow -s tests/project/test_fuzz.py
lab: .venv/stamp # the notebooks in the browser, with a kernel `sleepkit` in .venv for them and for VS Code
	$(VENV) -m ipykernel install --sys-prefix --name sleepkit && $(VENV) -m jupyter lab --MultiKernelManager.default_kernel_name=sleepkit notebooks
golden: .venv/stamp # notebooks/*.ipynb anew from notebooks/*.py
	$(VENV) tests/project/golden.py
figures: .venv/stamp # the figures notebook alone, from the result files that there are
	$(NOTEBOOK) figures
html: .venv/stamp # a static site: the demo's notebooks, and the real run (or PROFILE) -> runs/$(SITE)/html/
	@$(VENV) -m sleepkit run --profile $(SITE) --if-stale figures && $(VENV) -c "from sleepkit.paper.html import site; site('$(SITE)')"
clean: # runs/$(PROFILE), and the results and figures that git ignores
	rm -rf "$(DONE)" results/demo results/smoke figures/demo figures/smoke
lock: # requirements.lock anew from pyproject.toml in a fresh environment; torch stays at the version that the lock names
	folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && $(PYTHON) -m venv "$$folder" && \
	"$$folder/bin/python" -m pip install --quiet "$$(grep '^torch==' requirements.lock)" -e '.[tests]' && \
	{ sed '/^[^#]/,$$d' requirements.lock; "$$folder/bin/python" -m pip freeze --all --exclude pip --exclude-editable \
		| sed 's/+cpu$$//' | grep -Ev '^(nvidia|cuda|triton)'; } > .requirements.lock && mv .requirements.lock requirements.lock
.venv: .venv/stamp # the stamp is written last: a set-up that was killed has none and is begun again from nothing
.venv/stamp: requirements.lock pyproject.toml
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'sleepkit needs Python 3.11 or later: make PYTHON=python3.11')"
	@echo "setting up .venv (once; some minutes where torch has to be downloaded)"
	@if [ -f $@ ]; then rm -f $@; else $(PYTHON) -m venv --clear .venv; fi
	@$(VENV) -m pip install --quiet -r requirements.lock && $(VENV) -m pip install --quiet --no-deps --no-build-isolation -e . && touch $@

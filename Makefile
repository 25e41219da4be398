# make reproduce   the five notebooks in their order, what is stale only -> figures/$(PROFILE)/
# make test        unit tests, small runs of the notebooks, the golden notebooks (test-units, test-notebooks: either half)
# make golden      rebuild notebooks/*.ipynb from notebooks/*.py
# make figures     the figures notebook alone, from the result files that there are
# make html        one static site of the executed notebooks, tables and figures -> runs/$(PROFILE)/html/
# make lock        remake requirements.lock from pyproject.toml (torch stays at the version that the lock names)
# make fuzz      20,000 damaged recordings and hypnograms (a quarter of an hour)
# make clean       remove runs/$(PROFILE) and the results and figures that git ignores
# make .venv       the set-up alone, test tools included
#
# PROFILE=name takes notebooks/profiles/name/*.yaml; PYTHON=python3.12 takes another interpreter for .venv.
# The two stage-1 notebooks, and the halves of the tests, run side by side; `make -j1` runs one after the other.
# SLEEPKIT_RUNS moves runs/, SLEEPKIT_DATA names the recordings.
# The repository may lie in a folder whose name has spaces; SLEEPKIT_RUNS may not have any (make cannot).

PROFILE ?= demo
PYTHON  ?= python3

RUNS     := $(or $(SLEEPKIT_RUNS),runs)
DONE     := $(RUNS)/$(PROFILE)
NAMES    := prepare stage1_edf20 stage1_edf78 stage2_prune figures
SOURCES  := $(sort $(shell find sleepkit -name '*.py' -not -path 'sleepkit/bench/*' -not -name html.py) $(wildcard sleepkit/paper/published/* sleepkit/paper/figures/*.mplstyle))
PROFILES := demo $(sort $(notdir $(patsubst %/,%,$(dir $(wildcard notebooks/profiles/*/*.yaml)))))
START    := $(shell date +%s)
VENV     := .venv/bin/python

# Two at a time, but not where they would share one GPU, nor the goals of `make clean reproduce`, whose order matters.
ifeq ($(MAKELEVEL)$(word 2,$(MAKECMDGOALS))$(shell grep -ls 'device: cuda' notebooks/profiles/$(PROFILE)/*.yaml),0)
MAKEFLAGS += -j2
endif

ifneq ($(words $(RUNS)),1)
$(error SLEEPKIT_RUNS must not contain spaces: "$(RUNS)")
endif
ifeq ($(filter $(PROFILE),$(PROFILES)),)
$(error there is no profile "$(PROFILE)"; there are: $(strip $(PROFILES)). Each is a folder notebooks/profiles/NAME, demo the notebooks' own defaults)
endif

.PHONY: reproduce test test-units test-notebooks fuzz golden figures html lock clean .venv FORCE
.DEFAULT_GOAL := reproduce

reproduce: $(DONE)/figures.ipynb
	@echo "figures/$(PROFILE)/index.md lists $$(ls figures/$(PROFILE) | grep -Eo '^(fig|tab)[0-9]+' | sort -u | wc -l) figures and tables;" \
		"numbers are in results/$(PROFILE), executed notebooks in $(DONE)."
	@echo "make reproduce took $$(( $$(date +%s) - $(START) )) s$(if $(STALE),, (nothing was stale))."

# Targets are the executed notebooks, not the results: results of real profiles are committed, and in a fresh clone git
# gives them times that mean nothing. A change of the environment alone makes no notebook stale, hence the bar.
$(NAMES:%=$(DONE)/%.ipynb): $(DONE)/%.ipynb: notebooks/%.py $(SOURCES) | .venv/stamp
	$(eval STALE := yes)
	@$(VENV) -m sleepkit run $* --profile $(PROFILE)

$(DONE)/stage1_edf20.ipynb $(DONE)/stage1_edf78.ipynb: $(DONE)/prepare.ipynb
$(DONE)/stage2_prune.ipynb: $(DONE)/stage1_edf20.ipynb $(DONE)/stage1_edf78.ipynb
$(DONE)/figures.ipynb: $(DONE)/stage2_prune.ipynb

# A notebook is stale too when its parameter file changed or when what it leaves in results/ or figures/ was removed.
left_by_prepare := results/$(PROFILE)/nights.csv
left_by_figures := figures/$(PROFILE)/index.md
left_by = $(or $(left_by_$(1)),results/$(PROFILE)/$(1))
$(foreach name,$(NAMES),$(eval $(DONE)/$(name).ipynb: \
	$(wildcard notebooks/profiles/$(PROFILE)/$(name).yaml) $(if $(wildcard $(call left_by,$(name))),,FORCE)))

# Each half keeps one core busy, about as long as the other, and neither writes where the other reads.
test: .venv/stamp
	@$(MAKE) --no-print-directory -k test-units test-notebooks

test-units: .venv/stamp
	$(VENV) -m pytest --ignore=tests/execution/test_notebooks.py

test-notebooks: .venv/stamp
	$(VENV) -m pytest --nbval notebooks tests/execution/test_notebooks.py

fuzz: .venv/stamp
	$(VENV) -m pytest -m slow -s tests/project/test_fuzz.py

golden: .venv/stamp
	$(VENV) -c "from sleepkit.execution.notebooks import golden; golden()"

figures: .venv/stamp
	@$(VENV) -m sleepkit run figures --profile $(PROFILE)

html: $(NAMES:%=$(DONE)/%.ipynb)
	@$(VENV) -c "from sleepkit.paper.html import build; build('$(DONE)', 'figures/$(PROFILE)', '$(DONE)/html')"

lock:
	folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && $(PYTHON) -m venv "$$folder" && \
	"$$folder/bin/python" -m pip install --quiet "$$(grep '^torch==' requirements.lock)" -e '.[tests]' && \
	{ sed '/^[^#]/,$$d' requirements.lock; "$$folder/bin/python" -m pip freeze --exclude-editable \
		| sed 's/+cpu$$//' | grep -Ev '^(nvidia|cuda|triton)'; } > .requirements.lock && mv .requirements.lock requirements.lock

clean:
	rm -rf $(DONE) results/demo results/smoke figures/demo figures/smoke

# The stamp is written last. A set-up that was killed half way has none and is begun again from nothing;
# one that is only out of date is brought up to date.
.venv: .venv/stamp
.venv/stamp: requirements.lock pyproject.toml
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'sleepkit needs Python 3.11 or later: make PYTHON=python3.11')"
	@echo "setting up .venv (once; some minutes where torch has to be downloaded)"
	@if [ -f $@ ]; then rm -f $@; else $(PYTHON) -m venv --clear .venv; fi
	@$(VENV) -m pip install --quiet -r requirements.lock
	@$(VENV) -m pip install --quiet --no-deps -e .
	@touch $@

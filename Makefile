# make quickstart   trains on the embedded data: both phases, the test set, plots in runs/drawn
# make test         runs every check and test
#
# Both install what they need into .venv, again only when a requirements file has changed.
# Another interpreter than python3: make quickstart PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
IN_VENV := $(VENV)/bin/python

.PHONY: quickstart test

quickstart: $(VENV)/installed
	$(IN_VENV) train.py --flagfile=flags/quickstart.cfg

test: $(VENV)/installed-for-tests
	$(IN_VENV) -m ruff check .
	$(IN_VENV) -m ruff format --check .
	$(IN_VENV) -m pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder

# The stamps are written last, so that an installation that broke off is done again. The
# environment is cleared: what is no longer required must not linger.
$(VENV)/installed: requirements.txt
	@command -v $(PYTHON) > /dev/null || { echo "make: no '$(PYTHON)' here; give one of Python 3.10 to 3.13: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; (3, 10) <= v <= (3, 13) or sys.exit("make: $(PYTHON) is Python %d.%d, but TensorFlow needs 3.10 to 3.13; give another: make PYTHON=python3.12" % v)'
	$(PYTHON) -m venv --clear $(VENV)
	$(IN_VENV) -m pip install --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/installed-for-tests: tests/requirements.txt $(VENV)/installed
	$(IN_VENV) -m pip install --disable-pip-version-check -r tests/requirements.txt
	touch $@

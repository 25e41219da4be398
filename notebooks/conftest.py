"""`pytest --nbval notebooks`: the notebooks in the order of their work, from an empty `runs` folder."""

import os
import shutil
import tempfile

import pytest

from sleepkit.execution import paths, record
from sleepkit.execution.notebooks import NAMES, kernel_environment

FOLDER = tempfile.mkdtemp(prefix="sleepkit-nbval-")
os.environ["SLEEPKIT_RUNS"] = os.path.join(FOLDER, "runs")  # what earlier runs left there would answer for this one
os.environ.update(kernel_environment(os.path.join(FOLDER, "kernel")), SLEEPKIT_DEVICE="cpu")  # as in the golden runs
for path in paths.results("demo").rglob(record.NAME):  # defaults may have changed since
    path.unlink()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Prepare before the notebooks that read what it wrote, and so on, then the tests that read what all of them left."""
    names = [f"{name}.ipynb" for name in NAMES]
    items.sort(key=lambda item: names.index(item.path.name) if item.path.name in names else len(names))
    for item in items:
        if item.path.name in names:
            item.add_marker(pytest.mark.filterwarnings("default"))  # a warning inside a notebook is not ours to fail on


def pytest_unconfigure():
    shutil.rmtree(FOLDER, ignore_errors=True)

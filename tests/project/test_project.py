"""The files around the package agree with each other: dependencies, locks, make, imports, sizes."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from sleepkit.execution.notebooks import NAMES
from sleepkit.execution.paths import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
PINS = {
    canonicalize_name(name): version
    for name, _, version in (line.partition("==") for line in LOCK if not line.startswith("#"))
}
NOT_PINNED = ("nvidia", "cuda", "triton", "setuptools")  # what torch brings for the machine at hand


def make(*arguments, **environment):
    if not shutil.which("make"):
        pytest.skip("needs make")
    # what an outer `make test` leaves in the environment is not for this make
    environment = {
        key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MAKELEVEL", "PROFILE")
    } | environment
    return subprocess.run(["make", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True)


def test_lock_is_nothing_but_exact_pins():
    lines = [line for line in LOCK if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line) for line in lines)
    assert len(PINS) == len(lines)
    assert PINS["torch"] == "2.13.0"
    assert not [name for name in PINS if name.startswith(NOT_PINNED)]


@pytest.mark.parametrize("line", PROJECT["dependencies"] + PROJECT["optional-dependencies"]["tests"])
def test_every_dependency_is_pinned_within_its_range(line):
    requirement = Requirement(line)
    assert requirement.specifier, f"{line} has no lower bound"
    assert PINS[canonicalize_name(requirement.name)] in requirement.specifier


def test_lock_is_complete():
    """What a pinned package needs is pinned too, at a version that suits it (where the pinned one is installed)."""
    wanting = []
    for name, version in PINS.items():
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        if found.version.partition("+")[0] != version:
            continue
        for requirement in map(Requirement, found.requires or []):
            needed = canonicalize_name(requirement.name)
            if needed.startswith(NOT_PINNED) or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
                continue
            if needed not in PINS or not requirement.specifier.contains(PINS[needed], prereleases=True):
                wanting.append(f"{name} needs {requirement}, the lock has {PINS.get(needed)}")
    assert not wanting


def test_environment_is_python_pip_and_the_lock():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    python, pip, from_pip = environment["dependencies"]
    assert pip == "pip"
    assert from_pip == {"pip": ["-r requirements.lock", "-e ."]}
    version = python.removeprefix("python=")
    assert version in SpecifierSet(PROJECT["requires-python"])
    assert f"Python {version}" in " ".join(LOCK), "the lock was made with another Python than environment.yml takes"


def test_citation():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert [author["family-names"] for author in citation["preferred-citation"]["authors"]] == ["Khuat", "Lim"]
    assert [reference["doi"] for reference in citation["references"]] == [
        "10.1109/10.867928",
        "10.1161/01.CIR.101.23.e215",
    ]
    assert citation["license"] == PROJECT["license"] == "MIT"
    assert "Copyright (c) 2026 the sleepkit authors" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert str(citation["version"]) == __import__("sleepkit").__version__


def test_ci_runs_make_test():
    run = ROOT / ".ci" / "run"
    assert os.access(run, os.X_OK)
    assert run.read_text(encoding="utf-8").splitlines()[-1] == "exec make test"


def test_contributing_has_four_commands_that_exist():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    commands = re.findall(r"^make (\S+)", text, re.MULTILINE)
    assert len(commands) == 4
    for target in commands:
        assert re.search(rf"^\.PHONY:.* {re.escape(target)}( |$)", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_make_runs_the_notebooks_in_their_order(tmp_path):
    planned = make("-n", "reproduce", SLEEPKIT_RUNS=str(tmp_path))
    assert planned.returncode == 0, planned.stderr
    assert re.findall(r"sleepkit run (\w+) --profile (\w+)", planned.stdout) == [(name, "demo") for name in NAMES]


def test_make_repeats_what_is_stale_only(tmp_path):
    """stage1_edf78 is missing: it, and what reads from it, are run; prepare and stage1_edf20 are not."""
    for number, name in enumerate(("prepare", "stage1_edf20", "stage2_prune", "figures")):
        (tmp_path / "p").mkdir(exist_ok=True)
        (tmp_path / "p" / f"{name}.ipynb").touch()
        os.utime(tmp_path / "p" / f"{name}.ipynb", (4e9 + number, 4e9 + number))
    # `left_by` is empty so that only times count, whatever results/ holds
    planned = make("-n", "reproduce", "PROFILES=p", "PROFILE=p", "left_by=Makefile", SLEEPKIT_RUNS=str(tmp_path))
    assert planned.returncode == 0, planned.stderr
    assert re.findall(r"sleepkit run (\w+)", planned.stdout) == ["stage1_edf78", "stage2_prune", "figures"]


@pytest.mark.parametrize(
    ("arguments", "flag"),
    [(["show"], "-j2"), (["show", "PROFILE=paper"], ""), (["show", "other"], ""), (["-j1", "show"], "")],
    ids=["two at a time", "not on one GPU", "not where goals follow one another", "not against the user's word"],
)
def test_make_runs_two_things_at_a_time(tmp_path, arguments, flag):
    path = tmp_path / "show.mk"
    path.write_text("include Makefile\nshow: ; @echo flag:$(filter -j2,$(MAKEFLAGS))\nother: ; @:\n")
    shown = make("-f", str(path), *arguments, MAKELEVEL="0", SLEEPKIT_RUNS=str(tmp_path))
    assert f"flag:{flag}\n" in shown.stdout, shown.stderr


def test_make_refuses_an_unknown_profile():
    refused = make("reproduce", "PROFILE=typo")
    assert refused.returncode == 2
    assert 'no profile "typo"; there are: demo' in refused.stderr


def test_every_data_file_is_packaged():
    package = ROOT / "sleepkit"
    patterns = PYPROJECT["tool"]["setuptools"]["package-data"]["sleepkit"]
    packaged = {path for pattern in patterns for path in package.glob(pattern)}
    files = {path for path in package.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    assert files and files - packaged == set()


@pytest.mark.parametrize(
    "modules, forbidden",
    [
        ("network supernet search training context", "mne papermill matplotlib"),
        ("figures tables recordings", "torch"),
        ("__main__", "torch mne papermill matplotlib pandas"),
    ],
)
def test_imports_stay_on_their_floor(modules, forbidden):
    code = f"import sys\nfor m in {modules.split()}: __import__('sleepkit.' + m)\nprint(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert set(forbidden.split()) & set(loaded.split()) == set()


@pytest.mark.parametrize(
    "path", sorted((ROOT / "sleepkit").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT))
)
def test_modules_are_read_in_one_sitting(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 350

"""The files around the package agree with each other: dependencies, locks, make, imports, sizes."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata

import house
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import sleepkit
from sleepkit.__main__ import main
from sleepkit.execution import notebooks
from sleepkit.execution.notebooks import NAMES
from sleepkit.execution.paths import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
EXTRAS = PROJECT["optional-dependencies"]
NEEDED = sorted(
    {line for lines in (PROJECT["dependencies"], *EXTRAS.values()) for line in lines} - set(EXTRAS["browser"])
)
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PINS = {
    canonicalize_name(name): version
    for name, _, version in (line.partition("==") for line in LOCK if not line.startswith("#"))
}
NOT_PINNED = ("nvidia", "cuda", "triton")  # what torch brings for the machine at hand


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


@pytest.mark.parametrize("line", [line for line in NEEDED if not line.startswith(PROJECT["name"])])
def test_every_dependency_is_pinned_within_its_range(line):
    requirement = Requirement(line)
    assert requirement.specifier, f"{line} has no lower bound"
    assert PINS[canonicalize_name(requirement.name)] in requirement.specifier


def test_all_is_every_extra_but_those_of_developers():
    (everything,) = EXTRAS["all"]
    assert Requirement(everything).extras == set(EXTRAS) - {"all", "browser", "tests"}
    assert f"{PROJECT['name']}[all]" in EXTRAS["tests"]


def test_everything_that_is_imported_is_declared():
    """By the package itself: tests may use what these bring."""
    distributions = {"sklearn": "scikit-learn", "yaml": "pyyaml", "PIL": "pillow"}
    declared = {canonicalize_name(Requirement(line).name) for line in NEEDED}
    names = {
        name.split(".")[0] for paths in house.modules().values() for path in paths for _, name in house.imported(path)
    }
    compared = {"yasa"}  # by `bench foreign`, where a user has it
    third_party = names - set(sys.stdlib_module_names) - {"sleepkit"} - compared
    assert {"numpy", "torch"} < third_party
    assert {canonicalize_name(distributions.get(name, name)) for name in third_party} - declared == set()


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
    assert from_pip == {"pip": ["-r requirements.lock", "-e .[tests]"]}
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
    assert str(citation["version"]) == sleepkit.__version__
    assert str(citation["date-released"]).startswith("2026-")


def test_changelog_begins_with_this_version():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## \[([^]]+)\]", text, re.MULTILINE)
    assert headings[:2] == ["Unreleased", sleepkit.__version__]


def test_the_workflow_tests_the_pythons_that_the_project_names():
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8"))["jobs"]
    assert set(jobs) == {"lint", "tests", "wheel"}
    named = [line.removeprefix("Programming Language :: Python :: ") for line in PROJECT["classifiers"]]
    tested = jobs["tests"]["strategy"]["matrix"]["python"]
    assert tested == [version for version in named if re.fullmatch(r"3\.\d+", version)]
    assert all(version in SpecifierSet(PROJECT["requires-python"]) for version in tested)
    assert {"run": "make test"} in jobs["tests"]["steps"]


def test_lint_is_of_one_version_and_comes_first():
    assert f"ruff=={PINS['ruff']}" in EXTRAS["tests"]
    planned = make("-n", "test", MAKELEVEL="0")
    commands = [line for line in planned.stdout.splitlines() if " -m ruff" in line or " -m pytest" in line]
    assert "ruff check" in commands[0] and "ruff format" in commands[0] and "--check" in commands[0]
    assert [line for line in commands[1:] if "pytest" in line] == commands[1:] and len(commands) == 3


def test_ci_runs_make_test():
    run = ROOT / ".ci" / "run"
    assert os.access(run, os.X_OK)
    assert run.read_text(encoding="utf-8").splitlines()[-1] == "exec make test"


def test_contributing_has_commands_that_exist():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    commands = re.findall(r"^make (\S+)", text, re.MULTILINE)
    assert len(commands) >= 4
    assert set(commands) <= set(re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)[1].split())


def test_the_makefile_is_one_page():
    assert len(MAKEFILE.splitlines()) <= 60


def test_make_runs_the_notebooks_in_their_order(tmp_path):
    planned = make("-n", "reproduce", SLEEPKIT_RUNS=str(tmp_path))
    assert planned.returncode == 0, planned.stderr
    steps = re.findall(r"sleepkit run --profile (\w+) --if-stale (\w+)", planned.stdout)
    assert steps == [("demo", name) for name in NAMES]


def test_lab_has_a_kernel_of_its_own_in_the_environment():
    planned = make("-n", "lab", MAKELEVEL="0").stdout
    assert (
        ".venv/bin/python -m ipykernel install --sys-prefix --name sleepkit && .venv/bin/python -m jupyter lab "
        in planned
    )
    assert "default_kernel_name=sleepkit notebooks" in planned


@pytest.mark.parametrize("first", ["stage1_edf20", "stage1_edf78"])
def test_either_notebook_of_stage_1_needs_prepare_alone(first):
    planned = make("-n", f"stale-{first}")
    assert re.findall(r"--if-stale (\w+)", planned.stdout) == ["prepare", first]


def test_what_is_stale_alone_is_run(capsys, monkeypatch):
    """stage1_edf78 is: it is run, and what reads from it after that; prepare and stage1_edf20 are not."""
    ran, stale = [], {"stage1_edf78"}

    def run(name, *_):
        ran.append(name)
        stale.update(NAMES[NAMES.index(name) + 1 :])

    monkeypatch.setattr(notebooks, "is_stale", lambda name, profile: name in stale)
    monkeypatch.setattr(notebooks, "run", run)
    assert main(["run", "all", "--if-stale"]) == 0
    assert ran == ["stage1_edf78", "stage2_prune", "figures"]
    assert "stage1_edf20: nothing is newer than its last run\n" in capsys.readouterr().out
    assert main(["run", "all", "--if-stale", "-p", "seed", "1"]) == 2


@pytest.mark.parametrize(
    ("arguments", "gpu", "flag"),
    [(["show"], False, "-j2"), (["show"], True, ""), (["show", "other"], False, ""), (["-j1", "show"], False, "")],
    ids=["two at a time", "not on one GPU", "not where goals follow one another", "not against the user's word"],
)
def test_make_runs_two_things_at_a_time(tmp_path, arguments, gpu, flag):
    if gpu:
        (tmp_path / "nvidia-smi").write_text("#!/bin/sh\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
    elif shutil.which("nvidia-smi"):
        pytest.skip("there is a GPU")
    path = tmp_path / "show.mk"
    path.write_text("include Makefile\nshow: ; @echo flag:$(filter -j2,$(MAKEFLAGS))\nother: ; @:\n")
    shown = make("-f", str(path), *arguments, MAKELEVEL="0", PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert f"flag:{flag}\n" in shown.stdout, shown.stderr


@pytest.mark.parametrize("target, profile", [("reproduce", "typo"), ("clean", "../.."), ("clean", "")])
def test_make_refuses_an_unknown_profile(target, profile):
    refused = make("-n", target, f"PROFILE={profile}")
    assert refused.returncode == 2
    assert f'no profile "{profile}"; there are: demo' in refused.stderr


def test_every_data_file_is_packaged():
    package = ROOT / "sleepkit"
    patterns = PYPROJECT["tool"]["setuptools"]["package-data"]["sleepkit"]
    packaged = {path for pattern in patterns for path in package.glob(pattern)}
    files = {path for path in package.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    assert files and files - packaged == set()

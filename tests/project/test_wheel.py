"""The wheel with its core dependencies alone, outside a checkout: it scores a night, and says what else would need."""

import os
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
from packaging.requirements import Requirement

import sleepkit
from sleepkit.execution.paths import ROOT, checkout

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
pytestmark = pytest.mark.skipif(os.name == "nt", reason="links to folders")


def core():
    """Distributions that the core needs, and what they need in turn."""
    found, wanted = {}, list(PROJECT["dependencies"])
    while wanted:
        requirement = Requirement(wanted.pop())
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        if requirement.name not in found:
            found[requirement.name] = metadata.distribution(requirement.name)
            wanted += found[requirement.name].requires or []
    return found.values()


def run(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """An environment with the wheel, and links to this environment's copies of the core dependencies in place of a
    download; `here` is an empty folder, `site` where the package was installed."""
    folder = tmp_path_factory.mktemp("wheel")
    source, venv, links, here = (folder / name for name in ("source", "venv", "links", "here"))
    shutil.copytree(ROOT / "sleepkit", source / "sleepkit", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    built = run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", folder, source)
    assert built.returncode == 0, built.stderr
    (wheel,) = folder.glob("sleepkit_companion-*.whl")
    assert run(sys.executable, "-m", "venv", "--without-pip", venv).returncode == 0
    python = venv / "bin" / "python"
    put = run(*pip, "--python", python, "install", "--no-deps", "--no-index", wheel)
    assert put.returncode == 0, put.stderr
    links.mkdir()
    here.mkdir()
    for distribution in core():
        for name in {file.parts[0] for file in distribution.files if file.parts[0] not in ("..", "__pycache__")}:
            (links / name).symlink_to(Path(distribution.locate_file(name)))
    (site,) = (venv / "lib").glob("python*/site-packages")
    (site / "core.pth").write_text(f"{links}\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SLEEPKIT_", "PYTHON"))}
    environment |= {"PYTHONDONTWRITEBYTECODE": "1", "MPLCONFIGDIR": str(folder / "mpl")}

    def command(*arguments, **options):
        return run(venv / "bin" / "sleepkit", *arguments, cwd=here, env=environment, **options)

    return SimpleNamespace(command=command, python=python, here=here, site=site, environment=environment)


def contents(folder):
    return sorted(path for path in folder.rglob("*") if path.suffix != ".pyc" and path.name != "__pycache__")


def test_a_night_is_scored_in_an_empty_folder(installed):
    before = contents(installed.site)
    look = (
        "from importlib.util import find_spec\nprint(list(filter(find_spec, ('torch', 'mne', 'papermill', 'sklearn'))))"
    )
    assert run(installed.python, "-c", look, env=installed.environment).stdout == "[]\n"
    shown = installed.command("--version")
    assert (shown.returncode, shown.stdout) == (0, f"sleepkit {sleepkit.__version__}\n")
    done = installed.command("simulate", "edf", "--subjects", "1", "--hours", "0.5")
    assert done.returncode == 0, done.stderr
    done = installed.command("score", "edf", "--output", "scored", "--hypnogram", "edf")
    assert (done.returncode, done.stderr) == (0, "")
    assert "agreement with the expert over" in done.stdout
    endings = {path.name.partition(".")[2] for path in (installed.here / "scored").iterdir()}
    assert endings == {"csv", "network.csv", "hypnogram.edf", "events.tsv", "png", "txt"}
    done = installed.command("prepare", "edf", "nights", "--jobs", "1")
    assert (done.returncode, done.stdout) == (0, "1 nights written, 0 nights unchanged, 0 nights failed\n"), done.stderr
    assert sorted(path.name for path in installed.here.iterdir()) == ["edf", "nights", "scored"]
    assert contents(installed.site) == before


@pytest.mark.parametrize(
    "command, words",
    [
        ("run all", "git clone"),
        ("release demo", "git clone"),
        ("export", "pip install 'sleepkit-companion["),
        ("fetch recordings", "pip install 'sleepkit-companion[fetch]'"),
        ("bench train", "pip install 'sleepkit-companion[train]'"),
    ],
)
def test_what_else_a_command_needs_is_one_line(installed, command, words):
    before = contents(installed.here)
    refused = installed.command(*command.split())
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: ") and words in refused.stderr and refused.stderr.count("\n") == 1
    assert contents(installed.here) == before


def test_a_checkout_is_told_from_an_installed_package(tmp_path):
    assert checkout() == ROOT
    assert checkout(tmp_path / "sleepkit") is None
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "sleepkit"\n')
    assert checkout(tmp_path / "sleepkit") is None, "another project's"
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "sleepkit-companion"\n')
    assert checkout(tmp_path / "sleepkit") == tmp_path

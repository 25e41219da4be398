"""The command line: exit status, one line for the user's errors, arguments that arrive."""

import subprocess
import sys

import pandas as pd
import pytest

import sleepkit
from sleepkit import recordings
from sleepkit.__main__ import main, parser
from sleepkit.execution.paths import ROOT
from sleepkit.recordings import download


def command(*arguments):
    return subprocess.run([sys.executable, "-m", "sleepkit", *arguments], cwd=ROOT, capture_output=True, text=True)


def test_help_names_every_command():
    shown = command("--help")
    assert shown.returncode == 0
    assert all(
        f"    {name} " in shown.stdout for name in ("simulate", "fetch", "prepare", "run", "score", "export", "bench")
    )


@pytest.mark.parametrize("name", ["simulate", "fetch", "prepare", "run", "score", "export", "bench"])
def test_help_of_each_command(name, capsys):
    with pytest.raises(SystemExit) as stop:
        parser().parse_args([name, "--help"])
    assert stop.value.code == 0
    assert name in capsys.readouterr().out


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert (stop.value.code, capsys.readouterr().out) == (0, f"sleepkit {sleepkit.__version__}\n")


@pytest.mark.parametrize(
    "arguments, package, extra",
    [
        (["run", "figures"], "jupytext", "notebooks"),
        (["export"], "onnx", "export"),
        (["bench", "train"], "torch", "train"),
    ],
)
def test_a_missing_package_is_one_line_and_status_2(arguments, package, extra):
    code = (
        f"import sys; sys.modules[{package!r}] = None; from sleepkit.__main__ import main; sys.exit(main({arguments}))"
    )
    refused = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    needs = f"error: this needs {package}, which is not installed: pip install 'sleepkit-companion[{extra}]'\n"
    assert (refused.returncode, refused.stderr) == (2, needs)


def test_a_mistyped_parameter_is_refused_before_anything_runs():
    refused = command("run", "stage1_edf20", "-p", "profil", "mine")
    assert refused.returncode == 2
    assert "stage1_edf20 has no parameter 'profil'; did you mean 'profile'?" in refused.stderr
    assert refused.stdout == ""
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["run", "stage3"], "no notebook 'stage3'; there are prepare, stage1_edf20"),
        (["run", "all", "-f", "x.yaml"], "-f belongs to one notebook"),
        (["run", "figures", "-f", "missing.yaml"], "missing.yaml"),
        (["run", "figures", "--profile", "typo"], "no profile 'typo'; there are demo"),
        (["run", "figures", "-p", "profile", "["], "-p profile: not YAML"),
        (["run", "stage2_prune", "-p", "max_minutes", "5"], "no parameter 'max_minutes'; the option is --max-minutes"),
        (["run", "stage1_edf20", "--device", "gpu"], "device='gpu': not here"),
        (["run", "figures", "-p", "profile", "../../etc"], "no dot in front"),
        (["run", "all", "--if-stale", "--profile", "../../etc"], "no dot in front"),
        (["run", "all", "--if-stale", "-p", "seed", "1"], "--if-stale knows profiles only"),
        (["release", "../../etc"], "no dot in front"),
        (["prepare", "missing-folder", "out"], "missing-folder"),
        (["simulate", "out", "--hours", "0"], "hours"),
    ],
)
def test_bad_input_is_one_line_and_status_2(arguments, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ") and words in printed.err
    assert not any(tmp_path.rglob("*.npz"))


def test_prepare_passes_its_arguments_on_and_lists_failed_nights(capsys, monkeypatch):
    table = pd.DataFrame(
        {"night": ["SC4001E0", "SC4002E0"], "status": ["written", "failed"], "problem": ["", "no sleep"]}
    )
    asked = {}
    monkeypatch.setattr(recordings, "prepare", lambda *folders, **given: asked.update(given, folders=folders) or table)
    assert main(["prepare", "a", "b", "--seconds", "5", "--jobs", "1"]) == 1
    expected = {"channel": "EEG Fpz-Cz", "wake_margin_minutes": 30, "seconds": 5, "jobs": 1, "allow_truncated": False}
    assert asked == {"folders": ("a", "b"), **expected}
    printed = capsys.readouterr()
    assert printed.out == "1 nights written, 0 nights unchanged, 1 nights failed\n"
    assert printed.err == "SC4002E0: no sleep\n"
    monkeypatch.setattr(recordings, "prepare", lambda *folders, **options: table[table.status != "failed"])
    assert main(["prepare", "a", "b"]) == 0


def test_simulate_then_prepare(tmp_path, capsys):
    edf, nights = str(tmp_path / "edf"), str(tmp_path / "nights")
    assert main(["simulate", edf, "--subjects", "1", "--hours", "0.5"]) == 0
    assert "1 nights in" in capsys.readouterr().out
    assert main(["prepare", edf, nights]) == 0
    assert "1 nights written" in capsys.readouterr().out
    assert [path.name for path in sorted((tmp_path / "nights").glob("*.npz"))] == ["SC4001E0.npz"]
    assert main(["prepare", edf, nights]) == 0
    assert "1 nights unchanged" in capsys.readouterr().out


def test_fetch_that_fails_says_so(tmp_path, capsys, monkeypatch):
    def fails(folder, dataset):
        raise download.FetchError(f"nobody listens for {dataset}")

    monkeypatch.setattr(download, "fetch", fails)
    assert main(["fetch", str(tmp_path), "--dataset", "edf78"]) == 1
    assert capsys.readouterr().err == "error: nobody listens for edf78\n"

"""Notebooks: refused parameters, whole files only, golden runs that match their sources, and one small run of each."""

import ast
import json
import os
import re
import shutil
import sys

import nbformat
import pandas as pd
import papermill
import pytest
from golden import golden

from sleepkit import results
from sleepkit.epochs import STAGES
from sleepkit.execution import notebooks, paths
from sleepkit.genotype import Genotype

# papermill, zmq and the kernels warn about each other; warnings as errors are for our own code
pytestmark = pytest.mark.filterwarnings("default")

TINY = """# %% [markdown]
# # Tiny
# %% tags=["parameters"]
profile = "demo"
rate = 0.001     # a number # with a note
note = "a # b"
seeds = [0, 1]
shares = [0, 0.5]
quick: bool = True
limit = None
turns = 2
# %%
import os, sys
print(sys.executable); print(os.environ["SLEEPKIT_RUNS"]); print(os.getcwd())
# %%
assert turns < 3, "too many turns"
"""
DEFAULTS = {
    "profile": "demo",
    "rate": 0.001,
    "note": None,  # papermill cuts it at its first #
    "seeds": [0, 1],
    "shares": [0, 0.5],
    "quick": True,
    "limit": None,
    "turns": 2,
}


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A folder of notebooks with one small notebook, under the name `figures`, and an empty `runs` folder."""
    folder = tmp_path / "notebooks"
    (folder / "profiles" / "other").mkdir(parents=True)
    (folder / "figures.py").write_text(TINY, encoding="utf-8")
    (folder / "profiles" / "other" / "figures.yaml").write_text("turns: 1\n", encoding="utf-8")
    monkeypatch.setattr(notebooks, "FOLDER", folder)
    monkeypatch.setattr(paths, "ROOT", tmp_path)  # results/, where run times are noted
    monkeypatch.setenv("SLEEPKIT_RUNS", str(tmp_path / "runs"))
    return folder


def outputs(path):
    """All text that the cells of an executed notebook show."""
    found = [output for cell in nbformat.read(path, as_version=4).cells for output in cell.get("outputs", [])]
    return "\n".join(output.get("text") or output.get("data", {}).get("text/plain", "") for output in found)


def test_default_parameters(tiny, tmp_path):
    notebook = notebooks.source("figures")
    assert notebooks.default_parameters(notebook) == DEFAULTS
    nbformat.write(notebook, tmp_path / "tiny.ipynb")
    assert list(papermill.inspect_notebook(tmp_path / "tiny.ipynb")) == list(DEFAULTS)


@pytest.mark.parametrize(
    "chosen",
    [
        {"rate": 1},
        {"rate": 0.5},
        {"limit": 3},
        {"limit": "x"},
        {"seeds": []},
        {"seeds": [5]},
        {"shares": [0.25, 1]},
        {"quick": False},
        {"note": ""},
        {"turns": 2.5},
        {"turns": 3},
        {},
    ],
)
def test_parameters_that_are_taken(chosen):
    notebooks.check_parameters("tiny", chosen, DEFAULTS)


def test_a_folder_is_seen_from_where_the_command_is_called(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for given, meant in (("nights", "nights"), ("./a/../nights", "nights"), ("~/nights", "home/nights")):
        assert notebooks.from_here({"source": given, "hours": 8}) == {"source": str(tmp_path / meant), "hours": 8}
    for same in ({"source": "data"}, {"source": ""}, {"source": str(tmp_path)}, {}):
        assert notebooks.from_here(same) == same


@pytest.mark.parametrize(
    "chosen, words",
    [
        ({"rates": 1}, "tiny has no parameter 'rates'; did you mean 'rate'? (it has profile, rate,"),
        ({"xyz": 1}, "tiny has no parameter 'xyz' (it has"),
        ({"rate": "1e-3"}, "rate = '1e-3' is text, but its default 0.001 is a number: write 0.001"),
        ({"rate": "fast"}, "rate = 'fast' is text, but its default 0.001 is a number"),
        ({"rate": None}, "is nothing"),
        ({"rate": True}, "is true or false"),
        ({"quick": 1}, "its default True is true or false"),
        ({"turns": "2.5"}, "its default 2 is a number: write 2.5"),
        ({"seeds": 3}, "its default [0, 1] is a list"),
        ({"note": 1, "turn": 1}, "did you mean 'turns'"),
    ],
)
def test_parameters_that_are_refused(chosen, words):
    with pytest.raises(ValueError) as refused:
        notebooks.check_parameters("tiny", chosen, DEFAULTS)
    assert words in str(refused.value)


def test_refused_before_anything_runs(tiny, tmp_path):
    (tmp_path / "p.yaml").write_text("rate: 1e-3\n", encoding="utf-8")
    (tmp_path / "list.yaml").write_text("- rate\n", encoding="utf-8")
    (tiny / "profiles" / "other" / "figures.yaml").write_text("profile: demo\n", encoding="utf-8")
    for words, arguments in {
        "write 0.001": {"parameters_file": tmp_path / "p.yaml"},
        "found a list": {"parameters_file": tmp_path / "list.yaml"},
        "no profile 'typo'; there are demo, other": {"profile": "typo"},
        "stands in the folder 'other'": {"profile": "other"},
    }.items():
        with pytest.raises(ValueError, match=words):
            notebooks.run("figures", **arguments)
    for profile in ("../../etc", "a/b", ".hidden", ""):
        with pytest.raises(ValueError, match="no dot in front"):
            notebooks.run("figures", parameters={"profile": profile})
    assert not (tmp_path / "runs").exists()


def test_a_notebook_is_stale_when_what_it_reads_is_newer_or_what_it_leaves_is_gone(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(notebooks, "PACKAGE", package := tmp_path / "sleepkit")
    read = {"source": tiny / "figures.py", "parameters": tiny / "profiles" / "other" / "figures.yaml"}
    read |= {
        "package": package / "genotype.py",
        "notebook before it": tmp_path / "runs" / "other" / "stage2_prune.ipynb",
    }
    left, unread = tmp_path / "figures" / "other" / "index.md", package / "bench" / "train.py"
    output = tmp_path / "runs" / "other" / "figures.ipynb"
    for number, path in enumerate((*read.values(), left, unread, output)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, (number, number))
    assert not notebooks.is_stale("figures", "other")
    os.utime(unread, (99, 99))
    assert not notebooks.is_stale("figures", "other"), "bench, which no notebook reads"
    for what, path in read.items():
        os.utime(path, (99, 99))
        assert notebooks.is_stale("figures", "other"), what
        os.utime(path, (1, 1))
    assert not notebooks.is_stale("figures", "other")
    for path in (left, output):
        path.rename(path.with_suffix(".away"))
        assert notebooks.is_stale("figures", "other"), path
        path.with_suffix(".away").rename(path)
    assert not notebooks.is_stale("figures", "other")


def test_run_leaves_whole_files(tiny, tmp_path, monkeypatch):
    """Success under the name, failure beside it, nothing temporary; the kernel is this Python, in `notebooks/`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLEEPKIT_RUNS", "runs")  # relative to here, and the kernel works elsewhere
    folder = tmp_path / "runs" / "other"
    folder.mkdir(parents=True)
    (folder / ".123-figures.ipynb").touch()  # of a run that was killed
    output = notebooks.run("figures", profile="other", parameters={"rate": 1})
    assert output.samefile(folder / "figures.ipynb")
    assert outputs(output).splitlines()[:3] == [sys.executable, str(tmp_path / "runs"), str(tiny)]
    assert os.listdir(folder) == ["figures.ipynb"]
    before = output.read_bytes()
    with pytest.raises(notebooks.NotebookFailed, match=r"AssertionError: too many turns\n.*figures\.failed\.ipynb"):
        notebooks.run("figures", profile="other", parameters={"turns": 3})
    assert output.read_bytes() == before
    assert sorted(os.listdir(folder)) == ["figures.failed.ipynb", "figures.ipynb"]
    notebooks.run("figures", profile="other")
    assert os.listdir(folder) == ["figures.ipynb"]


def test_golden_twice_is_the_same_bytes(tiny, monkeypatch):
    monkeypatch.setattr(notebooks, "NAMES", ("figures",))
    (tiny / "figures.py").write_text(TINY.replace("print(os.environ", "#"), encoding="utf-8")
    golden()
    first = (tiny / "figures.ipynb").read_bytes()
    golden()
    assert (tiny / "figures.ipynb").read_bytes() == first
    stored = nbformat.reads(first.decode(), as_version=4)
    assert outputs(tiny / "figures.ipynb").startswith(sys.executable)
    assert set(stored.metadata) == {"kernelspec"}
    assert [dict(cell.metadata) for cell in stored.cells] == [{}, {"tags": ["parameters"]}, {}, {}]


# ---- the five notebooks as they are committed


def golden_run(name):
    return nbformat.read(paths.ROOT / "notebooks" / f"{name}.ipynb", as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.mark.parametrize("name", notebooks.NAMES)
def test_golden_run_is_of_this_source(name):
    source, golden = notebooks.source(name), golden_run(name)
    assert [(cell.cell_type, cell.source, cell.metadata.get("tags", [])) for cell in source.cells] == [
        (cell.cell_type, cell.source, cell.metadata.get("tags", [])) for cell in golden.cells
    ], "run `make golden`"
    assert [cell.execution_count for cell in code_cells(golden)] == list(range(1, len(code_cells(golden)) + 1))
    assert not [output for cell in code_cells(golden) for output in cell.outputs if output.output_type == "error"]
    assert not [output for cell in code_cells(golden) for output in cell.outputs if output.get("name") == "stderr"]


@pytest.mark.parametrize("name", notebooks.NAMES)
def test_golden_run_shows_and_checks_something(name):
    cells = code_cells(golden_run(name))
    kinds = {kind for cell in cells for output in cell.outputs for kind in output.get("data", {})}
    assert "text/html" in kinds, "no table is shown"
    assert kinds & {"image/png", "image/svg+xml"}, "no figure is shown"
    compared = [cell for cell in cells if cell.outputs and "nbval-ignore-output" not in cell.metadata.get("tags", [])]
    assert len(compared) >= 3, "nbval has nothing to compare"
    assert any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(cells[-1].source))), "no checks at the end"


@pytest.mark.parametrize("name", notebooks.NAMES)
def test_papermill_reads_every_parameter(name, tmp_path):
    """A comment with an equals sign makes it overlook the line."""
    nbformat.write(notebooks.source(name), tmp_path / "notebook.ipynb")
    read = list(papermill.inspect_notebook(tmp_path / "notebook.ipynb"))
    assert read == list(notebooks.default_parameters(notebooks.source(name)))
    assert None not in notebooks.default_parameters(notebooks.source(name)).values(), "a default that is not checked"


@pytest.mark.parametrize("name", notebooks.NAMES)
def test_notebook_keeps_to_its_shape(name):
    notebook = notebooks.source(name)
    assert notebook.cells[0].cell_type == "markdown" and re.match(r"# .*\?", notebook.cells[0].source)
    assert "**The paper's claim.**" in notebook.cells[0].source or name == "figures"
    tagged = [cell for cell in code_cells(notebook) if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1
    assert notebooks.default_parameters(notebook)["profile"] == "demo"
    for cell in code_cells(notebook):
        tree = ast.parse(cell.source)
        assert not [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.ClassDef))], cell.source
        lines = [line for line in cell.source.splitlines() if line.strip() and not line.strip().startswith("#")]
        assert cell in tagged or len(lines) <= 12, cell.source


@pytest.mark.parametrize(
    "path",
    sorted((paths.ROOT / "notebooks" / "profiles").glob("*/*.yaml")),
    ids=lambda path: f"{path.parent.name}-{path.stem}",
)
def test_every_profile_is_accepted(path):
    chosen = notebooks.profile_parameters(path.stem, path.parent.name)
    notebooks.check_parameters(path.stem, chosen, notebooks.default_parameters(notebooks.source(path.stem)))


# ---- one small run of each, in their order, from nothing


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """Runs a notebook of the profile `smoke` and those before it, each once; returns the executed notebook's path."""
    patch = pytest.MonkeyPatch()
    patch.setenv("SLEEPKIT_RUNS", str(tmp_path_factory.mktemp("runs")))
    for folder in (paths.results("smoke"), paths.figures("smoke")):
        shutil.rmtree(folder, ignore_errors=True)
    done = {}

    def up_to(name):
        for each in notebooks.NAMES[: notebooks.NAMES.index(name) + 1]:
            done[each] = done.get(each) or notebooks.run(each, profile="smoke")
        return done[name]

    yield up_to
    patch.undo()


def read(*parts):
    path = paths.results("smoke").joinpath(*parts)
    return json.loads(path.read_text(encoding="utf-8")) if path.suffix == ".json" else pd.read_csv(path)


def test_smoke_prepare(smoke):
    shown = outputs(smoke("prepare"))
    nights = read("nights.csv")
    assert (nights[list(STAGES)].sum(axis=1) == nights.n_epochs).all()
    totals = nights.groupby("dataset").n_epochs.sum()
    assert list(totals.index) == ["edf20", "edf78"]
    for total in totals:
        assert total > 0
        assert f"{total:,}" in shown or str(total) in shown


@pytest.mark.parametrize("name", ["stage1_edf20", "stage1_edf78"])
def test_smoke_stage1(smoke, name):
    smoke(name)
    history = read(name, "history.csv")
    assert list(history.epoch) == list(range(1, len(history) + 1))
    assert history.valid_acc.between(0, 1).all()
    # what is removed at the end of an epoch is missing from the next
    for half in ("train", "valid"):
        lost = history[f"n_{half}"].diff().dropna()
        assert list(lost) == list(-history[f"removed_{half}"][:-1])
    assert history.removed_train.sum() > 0 and history.removed_operations.sum() > 0
    assert list(history.operations.diff().dropna()) == list(-history.removed_operations[:-1])
    Genotype.from_json((paths.results("smoke") / name / "genotype.json").read_text(encoding="utf-8"))  # or ValueError
    assert_crossval_agrees_with_confusion(name)


def test_smoke_stage2(smoke):
    smoke("stage2_prune")
    size = pd.concat([read("stage1_edf20", "parameters.csv"), read("stage2_prune", "parameters.csv")])
    keys = ["genotype", "channels", "cells"]
    both = size[size.pruned == 0].merge(size[size.pruned > 0], on=keys, suffixes=("_full", "_pruned"))
    assert len(both) > 0
    assert (both.params_pruned < both.params_full).all() and (both.macs_pruned < both.macs_full).all()
    assert_crossval_agrees_with_confusion("stage2_prune")
    assert_crossval_agrees_with_confusion("stage2_prune_edf78")
    assert read("stage2_prune_edf78", "crossval.csv").genotype.str.startswith("edf78").all()
    assert len(read("stage2_prune", "ablation.csv")) == 11
    searched = json.loads((paths.results("smoke") / "stage2_prune" / "ablation.json").read_text())["search"]
    assert (searched["channels"], searched["epochs"]) == (2, 2), "stage 1's search but for ablation_search"


def test_smoke_figures(smoke):
    smoke("figures")
    folder = paths.figures("smoke")
    index = (folder / "index.md").read_text(encoding="utf-8")
    items = {path.stem for path in folder.iterdir() if path.name.startswith(("fig", "tab"))}
    assert {"fig01", "fig06", "fig15", "tab01", "tab08"} <= {item[:5] for item in items}
    assert all(item in index for item in items)
    merged = read("crossval.csv")
    assert len(merged) == sum(len(read(name, "crossval.csv")) for name in results.FOLDERS)


def assert_crossval_agrees_with_confusion(name):
    """The accuracy of a pooled row is the share on the diagonal of its confusion matrix, and n its sum."""
    crossval, confusion = read(name, "crossval.csv"), read(name, "confusion.csv")
    keys = [key for key in confusion.columns if key not in ("true", "predicted", "n")]
    pooled = crossval[crossval.fold == "pooled"].set_index(keys).sort_index()
    folds = crossval[crossval.fold != "pooled"].groupby(keys, dropna=False).n.sum()
    assert len(pooled) > 0
    for key, matrix in confusion.groupby(keys, dropna=False):
        row = pooled.loc[key]
        assert row.n == matrix.n.sum() == folds[key]
        assert row.acc == pytest.approx(matrix.n[matrix.true == matrix.predicted].sum() / row.n, abs=1e-4)

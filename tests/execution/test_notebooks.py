"""Notebooks: refused parameters, whole files only, golden runs that match their sources, a small run."""

import ast
import os
import re
import shutil
import sys

import nbformat
import papermill
import pytest
from golden import golden

from sleepkit.__main__ import main
from sleepkit.execution import notebooks, paths, record

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
    "note": "a # b",
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
    assert notebooks.default_parameters("figures") == DEFAULTS
    nbformat.write(notebooks.source("figures"), tmp_path / "tiny.ipynb")
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


def test_lab_opens_and_saves_a_notebook_and_its_source_together(tmp_path):
    """The source is read though its .ipynb is newer; unchanged it stays the same bytes, an edit reaches both."""
    files = pytest.importorskip("jupyter_server.services.contents.largefilemanager")
    jupytext = pytest.importorskip("jupytext.sync_contentsmanager")
    folder = shutil.copytree(paths.ROOT / "notebooks", tmp_path / "notebooks")
    lab = jupytext.build_sync_jupytext_contents_manager_class(files.LargeFileManager)()
    lab.root_dir = str(folder)
    source, golden = folder / "prepare.py", folder / "prepare.ipynb"
    os.utime(source, (1e9, 1e9))
    before = source.read_bytes()
    notebook = lab.get("prepare.ipynb")
    lab.save(notebook, "prepare.ipynb")
    assert source.read_bytes() == before
    assert any(cell.get("outputs") for cell in nbformat.read(golden, as_version=4).cells)
    notebook["content"]["cells"][0]["source"] += "\n\nA line."
    lab.save(notebook, "prepare.ipynb")
    assert "\n# A line.\n" in source.read_text() and "A line." in golden.read_text()


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
    assert kinds & {"text/html", "text/markdown"}, "no table is shown"
    assert kinds & {"image/png", "image/svg+xml"}, "no figure is shown"
    compared = [cell for cell in cells if cell.outputs and "nbval-ignore-output" not in cell.metadata.get("tags", [])]
    assert len(compared) >= 3, "nbval has nothing to compare"
    assert any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(cells[-1].source))), "no checks at the end"


@pytest.mark.parametrize("name", notebooks.NAMES)
def test_papermill_reads_every_parameter(name, tmp_path):
    """A comment with an equals sign makes it overlook the line."""
    nbformat.write(notebooks.source(name), tmp_path / "notebook.ipynb")
    read = list(papermill.inspect_notebook(tmp_path / "notebook.ipynb"))
    assert read == list(notebooks.default_parameters(name))
    assert None not in notebooks.default_parameters(name).values(), "a default that is not checked"


@pytest.mark.parametrize("name", notebooks.NAMES)
def test_notebook_keeps_to_its_shape(name):
    notebook = notebooks.source(name)
    assert notebook.cells[0].cell_type == "markdown" and re.match(r"# .*\?", notebook.cells[0].source)
    assert "**The paper's claim.**" in notebook.cells[0].source or name == "figures"
    tagged = [cell for cell in code_cells(notebook) if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1
    assert notebooks.default_parameters(name)["profile"] == "demo"
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
    notebooks.check_parameters(path.stem, chosen, notebooks.default_parameters(path.stem))


def test_a_small_run_through_papermill(tmp_path, monkeypatch, capsys):
    """With the parameters of a profile, of a file, and a name for these: what it says is told on the way."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLEEPKIT_RUNS", str(tmp_path / "runs"))
    shutil.rmtree(paths.results("small-test"), ignore_errors=True)
    (tmp_path / "mine.yaml").write_text("hours: 0.6\nsubjects: [0, 20]\n")
    command = "run prepare --profile smoke -f mine.yaml -p profile small-test".split()
    assert main(command) == 0
    shown = outputs(tmp_path / "runs" / "small-test" / "prepare.ipynb")
    assert (tmp_path / "runs" / "small-test" / "nights").is_dir() and "2 nights" in shown
    line = "Profile small-test: results go to results/small-test.\n"
    assert line in shown and f"prepare: {line}" in capsys.readouterr().out
    assert record.read("small-test", "prepare")["parameters"]["hours"] == 0.6
    shutil.rmtree(paths.results("small-test"))

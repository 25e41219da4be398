"""The five notebooks: run one through papermill, or rebuild the golden runs.

`notebooks/NAME.py` (jupytext, py:percent) is the source of a notebook, `notebooks/NAME.ipynb` its golden run with the
default parameters, `runs/<profile>/NAME.ipynb` what `run` leaves.
"""

import ast
import difflib
import os
import sys
import tempfile
import time
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import jupytext
import nbformat
import papermill
import yaml
from ipykernel.kernelspec import write_kernel_spec
from papermill.exceptions import PapermillExecutionError

from sleepkit.execution.paths import ROOT, run_time, runs, written

NAMES = ("prepare", "stage1_edf20", "stage1_edf78", "stage2_prune", "figures")  # in the order of their work
FOLDER = ROOT / "notebooks"
KERNEL = {"name": "python3", "language": "python", "display_name": "Python 3"}


class NotebookFailed(Exception):
    """A cell of a notebook raised an error, or its kernel died; the message says where the failed run is kept."""


def run(name, profile=None, parameters_file=None, parameters=None):
    """Run one notebook through papermill and return the path of the executed copy, `runs/<profile>/NAME.ipynb`.

    profile : parameters come from `notebooks/profiles/<profile>/NAME.yaml`; a profile without that file changes
        nothing but the notebook's parameter `profile`. None or "demo": the defaults that stand in the notebook
    parameters_file : yaml of further parameters, which override those of the profile
    parameters : dict that overrides both
    The notebook appears under its name only when it has finished. Raises ValueError before anything runs when the
    notebook, the profile or a parameter is unknown or has the wrong type; NotebookFailed when a cell fails.
    """
    notebook = source(name)
    defaults = default_parameters(notebook)
    chosen = profile_parameters(name, profile) if profile else {}
    chosen |= _read_yaml(parameters_file) if parameters_file else {}
    chosen |= parameters or {}
    check_parameters(name, chosen, defaults)

    profile = chosen.get("profile", defaults.get("profile", "demo"))
    folder = runs(profile)
    output, failed = folder / f"{name}.ipynb", folder / f"{name}.failed.ipynb"
    for leftover in sorted(folder.glob(f".*-{name}.ipynb")):  # of a run that was killed
        leftover.unlink()
    start = time.time()
    print(f"{name}: running", flush=True)
    with written(output) as temporary:
        try:
            _execute(notebook, temporary, chosen)
        except PapermillExecutionError as error:
            os.replace(temporary, failed)
            raise NotebookFailed(
                f"{name}: cell [{error.exec_count}] raised {error.ename}: {error.evalue}\nthe failed run is {failed}"
            ) from None
        except RuntimeError as error:  # the kernel died, or did not start
            raise NotebookFailed(f"{name}: {error} (out of memory, or killed?)") from None
        # make compares times: what was edited while the notebook ran is newer than the notebook
        os.utime(temporary, (start, start))
    failed.unlink(missing_ok=True)
    seconds = f"{time.time() - start:.0f}"
    with written(run_time(profile, name)) as temporary:
        temporary.write_text(f"{seconds}\n")
    print(f"{name}: done in {seconds} s, {output}", flush=True)
    return output


def golden():
    """Run all five with their defaults and an empty `runs` folder, and store them as `notebooks/NAME.ipynb`.

    What differs from run to run without meaning anything (cell ids, times, paths, versions) is left out, so that two
    golden runs are the same bytes, except in cells tagged `nbval-ignore-output`.
    """
    with tempfile.TemporaryDirectory() as folder, _environment({"SLEEPKIT_RUNS": folder}):
        for name in NAMES:
            executed = Path(folder, f"{name}.ipynb")
            print(f"{name}: running", flush=True)
            _execute(source(name), executed, {})
            with written(FOLDER / f"{name}.ipynb") as temporary:
                nbformat.write(cleaned(nbformat.read(executed, as_version=4)), temporary)


def source(name):
    """The notebook of `notebooks/NAME.py`, without outputs. Raises ValueError when there is none of that name."""
    if name not in NAMES:
        raise ValueError(f"there is no notebook {name!r}; there are {', '.join(NAMES)}")
    notebook = jupytext.read(FOLDER / f"{name}.py")
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL})
    return notebook


def cleaned(notebook):
    """A copy with sources, tags, execution counts and outputs alone; cells have numbers in place of random ids."""
    clean = nbformat.v4.new_notebook(metadata={"kernelspec": KERNEL})
    for number, cell in enumerate(notebook.cells):
        tags = cell.metadata.get("tags")
        cell = nbformat.from_dict({**cell, "id": f"cell-{number}", "metadata": {"tags": tags} if tags else {}})
        clean.cells.append(cell)
    return clean


def default_parameters(notebook):
    """{name: value} of the assignments in the cell tagged `parameters`; None for a value that is not a literal.

    Read from the syntax tree: `papermill.inspect_notebook` finds the same names, but cuts a text at its first `#`.
    """
    cells = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    known = {}
    for statement in ast.parse("\n".join(cell.source for cell in cells)).body:
        if isinstance(statement, (ast.Assign, ast.AnnAssign)):
            target = statement.target if isinstance(statement, ast.AnnAssign) else statement.targets[0]
            try:
                known[target.id] = ast.literal_eval(statement.value)
            except ValueError:
                known[target.id] = None
    return known


def profiles():
    """Names of the profiles: demo (the defaults in the notebooks) and the folders of `notebooks/profiles`."""
    return ["demo", *sorted({path.parent.name for path in (FOLDER / "profiles").glob("*/*.yaml")})]


def profile_parameters(name, profile):
    """Parameters of a notebook in a profile. Raises ValueError when there is no such profile."""
    if profile not in profiles():
        raise ValueError(f"there is no profile {profile!r}; there are {', '.join(profiles())}")
    path = FOLDER / "profiles" / profile / f"{name}.yaml"
    parameters = _read_yaml(path) if path.exists() else {}
    if parameters.setdefault("profile", profile) != profile:
        raise ValueError(f"{path}: profile is {parameters['profile']!r}, but the file stands in the folder {profile!r}")
    return parameters


def check_parameters(name, chosen, defaults):
    """Raise ValueError naming every chosen parameter that the notebook does not have or that is of another type."""
    problems = []
    for key, value in chosen.items():
        if key not in defaults:
            near = difflib.get_close_matches(key, defaults, n=1)
            problems.append(
                f"{name} has no parameter {key!r}"
                + (f"; did you mean {near[0]!r}?" if near else "")
                + f" (it has {', '.join(defaults)})"
            )
        elif not _fits(value, defaults[key]):
            problems.append(
                f"{name}: {key} = {value!r} is {_kind(value)}, but its default {defaults[key]!r} is "
                f"{_kind(defaults[key])}{_cure(value)}"
            )
    if problems:
        raise ValueError("\n".join(problems))


def kernel_environment(folder):
    """Variables for a process that starts kernels: this Python and this sleepkit, inline figures, no progress bars.

    folder : an empty one, where the description of the kernel is written. Relative folders in SLEEPKIT_* are made
        absolute because kernels work in `notebooks/`.
    """
    # the level keeps the kernel's note on unencrypted local sockets away from the reader's terminal
    write_kernel_spec(Path(folder, "kernels", KERNEL["name"]), extra_arguments=["--log-level=ERROR"])
    variables = {"JUPYTER_PATH": str(folder), "PYTHONPATH": str(ROOT)}
    variables = {key: os.pathsep.join(filter(None, (value, os.environ.get(key)))) for key, value in variables.items()}
    variables |= {"SLEEPKIT_QUIET": "1", "MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    # Threads that share a small network wait for one another: with a second program on the machine two of them took
    # five times as long as one. Whoever has large networks or idle cores sets OMP_NUM_THREADS.
    variables["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", "1")
    # glibc would give a training step's memory back and take it anew for the next: 35,000 page faults, a tenth of the
    # time of a step (L = 7, C = 8, 500 samples, batch 128).
    for key in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"):
        variables[key] = os.environ.get(key, "4000000000")
    for key in ("SLEEPKIT_RUNS", "SLEEPKIT_DATA"):
        if os.environ.get(key):
            variables[key] = str(Path(os.environ[key]).absolute())
    return variables


def _execute(notebook, output, parameters):
    """Run a notebook in `notebooks/`; papermill saves to `output` after every cell, also when one fails."""
    with tempfile.TemporaryDirectory() as folder, _environment(kernel_environment(folder)):
        path = Path(folder, "source.ipynb")
        nbformat.write(notebook, path)
        papermill.execute_notebook(
            path, output, parameters, cwd=FOLDER, progress_bar=sys.stderr.isatty(), coalesce_streams=True
        )


@contextmanager
def _environment(variables):
    """`os.environ` with these variables, as it was afterwards."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def from_yaml(text, where):
    """The value that a piece of YAML stands for. Raises ValueError, which says `where`, when it is not YAML."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{where}: not YAML: {error}") from None


def _read_yaml(path):
    parameters = from_yaml(Path(path).read_text(encoding="utf-8"), path) or {}
    if not isinstance(parameters, dict):
        raise ValueError(f"{path}: expected lines `name: value`, found {_kind(parameters)}")
    return parameters


def _fits(value, default):
    """Whether a value may replace a default. A default of None says nothing; a whole number is a number too."""
    if default is None:
        return True
    if isinstance(default, (list, tuple)):
        return isinstance(value, (list, tuple)) and all(
            not default or any(_fits(item, known) for known in default) for item in value
        )
    if isinstance(default, bool) or isinstance(value, bool):
        return type(value) is type(default)
    return isinstance(value, (int, float) if isinstance(default, float) else type(default))


def _kind(value):
    if isinstance(value, (list, tuple)):
        return f"a list whose first item is {_kind(value[0])}" if value else "an empty list"
    return {
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        str: "text",
        dict: "a mapping",
        type(None): "nothing",
    }.get(type(value), type(value).__name__)


def _cure(value):
    """YAML takes 1e-3 for text; say how to write it."""
    try:
        return f": write {Decimal(value):f}" if isinstance(value, str) else ""
    except ArithmeticError:
        return ""

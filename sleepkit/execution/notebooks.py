"""The five notebooks, run through papermill. `notebooks/NAME.py` (jupytext, py:percent) is the source of a notebook,
`runs/<profile>/NAME.ipynb` what `run` leaves. papermill takes a second to import, hence inside the functions: whether a
notebook is stale is known at once."""

import ast
import contextlib
import difflib
import os
import sys
import tempfile
import time
from decimal import Decimal
from pathlib import Path

from sleepkit.execution import WorkFailed
from sleepkit.execution.jobs import environment, here
from sleepkit.execution.paths import PACKAGE, ROOT, figures, plain, results, run_time, runs, written

NAMES = ("prepare", "stage1_edf20", "stage1_edf78", "stage2_prune", "figures")  # in the order of their work
FOLDER = ROOT / "notebooks"
KERNEL = {"name": "python3", "language": "python", "display_name": "Python 3"}
KINDS = {bool: "true or false", int: "a number", float: "a number", str: "text", dict: "a mapping", list: "a list"}


class NotebookFailed(WorkFailed):
    """A cell raised an error, or the kernel died; the message says where the failed run is kept."""


def run(name, profile=None, parameters_file=None, parameters=None):
    """Run one notebook through papermill and return the path of the executed copy, `runs/<profile>/NAME.ipynb`.
    profile : whose `notebooks/profiles/<profile>/NAME.yaml` is read; None or "demo": the notebook's own defaults
    parameters_file : yaml of parameters that override the profile's;  parameters : dict that overrides both
    The notebook appears under its name only when it has finished. Raises ValueError before anything runs when the
    notebook, the profile or a parameter is unknown or of another kind; NotebookFailed when a cell fails."""
    notebook = source(name)
    chosen = profile_parameters(name, profile) if profile else {}
    chosen |= (_read_yaml(parameters_file) if parameters_file else {}) | (parameters or {})
    defaults = default_parameters(notebook)
    check_parameters(name, chosen, defaults)
    chosen = from_here(chosen)
    profile = plain((defaults | chosen)["profile"])
    output = runs(profile) / f"{name}.ipynb"
    for leftover in sorted(output.parent.glob(f".*-{name}.ipynb")):  # of a run that was killed
        leftover.unlink()
    print(f"{name}: running", flush=True)
    start = time.time()
    _run_whole(name, notebook, chosen, output)
    seconds = time.time() - start
    with written(run_time(profile, name)) as temporary:
        temporary.write_text(f"{seconds:.0f}\n")
    print(f"{name}: done in {seconds:.0f} s, {output}", flush=True)
    return output


def is_stale(name, profile="demo"):
    """Whether a notebook of a profile never ran, what it reads is newer than that run, or what it leaves was removed.
    Result files have no say by their time: that of committed ones is git's."""
    output = runs(profile) / f"{name}.ipynb"
    left = {"prepare": results(profile) / "nights.csv", "figures": figures(profile) / "index.md"}
    if not output.exists() or not left.get(name, results(profile) / name).exists():
        return True
    code = [path for path in PACKAGE.rglob("*") if path.suffix in (".py", ".csv", ".json", ".mplstyle")]
    code = [path for path in code if not {"bench", "html.py", "weights"} & set(path.relative_to(PACKAGE).parts)]
    before = {"stage1_edf78": NAMES[:1]}.get(name, NAMES[: NAMES.index(name)])
    inputs = [FOLDER / f"{name}.py", FOLDER / "profiles" / profile / f"{name}.yaml", *code]
    inputs += [runs(profile) / f"{earlier}.ipynb" for earlier in before]
    return max(path.stat().st_mtime for path in inputs if path.exists()) > output.stat().st_mtime


def source(name):
    """The notebook of `notebooks/NAME.py`, without outputs. Raises ValueError when there is none of that name."""
    if name not in NAMES:
        raise ValueError(f"there is no notebook {name!r}; there are {', '.join(NAMES)}")
    import jupytext
    import nbformat

    notebook = jupytext.read(FOLDER / f"{name}.py")
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL})
    return notebook


def default_parameters(notebook):
    """{name: value} of the cell tagged `parameters`, as papermill reads it; None for what is not a literal."""
    from papermill.translators import PythonTranslator

    cells, found = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])], {}
    for parameter in (parameter for cell in cells for parameter in PythonTranslator.inspect(cell)):
        found[parameter.name] = None
        with contextlib.suppress(ValueError, SyntaxError):  # papermill cuts a text at its first #
            found[parameter.name] = ast.literal_eval(parameter.default)
    return found


def profile_parameters(name, profile):
    """Parameters of a notebook in a profile. Raises ValueError when there is no such profile."""
    known = ["demo", *sorted({path.parent.name for path in (FOLDER / "profiles").glob("*/*.yaml")})]
    if profile not in known:
        raise ValueError(f"there is no profile {profile!r}; there are {', '.join(known)}")
    path = FOLDER / "profiles" / profile / f"{name}.yaml"
    parameters = _read_yaml(path) if path.exists() else {}
    if parameters.setdefault("profile", profile) != profile:
        raise ValueError(f"{path}: profile is {parameters['profile']!r}, but the file stands in the folder {profile!r}")
    return parameters


def from_here(parameters):
    """The same with `source`, a folder, as seen from the caller's, ~ expanded: kernels work in `notebooks/`."""
    if (folder := parameters.get("source", "")) in ("", "data"):
        return parameters
    return parameters | {"source": os.path.abspath(os.path.expanduser(folder))}


def check_parameters(name, chosen, defaults):
    """Raise ValueError naming every chosen parameter that is unknown or of another kind than the notebook's default."""
    problems = []
    for key, value in chosen.items():
        if key not in defaults:
            hint = "".join(f"; did you mean {near!r}?" for near in difflib.get_close_matches(key, defaults, n=1))
            problems.append(f"{name} has no parameter {key!r}{hint} (it has {', '.join(defaults)})")
        elif (default := defaults[key]) is not None and _kind(value) != _kind(default):
            words = f"{name}: {key} = {value!r} is {_kind(value)}, but its default {default!r} is {_kind(default)}"
            with contextlib.suppress(ArithmeticError):  # YAML takes 1e-3 for text
                words += f": write {Decimal(value):f}" if isinstance(value, str) else ""
            problems.append(words)
    if problems:
        raise ValueError("\n".join(problems))


def _kind(value):
    return KINDS.get(type(value), "nothing")


def kernel_environment(folder):
    """Variables for a process that starts kernels of this Python and sleepkit; an empty `folder` takes their spec."""
    from ipykernel.kernelspec import write_kernel_spec

    # the level keeps the kernel's note on unencrypted local sockets away from the reader's terminal
    write_kernel_spec(Path(folder, "kernels", KERNEL["name"]), extra_arguments=["--log-level=ERROR"])
    path = os.pathsep.join(filter(None, (str(folder), os.environ.get("JUPYTER_PATH"))))
    variables = here() | {"JUPYTER_PATH": path, "MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    # Threads that share a small network wait for one another: two may take five times as long as one.
    # glibc would give a training step's memory back and take it anew for the next: a tenth of the time of a step.
    wanted = {"OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "4000000000", "MALLOC_TRIM_THRESHOLD_": "4000000000"}
    variables |= {key: os.environ.get(key, value) for key, value in wanted.items()}
    ours = {key: os.environ[key] for key in ("SLEEPKIT_RUNS", "SLEEPKIT_DATA") if os.environ.get(key)}
    return variables | {key: str(Path(value).absolute()) for key, value in ours.items()}  # kernels work in `notebooks/`


def _run_whole(name, notebook, parameters, output):
    """Execute into `output`, or into NAME.failed.ipynb beside it and raise NotebookFailed."""
    from papermill.exceptions import PapermillExecutionError

    failed, start = output.with_suffix(".failed.ipynb"), time.time()
    with written(output) as temporary:
        try:
            execute(notebook, temporary, parameters)
        except PapermillExecutionError as error:
            os.replace(temporary, failed)
            words = f"cell [{error.exec_count}] raised {error.ename}: {error.evalue}\nthe failed run is {failed}"
            raise NotebookFailed(f"{name}: {words}") from None
        except RuntimeError as error:  # the kernel died, or did not start
            raise NotebookFailed(f"{name}: {error} (out of memory, or killed?)") from None
        os.utime(temporary, (start, start))  # what is edited while the notebook runs is newer than the notebook
    failed.unlink(missing_ok=True)


def execute(notebook, output, parameters):
    """Run a notebook in `notebooks/`; papermill saves to `output` after every cell, also when one fails."""
    import nbformat
    import papermill

    how = {"cwd": FOLDER, "progress_bar": sys.stderr.isatty(), "coalesce_streams": True}
    with tempfile.TemporaryDirectory() as folder, environment(kernel_environment(folder)):
        nbformat.write(notebook, path := Path(folder, "source.ipynb"))
        papermill.execute_notebook(path, output, parameters, **how)


def from_yaml(text, where):
    """The value that a piece of YAML stands for. Raises ValueError, which says `where`, when it is not YAML."""
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{where}: not YAML: {error}") from None


def _read_yaml(path):
    parameters = from_yaml(Path(path).read_text(encoding="utf-8"), path) or {}
    if not isinstance(parameters, dict):
        raise ValueError(f"{path}: expected lines `name: value`, found {_kind(parameters)}")
    return parameters

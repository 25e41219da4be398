"""The five notebooks, run through papermill. `notebooks/NAME.py` (jupytext, py:percent) is the source of a notebook,
`runs/<profile>/NAME.ipynb` what `run` leaves. papermill takes a second to import, hence inside the functions: whether a
notebook is stale is known at once."""

import ast
import contextlib
import difflib
import os
import re
import sys
import tempfile
import time
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

from sleepkit.execution import WorkFailed, record
from sleepkit.execution.jobs import environment, here, settle
from sleepkit.execution.paths import PACKAGE, ROOT, figures, plain, results, run_time, runs, written

NAMES = ("prepare", "stage1_edf20", "stage1_edf78", "stage2_prune", "figures")  # in the order of their work
FOLDER = ROOT / "notebooks"
KERNEL = {"name": "python3", "language": "python", "display_name": "Python 3"}
OPTIONS = ("device", "where", "max_minutes")  # what a run is told by options of the command, or variables SLEEPKIT_...
KINDS = {bool: "true or false", int: "a number", float: "a number", str: "text", dict: "a mapping", list: "a list"}


class NotebookFailed(WorkFailed):
    """A cell raised an error, or the kernel died; the message says where the failed run is kept."""


def begin(name, variables):
    """What notebook `name` does first: compute on one thread, leave its parameters with its results, and say where
    these go. variables : the notebook's own, `vars()`;  ValueError where two runs would mix (see `check_profile`)"""
    settle()
    parameters = {key: variables[key] for key in default_parameters(name)}
    check_profile(name, parameters)
    if name in record.BEFORE:
        record.write(name, parameters)
    profile = parameters["profile"]
    folder = {"prepare": f"results/{profile}", "figures": f"figures/{profile}"}.get(name, f"results/{profile}/{name}")
    print(f"Profile {profile}: results go to {folder}.", *record.apart(profile))


def check_profile(name, parameters):
    """Raise ValueError where a notebook would mix two runs: where the parameters are not those of the profile that they
    name, or not those behind the results that it has. `figures` wants a profile that is known or has results."""
    profile = plain(parameters["profile"])
    if name != "figures":
        defined = default_parameters(name) | profile_parameters(name, profile) if profile in named() else {}
        return record.check(name, parameters, defined)
    known = sorted({*named(), *(path.parent.name for path in results(profile).parent.glob("*/nights.csv"))})
    if profile not in known:
        what = f"no results{_near(profile, known)} (there are {', '.join(known)})"
        raise ValueError(f"figures: profile {profile!r} has {what}")


def run(name, profile=None, parameters_file=None, parameters=None):
    """Run one notebook through papermill and return the path of the executed copy, `runs/<profile>/NAME.ipynb`.
    profile : whose `notebooks/profiles/<profile>/NAME.yaml` is read; None or "demo": the notebook's own defaults
    parameters_file : yaml of parameters that override the profile's;  parameters : dict that overrides both
    The notebook appears under its name only when it has finished. Raises ValueError before anything runs when the
    notebook, the profile or a parameter is unknown or of another kind; NotebookFailed when a cell fails."""
    notebook = source(name)
    chosen = profile_parameters(name, profile) if profile else {}
    chosen |= (_read_yaml(parameters_file) if parameters_file else {}) | (parameters or {})
    defaults = default_parameters(name)
    check_parameters(name, chosen, defaults)
    chosen = from_here(chosen)
    check_profile(name, defaults | chosen)
    profile = (defaults | chosen)["profile"]
    output = runs(profile) / f"{name}.ipynb"
    for leftover in sorted(output.parent.glob(f".*-{name}.ipynb")):  # of a run that was killed
        leftover.unlink()
    print(f"{name}: running", flush=True)
    start = time.time()
    _run_whole(name, notebook, chosen, output)
    seconds = time.time() - start
    if name != "figures":  # which computes nothing
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
    path = _path(name)
    import jupytext
    import nbformat

    notebook = jupytext.read(path)
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL})
    return notebook


def default_parameters(name):
    """{name: value} of the cell tagged `parameters` of `notebooks/NAME.py`; None for what is not a literal."""
    found, text = {}, _path(name).read_text(encoding="utf-8")
    cell = re.search(r'^# %% tags=\["parameters"\]\n(.*?)^# %%', text, re.DOTALL | re.MULTILINE)[1]
    for line in ast.parse(cell).body:
        for target in getattr(line, "targets", None) or [line.target]:
            found[target.id] = None
            with contextlib.suppress(ValueError):
                found[target.id] = ast.literal_eval(line.value)
    return found


def _path(name):
    if name not in NAMES:
        raise ValueError(f"there is no notebook {name!r}; there are {', '.join(NAMES)}")
    if not (path := FOLDER / f"{name}.py").exists():
        raise ValueError(f"{path} is missing: notebooks run in the repository, installed by `pip install -e .`")
    return path


def named():
    """The profiles that the repository defines: demo, the notebooks' defaults, and the folders of profiles/."""
    return ["demo", *sorted({path.parent.name for path in (FOLDER / "profiles").glob("*/*.yaml")})]


def profile_parameters(name, profile):
    """Parameters of a notebook in a profile. Raises ValueError when there is no such profile."""
    if profile not in named():
        raise ValueError(f"there is no profile {profile!r}; there are {', '.join(named())} (-p profile NAME: your own)")
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
            instead = f"; the option is --{key.replace('_', '-')}" if key in OPTIONS else _near(key, defaults)
            problems.append(f"{name} has no parameter {key!r}{instead} (it has {', '.join(defaults)})")
        elif (default := defaults[key]) is not None and _kind(value) != _kind(default):
            words = f"{name}: {key} = {value!r} is {_kind(value)}, but its default {default!r} is {_kind(default)}"
            with contextlib.suppress(ArithmeticError):  # YAML takes 1e-3 for text
                words += f": write {Decimal(value):f}" if isinstance(value, str) else ""
            problems.append(words)
    if problems:
        raise ValueError("\n".join(problems))


def _near(name, known):
    return "".join(f"; did you mean {near!r}?" for near in difflib.get_close_matches(name, known, n=1))


def _kind(value):
    return KINDS.get(type(value), "nothing")


def kernel_environment(folder):
    """Variables for a process that starts kernels of this Python and sleepkit; an empty `folder` takes their spec."""
    from ipykernel.kernelspec import write_kernel_spec

    # the level keeps the kernel's note on unencrypted local sockets away from the reader's terminal
    write_kernel_spec(Path(folder, "kernels", KERNEL["name"]), extra_arguments=["--log-level=ERROR"])
    path = os.pathsep.join(filter(None, (str(folder), os.environ.get("JUPYTER_PATH"))))
    variables = here() | {"JUPYTER_PATH": path, "MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    ours = {key: os.environ[key] for key in ("SLEEPKIT_RUNS", "SLEEPKIT_DATA") if os.environ.get(key)}
    return variables | {key: str(Path(value).absolute()) for key, value in ours.items()}  # kernels work in `notebooks/`


def _run_whole(name, notebook, parameters, output):
    """Execute into `output`, or into NAME.failed.ipynb beside it and raise NotebookFailed."""
    from papermill.exceptions import PapermillExecutionError

    failed, start = output.with_suffix(".failed.ipynb"), time.time()
    with written(output) as temporary:
        try:
            execute(notebook, temporary, parameters, None if name == "figures" else _told(name))
        except PapermillExecutionError as error:
            os.replace(temporary, failed)
            words = f"cell [{error.exec_count}] raised {error.ename}: {error.evalue}\nthe failed run is {failed}"
            raise NotebookFailed(f"{name}: {words}") from None
        except RuntimeError as error:  # the kernel died, or did not start
            raise NotebookFailed(f"{name}: {error} (out of memory, or killed?)") from None
        os.utime(temporary, (start, start))  # what is edited while the notebook runs is newer than the notebook
    failed.unlink(missing_ok=True)


def _told(name):
    """An open file that prints, under a notebook's name, what that prints: work of hours says so where one watches."""

    def write(text):
        print(*(f"{name}: {line}" for line in text.splitlines()), sep="\n", flush=True)

    return SimpleNamespace(write=write, flush=lambda: None)


def execute(notebook, output, parameters, told=None):
    """Run a notebook in `notebooks/`; papermill saves to `output` after every cell, also when one fails.
    told : open file for what the notebook prints, as it does"""
    import nbformat
    import papermill

    how = {"cwd": FOLDER, "progress_bar": sys.stderr.isatty(), "coalesce_streams": True, "stdout_file": told}
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

"""Where things are, and how files get there whole."""

import os
import sys
from contextlib import contextmanager
from pathlib import Path

from tqdm.auto import tqdm

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = Path(__file__).resolve().parents[1] / "weights"  # of the networks that come with the package


def runs(profile):
    """Folder of everything large or temporary of a profile; `SLEEPKIT_RUNS` moves it."""
    return Path(os.environ.get("SLEEPKIT_RUNS") or ROOT / "runs") / profile


def results(profile):
    """Folder of the small result files (csv, json, npz) that tables and figures are drawn from."""
    return ROOT / "results" / profile


def run_time(profile, notebook):
    """File with the seconds that a notebook ran when it was last called."""
    return results(profile) / "run_times" / f"{notebook}.txt"


def figures(profile):
    """Folder of a profile's tables and figures."""
    return ROOT / "figures" / profile


def data():
    """Folder of recordings or prepared nights: `SLEEPKIT_DATA`, else `data/` in the repository."""
    return Path(os.environ.get("SLEEPKIT_DATA") or ROOT / "data")


@contextmanager
def written(path):
    """Yield a temporary path beside `path`; when the block ends well the file moves into place, otherwise it is
    removed.

    A reader therefore sees the old file or the whole new one, never half of one, wherever the process is killed.
    The temporary name keeps the ending (numpy and matplotlib choose the format by it) and starts with a dot.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def progress(iterable=None, **options):
    """A tqdm bar, silent unless somebody watches: on a terminal or in a notebook front end.

    papermill and nbval keep what is written to stderr, so in a kernel that they started the bar stays off
    (they set `SLEEPKIT_QUIET`; see `sleepkit.execution.notebooks` and `notebooks/conftest.py`).
    """
    in_notebook = type(sys.stderr).__module__.startswith("ipykernel")
    watched = not os.environ.get("SLEEPKIT_QUIET") and (in_notebook or sys.stderr.isatty())
    return tqdm(iterable, disable=not watched, dynamic_ncols=True, **options)

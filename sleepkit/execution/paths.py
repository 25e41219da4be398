"""Where things are, and how files get there whole."""

import os
import re
import sys
from contextlib import contextmanager
from pathlib import Path

from tqdm.auto import tqdm

from sleepkit.execution.extras import DISTRIBUTION

PACKAGE = Path(__file__).resolve().parents[1]
WEIGHTS = PACKAGE / "weights"  # of the networks that come with the package


def checkout(package=PACKAGE):
    """The folder of the repository that the package lies in; None for a package installed from a wheel."""
    project = package.parent / "pyproject.toml"
    ours = project.is_file() and f'name = "{DISTRIBUTION}"' in project.read_text(encoding="utf-8")
    return package.parent if ours else None


ROOT = checkout() or Path.cwd()  # where data/, runs/, results/ and figures/ are: never beside an installed package


def runs(profile):
    """Folder of everything large or temporary of a profile; `SLEEPKIT_RUNS` moves it."""
    return Path(os.environ.get("SLEEPKIT_RUNS") or ROOT / "runs") / plain(profile)


def results(profile):
    """Folder of the small result files (csv, json, npz) that tables and figures are drawn from."""
    return ROOT / "results" / plain(profile)


def figures(profile):
    """Folder of a profile's tables and figures."""
    return ROOT / "figures" / plain(profile)


def plain(profile):
    """The name of a profile, which is a folder's. Raises ValueError for one that could lead elsewhere."""
    if not re.fullmatch(r"[\w-][\w.-]*", str(profile), re.ASCII):
        raise ValueError(f"profile {profile!r}: a name has letters, digits, '.', '_' and '-', and no dot in front")
    return profile


def run_time(profile, notebook):
    """File with the seconds that a notebook ran when it was last called."""
    return results(profile) / "run_times" / f"{notebook}.txt"


def data():
    """Folder of recordings or prepared nights: `SLEEPKIT_DATA`, else `data/` in the repository."""
    return Path(os.environ.get("SLEEPKIT_DATA") or ROOT / "data")


@contextmanager
def written(path):
    """Yield a temporary path, of the same ending, that replaces `path` when the block ends well, else is removed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}-{path.name}")  # numpy and matplotlib go by the ending
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def progress(iterable=None, **options):
    """A tqdm bar, silent unless somebody watches, on a terminal or in a notebook front end."""
    in_notebook = type(sys.stderr).__module__.startswith("ipykernel")
    # what starts kernels sets SLEEPKIT_QUIET: papermill and nbval would keep the bar as output
    # a process may have no standard error at all
    watched = not os.environ.get("SLEEPKIT_QUIET") and (in_notebook or (sys.stderr is not None and sys.stderr.isatty()))
    return tqdm(iterable, disable=not watched, dynamic_ncols=True, **options)

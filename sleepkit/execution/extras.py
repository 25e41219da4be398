"""Imports on demand; where an optional package is missing, the message says which extra brings it."""

from contextlib import contextmanager
from importlib import import_module

DISTRIBUTION = "sleepkit-companion"  # on PyPI, `sleepkit` is another project
EXTRAS = {
    "train": ("torch", "safetensors", "sklearn"),
    "formats": ("mne",),
    "fetch": ("pooch", "requests"),
    "export": ("onnx",),
    "notebooks": ("papermill", "jupytext", "nbformat", "nbconvert", "ipykernel", "IPython", "yaml", "latex2mathml"),
    "slurm": ("submitit",),
}  # names as they are imported; pyproject.toml has the distributions


class MissingExtra(ImportError, ValueError):
    """An optional package is not installed; the message is one line with the command that installs it."""


@contextmanager
def extras():
    """Around the import of an optional package: raises MissingExtra in place of ModuleNotFoundError."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        for extra, packages in EXTRAS.items():
            if package in packages:
                cure = f"pip install '{DISTRIBUTION}[{extra}]'"
                raise MissingExtra(f"this needs {package}, which is not installed: {cure}", name=package) from error
        raise


def lazy(package, homes):
    """The `__getattr__` of a package (PEP 562): what a name needs is imported when the name is first asked for.

    homes : dict name -> the module below the package that defines it"""

    def getter(name):
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        with extras():
            return getattr(import_module(f"{package}.{homes[name]}"), name)

    return getter

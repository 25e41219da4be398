"""Optional packages: where one is missing, the message says which extra of the distribution brings it."""

from contextlib import contextmanager

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

"""Runnable companion of "EEG-Based Sleep Stage Classification via Differentiable Architecture Search and Multi-Level
Pruning"."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sleepkit.epochs import EpochSet
    from sleepkit.genotype import Genotype
    from sleepkit.network.sleepnet import SleepNet
    from sleepkit.recordings.preparation import prepare
    from sleepkit.scoring.staging import load_model, score

__version__ = "0.1.0"
__all__ = ["EpochSet", "Genotype", "SleepNet", "load_model", "prepare", "score"]

_HOMES = {
    "EpochSet": "epochs",
    "Genotype": "genotype",
    "SleepNet": "network.sleepnet",
    "load_model": "scoring.staging",
    "prepare": "recordings.preparation",
    "score": "scoring.staging",
}


def __getattr__(name):
    """The names above are imported when they are first asked for: `import sleepkit` itself loads nothing heavy."""
    if name not in _HOMES:
        raise AttributeError(f"module 'sleepkit' has no attribute {name!r}")
    from sleepkit.execution.extras import extras

    with extras():
        return getattr(import_module(f"sleepkit.{_HOMES[name]}"), name)


def __dir__():
    return sorted({*globals(), *__all__})

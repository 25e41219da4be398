"""Runnable companion of "EEG-Based Sleep Stage Classification via Differentiable Architecture Search and Multi-Level
Pruning"."""

from typing import TYPE_CHECKING

from sleepkit.execution.extras import lazy

if TYPE_CHECKING:
    from sleepkit.epochs import EpochSet
    from sleepkit.genotype import Genotype
    from sleepkit.network.sleepnet import SleepNet
    from sleepkit.recordings.preparation import prepare
    from sleepkit.scoring.staging import load_model, score

__version__ = "0.1.0"
__all__ = ["EpochSet", "Genotype", "SleepNet", "load_model", "prepare", "score"]
_HOMES = {"EpochSet": "epochs", "Genotype": "genotype", "SleepNet": "network.sleepnet"}
_HOMES |= {"load_model": "scoring.staging", "prepare": "recordings.preparation", "score": "scoring.staging"}
__getattr__ = lazy(__name__, _HOMES)  # `import sleepkit` itself loads nothing heavy


def __dir__():
    return sorted({*globals(), *__all__})

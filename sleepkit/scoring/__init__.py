"""Stages of a night of one's own: from a file, as it arrives, and by an exported network."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sleepkit.scoring.model import load_model
    from sleepkit.scoring.onnx_export import export
    from sleepkit.scoring.staging import score
    from sleepkit.scoring.stream import score_stream

__all__ = ["export", "load_model", "score", "score_stream"]
_HOMES = {"export": "onnx_export", "load_model": "model", "score": "staging", "score_stream": "stream"}


def __getattr__(name):  # what a function needs is imported when it is first asked for
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

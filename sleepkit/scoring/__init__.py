"""Stages of a night of one's own: from a file, as it arrives, and by an exported network."""

from typing import TYPE_CHECKING

from sleepkit.execution.extras import lazy

if TYPE_CHECKING:
    from sleepkit.scoring.model import load_model
    from sleepkit.scoring.onnx_export import export
    from sleepkit.scoring.plots import plot_hypnodensity, plot_hypnogram
    from sleepkit.scoring.staging import score
    from sleepkit.scoring.stream import score_stream

__all__ = ["export", "load_model", "plot_hypnodensity", "plot_hypnogram", "score", "score_stream"]
_HOMES = {"export": "onnx_export", "load_model": "model", "score": "staging", "score_stream": "stream"}
_HOMES |= {"plot_hypnodensity": "plots", "plot_hypnogram": "plots"}
__getattr__ = lazy(__name__, _HOMES)

"""Stage 1: the search for an architecture."""

from sleepkit.search.settings import SearchSettings
from sleepkit.search.supernet import SuperNet

__all__ = ["SearchSettings", "SuperNet"]

"""Stage 1: the search for an architecture."""

from sleepkit.search.settings import SearchSettings as SearchSettings
from sleepkit.search.supernet import SuperNet as SuperNet

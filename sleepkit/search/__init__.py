"""Stage 1: the search for an architecture."""

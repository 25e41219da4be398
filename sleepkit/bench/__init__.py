"""Measured comparisons with the customary way of doing a thing; each module's `run` prints its table."""

"""The last cell of a notebook: what it claims, what was expected, what was measured, and whether that holds."""

import pandas as pd


def checks(*claims):
    """Data frame of claims, each a tuple (claim, expected, measured, holds)."""
    frame = pd.DataFrame(claims, columns=["claim", "expected", "measured", "holds"])
    return frame.astype({"expected": str, "measured": str, "holds": bool})

"""The catalog of Sleep-EDF: which nights EDF-20 and EDF-78 have, and how their files are named."""

import csv
import re
from pathlib import Path

PUBLISHED = Path(__file__).resolve().parent.parent / "paper" / "published" / "epochs_per_recording.csv"
DATASETS = ("edf20", "edf78")

# SC4001E0-PSG.edf and SC4001EC-Hypnogram.edf: six characters name the recording, two the equipment and the scorer.
EDF_NAME = re.compile(r"(S[CT][47]\d{3})[A-Z][A-Z0-9]-(PSG|Hypnogram)\.edf", re.IGNORECASE)


def nights_of(dataset: str) -> tuple[str, ...]:
    """Recording ids of "edf20" (39 nights) or "edf78" (153 nights), sorted. ValueError for another name."""
    if dataset not in DATASETS:
        raise ValueError(f"no data set {dataset!r}; there are {' and '.join(DATASETS)}")
    with open(PUBLISHED, newline="") as file:
        return tuple(sorted(row["recording"] for row in csv.DictReader(file) if row["dataset"] == dataset))

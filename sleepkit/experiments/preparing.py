"""Before stage 1: recordings (real or simulated) become the prepared nights of a profile. Files in, files out."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from sleepkit.epochs import STAGES
from sleepkit.execution import paths
from sleepkit.paper.published import published
from sleepkit.recordings import nights_of, prepare
from sleepkit.recordings.simulation import simulate
from sleepkit.results import checks, write_table

DATASETS = ("edf20", "edf78")


@dataclass(frozen=True)
class Preparation:
    """Settings of the prepare notebook.

    source : folder of recordings or of prepared .npz nights; "data" is SLEEPKIT_DATA; empty simulates the nights of
    `subjects`
    """

    profile: str
    source: str = ""
    channel: str = "EEG Fpz-Cz"
    seconds: float = 30
    wake_margin_minutes: float = 30
    subjects: tuple = ()
    hours: float = 8
    seed: int = 0

    def __post_init__(self):
        object.__setattr__(self, "subjects", tuple(self.subjects))
        if not self.source and not self.subjects:
            raise ValueError("subjects is empty: name the subjects to simulate, or a source of recordings")

    @property
    def simulated(self):
        return not self.source

    @property
    def nights(self):
        """Folder of the prepared nights."""
        return paths.runs(self.profile) / "nights"


def obtain_recordings(settings):
    """The folder of the recordings; simulated ones are written there first."""
    if settings.simulated:
        folder = paths.runs(settings.profile) / "recordings"
        simulate(folder, settings.subjects, hours=settings.hours, seed=settings.seed)
        return folder
    return paths.data() if settings.source == "data" else Path(settings.source)


def prepare_nights(folder, settings):
    """Prepare every night of a folder; write nights.csv, where a night of EDF-20 stands for EDF-78 too, and
    preparation.json.

    returns the table of sleepkit.recordings.prepare, a row per night
    """
    table = prepare(folder, settings.nights, settings.channel, settings.wake_margin_minutes, settings.seconds)
    done = table[table.status != "failed"].drop(columns=["status", "problem"])
    parts = [done[done.night.isin(nights_of(dataset))].assign(dataset=dataset) for dataset in DATASETS]
    nights = pd.concat(parts, ignore_index=True)
    write_table(nights[["dataset", *done.columns]], paths.results(settings.profile) / "nights.csv")
    facts = {
        name: getattr(settings, name) for name in ("profile", "simulated", "channel", "seconds", "wake_margin_minutes")
    }
    with paths.written(paths.results(settings.profile) / "preparation.json") as path:
        path.write_text(json.dumps(facts, indent=1) + "\n")
    return table


def preparation_checks(table, epochs, settings):
    """Whether the nights are whole and, for real ones, have as many epochs as the authors counted."""
    failed = table[table.status == "failed"]
    counts = epochs.counts()
    amplitude = float(np.median(epochs.x.std(axis=1)))
    claims = [
        ("every night could be prepared", "0 failed", f"{len(failed)} failed", failed.empty),
        (
            "the files hold the epochs of the table",
            table.n_epochs.sum(),
            len(epochs),
            table.n_epochs.sum() == len(epochs),
        ),
        ("all five stages occur", "5 stages", f"{(counts > 0).sum()} stages", (counts > 0).all()),
        ("the signal is in µV", "median sd 5 to 50 µV", f"within: {5 < amplitude < 50}", 5 < amplitude < 50),
        (
            f"epochs keep {settings.seconds:g} s",
            f"{settings.seconds:g} s",
            f"{epochs.x.shape[1] / epochs.fs:g} s",
            epochs.x.shape[1] / epochs.fs == settings.seconds,
        ),
    ]
    if not settings.simulated:
        authors = published("epochs_per_recording").drop_duplicates("recording").set_index("recording").n_epochs
        known = table[table.night.isin(authors.index)]
        same = int((known.n_epochs.to_numpy() == authors[known.night].to_numpy()).sum())
        claims.append(
            ("epochs per night as the authors counted", f"{len(known)} nights", f"{same} nights", same == len(known))
        )
    return checks(*claims)


def stage_counts(table):
    """Epochs per stage over all nights: data frame stage, epochs, share."""
    counts = table[list(STAGES)].sum()
    return pd.DataFrame(
        {"stage": STAGES, "epochs": counts.to_numpy(), "share, %": (100 * counts / counts.sum()).round(1).to_numpy()}
    )

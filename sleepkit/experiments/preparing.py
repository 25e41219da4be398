"""Before stage 1: recordings (real or simulated) become the prepared nights of a profile. Files in, files out."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from sleepkit.epochs import STAGES
from sleepkit.execution import paths
from sleepkit.recordings import nights_of, prepare
from sleepkit.recordings.simulation import simulate
from sleepkit.recordings.sleep_edf import DATASETS
from sleepkit.results import write_json, write_table


@dataclass(frozen=True, kw_only=True)
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
    write_json(facts, paths.results(settings.profile) / "preparation.json")
    return table


def stage_counts(table):
    """Epochs per stage over all nights: data frame stage, epochs, share."""
    counts = table[list(STAGES)].sum()
    return pd.DataFrame(
        {"stage": STAGES, "epochs": counts.to_numpy(), "share, %": (100 * counts / counts.sum()).round(1).to_numpy()}
    )

"""Before stage 1: recordings (real or simulated) become the prepared nights of a profile. Files in, files out."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from sleepkit.epochs import STAGES
from sleepkit.execution import paths
from sleepkit.experiments.settings import as_tuples
from sleepkit.recordings import nights_of, prepare
from sleepkit.recordings.simulation import simulate
from sleepkit.recordings.sleep_edf import DATASETS
from sleepkit.results import COLUMNS, read, write_json, write_table


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """Settings of the prepare notebook.
    source : folder of recordings or of prepared .npz nights; "data" is SLEEPKIT_DATA; empty simulates `subjects`.
        What one's own nights are made of stands in them: their `channel` is that of their preparation"""

    profile: str
    source: str = ""
    channel: str = "EEG Fpz-Cz"
    seconds: float = 30
    wake_margin_minutes: float = 30
    subjects: tuple = ()
    hours: float = 8
    seed: int = 0

    def __post_init__(self):
        as_tuples(self)
        if self.simulated and not self.subjects:
            raise ValueError("subjects is empty: name the subjects to simulate, or a source of recordings")

    @property
    def simulated(self):
        return not self.source

    @property
    def origin(self):
        """Whose nights the prepared ones are, in words."""
        own = sorted(set(read(self.profile, "nights.csv").dataset) - set(DATASETS))
        known = f"Nights of {', '.join(own)}." if own else "Sleep-EDF Expanded, sleep cassette."
        return "Simulated nights." if self.simulated else known

    @property
    def nights(self):
        """Folder of the prepared nights."""
        return paths.runs(self.profile) / "nights"


def obtain_recordings(settings):
    """The folder of the recordings; simulated ones are written there first."""
    if not settings.simulated:
        return paths.data() if settings.source == "data" else Path(settings.source).expanduser().absolute()
    folder = paths.runs(settings.profile) / "recordings"
    simulate(folder, settings.subjects, hours=settings.hours, seed=settings.seed)
    return folder


def prepare_nights(folder, settings):
    """Prepare every night of a folder; write nights.csv, with a night of EDF-20 for EDF-78 too, and preparation.json.
    Returns the table of sleepkit.recordings.prepare, a row per night."""
    table = prepare(folder, settings.nights, settings.channel, settings.wake_margin_minutes, settings.seconds)
    done, results = table[table.status != "failed"], paths.results(settings.profile)
    own = done.get("dataset", pd.Series("", done.index)) != ""
    parts = [done[~own & done.night.isin(nights_of(dataset))].assign(dataset=dataset) for dataset in DATASETS]
    write_table(pd.concat([*parts, done[own]], ignore_index=True)[COLUMNS["nights.csv"]], results / "nights.csv")
    names = ("profile", "simulated", "channel", "seconds", "wake_margin_minutes")
    write_json({name: getattr(settings, name) for name in names}, results / "preparation.json")
    return table


def stage_counts(table):
    """Epochs per stage over all nights: data frame stage, epochs, share."""
    counts = table[list(STAGES)].sum().rename_axis("stage").reset_index(name="epochs")
    return counts.assign(**{"share, %": (100 * counts.epochs / counts.epochs.sum()).round(1)})

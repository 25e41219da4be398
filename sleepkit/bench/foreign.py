"""Nights of other laboratories: every labelled recording of a folder, staged by given networks and, where it is
installed, YASA (Vallat and Walker 2021, doi:10.7554/eLife.70092), and compared with the expert on the same epochs."""

import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd

from sleepkit.epochs import EPOCH_SECONDS, STAGES
from sleepkit.execution.paths import progress
from sleepkit.metrics import confusion, scores
from sleepkit.recordings.dataset import hypnogram_of, recordings_in
from sleepkit.scoring.model import load_model
from sleepkit.scoring.staging import read_night, score

YASA = "yasa"
YASA_EPOCHS = 10  # YASA looks at a quarter of an hour around every epoch


def run(folder, models=(), channel=None):
    """Print and return a row per recording and network: epochs, accuracy, kappa, macro-F1 and the recall of each stage;
    with the context of the night, and ("alone") each epoch for itself; pooled over the folder in the last rows.

    folder : prepared `.npz` nights with their stages, or recordings NAME.edf with NAME-Hypnogram.edf
    models : as `load_model` takes them; none is the package's own;  channel : as `score` takes them
    ValueError where no recording of the folder has an expert's stages"""
    folder, rows, pooled = Path(folder), [], {}
    networks = [load_model(model) for model in models or [None]]
    paths = recordings_in(folder)
    for path in progress(paths, desc="nights", unit="night"):
        for way, y, predicted in _staged(path, folder, networks, channel):
            matrix = confusion(y, predicted)
            rows.append(_row(path.stem, way, matrix))
            pooled[way] = pooled.get(way, 0) + matrix
    if not rows:
        raise ValueError(f"{folder}: none of {len(paths)} recordings has stages; expected NAME-Hypnogram.edf beside it")
    table = pd.DataFrame(rows + [_row("all", way, matrix) for way, matrix in pooled.items()])
    print(table.to_string(index=False, float_format=lambda value: f"{value:.3f}", na_rep="-"))
    if find_spec(YASA) is None:
        print("YASA is not installed; `pip install yasa` brings it, for a comparison on the same epochs")
    return table


def _staged(path, folder, networks, channel):
    """(way, stages of the expert, stages found) of one recording by every network and by YASA; none without labels."""
    hypnogram = None if path.suffix == ".npz" else hypnogram_of(path, folder)
    if path.suffix != ".npz" and hypnogram is None:
        return
    for model in networks:
        found = score(path, model, channel, hypnogram=hypnogram)
        known = (found.labels >= 0) & found.night.scored
        alone = found.network[list(STAGES)].to_numpy()
        yield model.name, found.labels[known], found.stages[known]
        yield f"{model.name}, alone", found.labels[known], alone[known].argmax(axis=1)
    if find_spec(YASA) and known.any() and (stages := _by_yasa(path, channel, networks[0])) is not None:
        yield YASA, found.labels[known], stages[known]


def _by_yasa(path, channel, model):
    """YASA's stages of a recording from its one channel, (n,) int; None where its epochs are not whole or too few."""
    import mne
    import yasa

    night = read_night(path, model.fs, model.samples, channel)
    if night.x[0].size < EPOCH_SECONDS * night.fs or len(night.x) < YASA_EPOCHS:
        return None
    info = mne.create_info(["EEG"], night.fs, "eeg")
    with warnings.catch_warnings(action="ignore"):
        raw = mne.io.RawArray(night.x.reshape(1, -1) * 1e-6, info, verbose="ERROR")
        found = yasa.SleepStaging(raw, eeg_name="EEG").predict()
    names = np.asarray(getattr(found, "hypno", found), dtype=str)
    return pd.Index(STAGES).get_indexer(pd.Series(names).replace({"R": "REM", "WAKE": "W"}))


def _row(name, way, matrix):
    found = scores(matrix)
    recall = matrix.diagonal() / np.where(matrix.any(axis=1), matrix.sum(axis=1), np.nan)
    row = {"recording": name, "by": way, "epochs": int(matrix.sum())}
    row |= {"accuracy": float(found["acc"]), "kappa": float(found["kappa"]), "macro-F1": float(found["mf1"])}
    return row | {f"recall {stage}": float(value) for stage, value in zip(STAGES, recall, strict=True)}

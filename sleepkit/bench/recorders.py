"""Held-out people of Sleep-EDF as other recorders would have written them: how much of the agreement stays."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from sleepkit.epochs import STAGES, parse_night, read_prepared
from sleepkit.execution.paths import progress
from sleepkit.experiments.recorders import RECORDERS, recorded
from sleepkit.metrics import confusion, scores
from sleepkit.scoring.model import load_model
from sleepkit.scoring.staging import score


def run(folder, models=(), channel=None):
    """Print and return a row per recorder and network: kappa with context and alone, what it lost, nights doubted.

    folder : prepared Sleep-EDF nights; of these the ones whose people the network has not met
    models, channel : as for `foreign`;  ValueError where a network has met everybody"""
    rows = []
    with TemporaryDirectory() as work:
        for model in [load_model(model) for model in models or [None]]:
            nights = unmet(folder, model)
            for name, how in progress(RECORDERS.items(), desc="recorders"):
                matrices, doubted = np.zeros((2, len(STAGES), len(STAGES)), dtype=int), 0
                for night in nights:
                    found = score(_written(night, how, work), model, channel)
                    known = (found.labels >= 0) & found.night.scored
                    alone = found.network[list(STAGES)].to_numpy()[known].argmax(axis=1)
                    matrices += [confusion(found.labels[known], one) for one in (found.stages[known], alone)]
                    doubted += bool(found.trust and found.trust.doubted)
                context, alone = scores(matrices)["kappa"].tolist()
                rows.append({"by": model.name, "recorder": name, "kappa": context, "alone": alone, "doubted": doubted})
    table = pd.DataFrame(rows)
    first = table.groupby("by")[["kappa", "alone"]].transform("first")
    table.insert(4, "change", table["kappa"] - first["kappa"])
    print(table.to_string(index=False, float_format=lambda value: f"{value:.3f}"))
    return table


def unmet(folder, model):
    """The prepared nights of a folder whose people neither trained nor validated a network: a list of paths."""
    sides = model.facts.get("training", {})
    met = {subject for side in ("train", "valid") for subject in sides.get(side, [])}
    found = [path for path in sorted(Path(folder).glob("[!.]*.npz")) if parse_night(path.stem)[0] not in met]
    if not found:
        raise ValueError(f"{folder}: {model.name} was trained on everybody in it; name a network of one fold")
    return found


def _written(path, how, work):
    night = read_prepared(path)
    x = recorded(night.x, night.fs, **how)[:, :, None]
    target = Path(work) / path.name
    np.savez(target, x=x, y=night.y.astype(np.int32), fs=night.fs, ch_label="EEG Fpz-Cz")
    return target

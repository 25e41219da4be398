"""What other shifts of N3 would give on labelled nights: how those of the package's default were chosen."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from sleepkit.epochs import STAGES
from sleepkit.execution.paths import progress
from sleepkit.experiments.recorders import confusions, split_whole, votes_of
from sleepkit.metrics import scores
from sleepkit.scoring.model import load_model
from sleepkit.scoring.staging import read_night

SHIFTS = (0, 0.3, 0.6, 0.9, 1.2, 1.5, 1.8, 2.1, 3)  # of the logit of N3
KINDS = "familiar", "unfamiliar"


def run(folder, models=(), channel=None):
    """Print and return a row per network and shift: kappa of the nights with all stages, each epoch alone and with
    context, and the recall of W and N3, each epoch alone, in the others.

    folder : prepared `.npz` nights with their stages, whole epochs or the first seconds of them
    models, channel : as for `foreign`;  ValueError for a network that holds no shifts"""
    rows, paths = [], sorted(Path(folder).glob("[!.]*.npz"))
    if not paths:
        raise ValueError(f"{folder}: no prepared nights (.npz) in it")
    for model in [load_model(model) for model in models or [None]]:
        if not set(KINDS) <= set(model.facts):
            raise ValueError(f"{model.name}: holds no shifts; name a network of sleepkit.experiments.augmented release")
        read = (read_night(path, model.fs, model.samples, channel) for path in paths)
        nights = [votes_of(model, night) for night in progress(read, total=len(paths), desc="nights")]
        whole, rest = split_whole(nights)
        for shift in SHIFTS:
            shifted = _shifted(model, shift)
            kappa = scores(confusions(shifted, whole))["kappa"] if whole else (np.nan, np.nan)
            alone, _ = confusions(shifted, rest)
            recall = alone.diagonal() / np.maximum(alone.sum(axis=1), 1)
            row = {"by": model.name, "N3": shift, "alone": kappa[0], "context": kappa[1]}
            rows.append(row | {f"recall {stage} of others": recall[STAGES.index(stage)] for stage in ("W", "N3")})
    table = pd.DataFrame(rows)
    print(table.to_string(index=False, float_format=lambda value: f"{value:.3f}", na_rep="-"))
    return table


def _shifted(model, shift):
    kinds = {kind: model.facts[kind] | {"shift": model.facts[kind]["shift"] | {"N3": shift}} for kind in KINDS}
    return replace(model, facts=model.facts | kinds)

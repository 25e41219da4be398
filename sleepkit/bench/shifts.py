"""What other shifts of N3 would give on labelled nights: how those of the package's default were chosen."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from sleepkit.epochs import STAGES
from sleepkit.evaluation.context import smooth
from sleepkit.execution.paths import progress
from sleepkit.metrics import confusion, scores
from sleepkit.scoring.familiarity import fitted, night_votes
from sleepkit.scoring.model import load_model
from sleepkit.scoring.staging import read_night

SHIFTS = (0, 0.3, 0.6, 0.9, 1.2, 1.5, 1.8, 2.1, 3)  # of the logit of N3
KINDS = "familiar", "unfamiliar"


def run(folder, models=(), channel=None):
    """Print and return a row per network and shift: kappa of the nights with all stages, each epoch alone and with
    context, and the recall of W and N3, each epoch alone, in the others.

    folder : prepared `.npz` nights with their stages, whole epochs or the first seconds of them
    models, channel : as for `foreign`;  ValueError for a network that holds no shifts"""
    rows, nights = [], sorted(Path(folder).glob("[!.]*.npz"))
    if not nights:
        raise ValueError(f"{folder}: no prepared nights (.npz) in it")
    for model in [load_model(model) for model in models or [None]]:
        if not set(KINDS) <= set(model.facts):
            raise ValueError(f"{model.name}: holds no shifts; name a network of sleepkit.experiments.augmented release")
        whole, rest = np.zeros((len(SHIFTS), 2, *2 * [len(STAGES)]), int), np.zeros((len(SHIFTS), 5, 5), int)
        for path in progress(nights, desc="nights", unit="night"):
            night = read_night(path, model.fs, model.samples, channel)
            known = night.scored & (night.labels >= 0)
            y, votes = night.labels[known], night_votes(model, night.x[known], night.good[known])
            for place, shift in enumerate(SHIFTS):
                alone, context, _ = fitted(_shifted(model, shift), votes)
                if len(np.unique(y)) < len(STAGES):
                    rest[place] += confusion(y, alone.argmax(axis=1))
                else:
                    whole[place] += [confusion(y, one.argmax(axis=1)) for one in (alone, smooth(alone, context))]
        recall = np.diagonal(rest, axis1=1, axis2=2) / np.maximum(rest.sum(axis=2), 1)
        kappas = scores(whole)["kappa"] if whole.any() else np.full((len(SHIFTS), 2), np.nan)
        for shift, kappa, found in zip(SHIFTS, kappas, recall, strict=True):
            row = {"by": model.name, "N3": shift, "alone": kappa[0], "context": kappa[1]}
            rows.append(row | {f"recall {stage} of others": found[STAGES.index(stage)] for stage in ("W", "N3")})
    table = pd.DataFrame(rows)
    print(table.to_string(index=False, float_format=lambda value: f"{value:.3f}", na_rep="-"))
    return table


def _shifted(model, shift):
    kinds = {kind: model.facts[kind] | {"shift": model.facts[kind]["shift"] | {"N3": shift}} for kind in KINDS}
    return replace(model, facts=model.facts | kinds)

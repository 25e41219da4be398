"""Networks for other laboratories' recorders: a trained network goes on training with augmentation."""

import argparse
from functools import partial
from pathlib import Path

from sleepkit.epochs import EpochSet
from sleepkit.evaluation.augmentation import other_recorder
from sleepkit.evaluation.crossval import Plan, cross_validate
from sleepkit.evaluation.protocols import SUBJECTWISE
from sleepkit.evaluation.training import TrainSettings
from sleepkit.experiments.release import everybody
from sleepkit.experiments.stage2 import soft_targets
from sleepkit.network.saved import load_network
from sleepkit.results import NetworkKey

VARIANT = "augmented"


def augmented_plan(data, fold, start, teachers, training, folder):
    """The plan of one fold's saved network `start` that goes on training under simulated recorders, towards the mean
    of the expert's stage and what the `teachers`, saved networks of the same fold, say of the undisturbed window."""
    net, about = load_network(start)
    sizes = {"channels": net.channels, "cells": len(net.cells), "pruned": about.get("config", {}).get("pruned", 0.5)}
    key = NetworkKey(SUBJECTWISE.name, "edf20", "published", **sizes, seed=training.seed, variant=VARIANT)
    targets = partial(soft_targets, [{fold.number: path} for path in teachers])
    facts = {"from": Path(start).name, "teachers": [Path(path).name for path in teachers]}
    how = {"training": training, "folder": folder, "facts": facts, "targets": targets}
    begin = partial(_begin, start)
    return Plan(key, data, (fold,), begin, **how, augment=partial(other_recorder, fs=data.fs))


def _begin(start, fold):
    return load_network(start)[0]


def main():
    """Train one fold; a finished one is skipped, an unfinished one is resumed after its last training epoch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("nights", help="folder of prepared nights of all 20 subjects")
    parser.add_argument("output", help="folder for the runs")
    parser.add_argument("--fold", default="0", help="0 to 9, or 'everybody'")
    parser.add_argument("--start", required=True, help="saved network of that fold, without ending")
    parser.add_argument("--teacher", action="append", default=[], help="saved networks of that fold; several times")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--lr", type=float, default=0.003)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    data = EpochSet.load(arguments.nights)
    fold = everybody(data.subject) if arguments.fold == "everybody" else SUBJECTWISE.folds(data)[int(arguments.fold)]
    settings = {"schedule": "cosine", "epochs": arguments.epochs, "lr": arguments.lr, "seed": arguments.seed}
    teachers = arguments.teacher or [arguments.start]
    plan = augmented_plan(data, fold, arguments.start, teachers, TrainSettings(**settings), arguments.output)
    print(cross_validate([plan])[0].networks[fold.number])


if __name__ == "__main__":
    main()

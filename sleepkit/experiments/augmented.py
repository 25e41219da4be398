"""Networks for other laboratories' recorders: a trained network goes on training with augmentation."""

import argparse
import json
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import onnx

from sleepkit.epochs import EpochSet
from sleepkit.evaluation.augmentation import other_recorder
from sleepkit.evaluation.context import POWERS
from sleepkit.evaluation.crossval import Plan, cross_validate
from sleepkit.evaluation.protocols import SUBJECTWISE, Normalisation
from sleepkit.evaluation.scores import fold_context, smooth_nights
from sleepkit.evaluation.training import TrainSettings
from sleepkit.execution.paths import written
from sleepkit.experiments.recorders import calibrate
from sleepkit.experiments.release import SHIPPED_BLOCK, spoken
from sleepkit.experiments.stage2 import soft_targets
from sleepkit.metrics import confusion, scores
from sleepkit.network.saved import load_network
from sleepkit.network.size import count_parameters
from sleepkit.recordings.quality import signal_facts
from sleepkit.results import NetworkKey
from sleepkit.scoring.model import load_model
from sleepkit.scoring.onnx_network import averaged_graph, network_graph
from sleepkit.scoring.spectra import training_spectra

PROFILE = "first5s-cpu"  # whose data and folds these are
VARIANT = "augmented"
WEIGHT = 4.0  # of a development night among Sleep-EDF's under simulated recorders, of which there are a hundred


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


def release_averaged(networks, path, data, fold, development=(), about=None):
    """Write PATH.onnx, which averages the probabilities of saved networks of a fold, and PATH.json, what it is.

    networks : paths without ending;  development : labelled Nights of other laboratories, which calibrate its Trust
    about : further facts (scores on development nights, ...);  returns the facts"""
    nets, known = zip(*map(load_network, networks), strict=True)
    train, unseen = data.subset(fold.train), data.subset(np.concatenate([fold.valid, fold.test]))
    facts = {name: known[0][name] for name in ("fs", "samples", "protocol")}
    facts |= {"averages": [Path(network).name for network in networks], "training": fold.subjects(data)}
    facts |= {"data": spoken(train, PROFILE, "edf20"), "parameters": sum(map(count_parameters, nets))}
    facts |= {"training_signal": signal_facts(train.x)} | (about or {})
    facts["spectrum"] = training_spectra(train.x, train.y, train.night, data.fs)
    scales = [Normalisation(**one["normalisation"]) for one in known]
    pairs = zip(nets, scales, strict=True)
    parts = [network_graph(net, facts["samples"], scale, block=SHIPPED_BLOCK) for net, scale in pairs]

    def write():
        with written(f"{path}.onnx") as temporary:
            onnx.save(averaged_graph(parts, facts), temporary)
        with written(f"{path}.json") as temporary:
            temporary.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        return load_model(f"{path}.onnx")

    alone = dict(zip(unseen.id.tolist(), write().probabilities(unseen.x), strict=True))
    kept = {"valid_id": data.id[fold.valid], "valid_prob": np.array([alone[one] for one in data.id[fold.valid]])}
    context = fold_context(data, fold, kept, POWERS)
    facts["context"] = {name: np.round(value, 8).tolist() for name, value in asdict(context).items()}
    facts["cross_validation"] = _tested(data.subset(fold.test), alone, context)
    facts["trust"] = calibrate(write(), unseen, [(night, WEIGHT) for night in development])
    write()
    return facts


def _tested(test, alone, context):
    """Scores on a fold's test subjects, alone and with context; alone : dict id -> (5,)."""
    found = np.array([alone[one] for one in test.id])
    by_context = smooth_nights(found, test.night, context)
    two = [scores(confusion(test.y, one.argmax(axis=1))) for one in (found, by_context)]
    first, second = ({name: round(float(value), 5) for name, value in one.items()} for one in two)
    known = {"data": spoken(test, PROFILE, "edf20"), "protocol": SUBJECTWISE.name, "n": len(test)}
    known |= {"folds": 1, "seeds": 1, "architecture_has_seen_test_subjects": True}
    return known | first | {"context": second}


def main():
    """Train one fold; a finished one is skipped, an unfinished one is resumed after its last training epoch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("nights", help="folder of prepared nights of all 20 subjects")
    parser.add_argument("output", help="folder for the runs")
    parser.add_argument("--fold", type=int, default=0, choices=range(10))
    parser.add_argument("--start", required=True, help="saved network of that fold, without ending")
    parser.add_argument("--teacher", action="append", default=[], help="saved networks of that fold; several times")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--lr", type=float, default=0.003)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--precision", default="float32", help="of activations: float32, bfloat16 or auto")
    arguments = parser.parse_args()
    data = EpochSet.load(arguments.nights)
    fold = SUBJECTWISE.folds(data)[arguments.fold]
    settings = {"schedule": "cosine", "epochs": arguments.epochs, "lr": arguments.lr, "seed": arguments.seed}
    settings["precision"] = arguments.precision
    teachers = arguments.teacher or [arguments.start]
    plan = augmented_plan(data, fold, arguments.start, teachers, TrainSettings(**settings), arguments.output)
    print(cross_validate([plan])[0].networks[fold.number])


if __name__ == "__main__":
    main()

"""Networks for other laboratories' recorders: a trained network goes on training with augmentation."""

import argparse
import json
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx

from sleepkit.epochs import STAGES, EpochSet
from sleepkit.evaluation.context import fit_context, fit_powers
from sleepkit.evaluation.crossval import Plan, cross_validate
from sleepkit.evaluation.protocols import SUBJECTWISE, Normalisation
from sleepkit.evaluation.training import TrainSettings
from sleepkit.execution.paths import written
from sleepkit.experiments.augmentation import other_recorder
from sleepkit.experiments.recorders import RECORDERS, calibrate, confusions, recorded_nights, split_whole, votes_of
from sleepkit.experiments.release import SHIPPED_BLOCK, spoken
from sleepkit.experiments.stage2 import soft_targets
from sleepkit.metrics import scores
from sleepkit.network.saved import load_network
from sleepkit.network.size import count_parameters
from sleepkit.recordings.quality import signal_facts
from sleepkit.results import NetworkKey
from sleepkit.scoring.familiarity import adapted
from sleepkit.scoring.model import load_model
from sleepkit.scoring.onnx_graph import averaged_graph, network_graph
from sleepkit.scoring.spectra import training_spectra
from sleepkit.scoring.staging import read_night

PROFILE = "first5s-cpu"  # whose data and folds these are
VARIANT = "augmented"
WEIGHT = 4.0  # of a development night, and of an excerpt of one, among Sleep-EDF's under simulated recorders
EXCERPT = 60  # epochs
NO_SHIFT = (0.0,) * len(STAGES)


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


def release_averaged(networks, path, data, fold, development=(), familiar=NO_SHIFT, unfamiliar=None):
    """Write PATH.onnx, which averages the probabilities of saved networks of a fold, and PATH.json, what it is.

    networks : paths without ending;  development : labelled Nights of other laboratories, which calibrate its Trust
    familiar, unfamiliar : (5,) added to the logits, how much likelier a stage is than the networks see it, in nights
        like the training's and in others (the same by default);  returns the facts"""
    nets, known = zip(*map(load_network, networks), strict=True)
    train, unseen = data.subset(fold.train), data.subset(np.concatenate([fold.valid, fold.test]))
    facts = {name: known[0][name] for name in ("fs", "samples", "protocol")}
    facts |= {"averages": [Path(network).name for network in networks], "training": fold.subjects(data)}
    facts |= {"data": spoken(train, PROFILE, "edf20"), "parameters": sum(map(count_parameters, nets))}
    facts |= {"training_signal": signal_facts(train.x)}
    facts |= {"spectrum": training_spectra(train.x, train.y, train.night, data.fs)}
    facts["familiar"] = {"shift": dict(zip(STAGES, familiar, strict=True))}
    facts["unfamiliar"] = {"shift": dict(zip(STAGES, unfamiliar or familiar, strict=True)), "weight": 1, "rarity": 1}
    scales = [Normalisation(**one["normalisation"]) for one in known]
    pairs = zip(nets, scales, strict=True)
    graphs = [network_graph(net, facts["samples"], scale, block=SHIPPED_BLOCK) for net, scale in pairs]
    model = _written(path, graphs, facts)
    theirs, others = recorded_nights(model, unseen), [votes_of(model, night, WEIGHT) for night in development]
    valid = [night for night in theirs if night.name.split(",")[0] in set(data.night[fold.valid])]
    context = _powers(model, fit_context(train.y, train.night), valid)
    own = _powers(model, context, split_whole(others)[0] or valid)
    facts["unfamiliar"] |= {"weight": own.weight, "rarity": own.rarity}
    facts["context"] = {name: np.round(value, 8).tolist() for name, value in asdict(context).items()}
    model = _written(path, graphs, facts)
    test = [night for night in theirs if night not in valid and night.name.endswith(f", {next(iter(RECORDERS))}")]
    facts["cross_validation"] = _tested(data.subset(fold.test), model, test)
    if development:
        facts["development_nights"] = _developed(model, others)
    parts = [votes_of(model, part, WEIGHT) for night in development for part in _half_hours(night)]
    facts["trust"] = calibrate(model, [*theirs, *others, *parts])
    _written(path, graphs, facts)
    return facts


def _written(path, graphs, facts):
    """The Model of PATH.onnx, which holds the graphs' mean and the facts; PATH.json holds the facts, too."""
    with written(f"{path}.onnx") as temporary:
        onnx.save(averaged_graph(graphs, facts), temporary)
    with written(f"{path}.json") as temporary:
        temporary.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return load_model(f"{path}.onnx")


def _half_hours(night):
    """Every second half hour of a labelled Night of more than one."""
    for first in range(0, len(night.x) - EXCERPT + 1, 2 * EXCERPT):
        rows = slice(first, first + EXCERPT)
        yield replace(night, x=night.x[rows], good=night.good[rows], labels=night.labels[rows])


def _powers(model, context, nights):
    """The context with the powers that are best on nights, a list of LabelledVotes."""
    parts = [(adapted(model, night.votes)[0], night.y, np.full(len(night.y), k)) for k, night in enumerate(nights)]
    return fit_powers(context, *map(np.concatenate, zip(*parts, strict=True)))


def _tested(test, model, nights):
    """Scores on a fold's test subjects, alone and with context; nights : their LabelledVotes."""
    two = [scores(one) for one in confusions(model, nights)]
    first, second = ({name: round(float(value), 5) for name, value in one.items()} for one in two)
    known = {"data": spoken(test, PROFILE, "edf20"), "protocol": SUBJECTWISE.name, "n": len(test)}
    known |= {"folds": 1, "seeds": 1, "architecture_has_seen_test_subjects": True}
    return known | first | {"context": second}


def _developed(model, nights):
    """Scores on LabelledVotes of other laboratories: kappa of those with all stages, alone and with context, and the
    recall of every stage, each epoch alone, in the others."""
    whole, rest = split_whole(nights)
    counted, rest = confusions(model, whole), confusions(model, rest)[0]
    found = {"nights": len(nights), "epochs": int(counted[0].sum() + rest.sum())}
    found |= dict(zip(("kappa", "kappa_with_context"), scores(counted)["kappa"].round(4).tolist(), strict=True))
    seen = rest.any(axis=1)
    recall = (rest.diagonal()[seen] / rest.sum(axis=1)[seen]).round(4).tolist()
    return found | {"recall": dict(zip(np.array(STAGES)[seen].tolist(), recall, strict=True))}


def main(argv=None):
    """Train a fold's network (an unfinished one goes on after its last training epoch), or release trained ones."""
    parser = argparse.ArgumentParser(prog="python -m sleepkit.experiments.augmented", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for function in (train, release):
        command = commands.add_parser(function.__name__, help=function.__doc__, description=function.__doc__)
        command.set_defaults(function=function)
        command.add_argument("nights", help="folder of prepared nights of all 20 subjects of EDF-20")
        command.add_argument("output", help="folder for the runs" if function is train else "file, without its ending")
        command.add_argument("--fold", type=int, default=0, choices=range(10))
        add = command.add_argument
        if function is train:
            add("--start", required=True, help="saved network of that fold, without ending")
            add("--teacher", action="append", default=[], help="saved network of that fold; may be given several times")
            add("--epochs", type=int, default=8)
            add("--lr", type=float, default=0.003)
            add("--seed", type=int, default=1)
            add("--precision", default="float32", help="of activations: float32, bfloat16 or auto")
        else:
            add("--network", action="append", required=True, help="saved network of that fold; may be given again")
            what = {"type": float, "nargs": len(STAGES), "metavar": ("W", "N1", "N2", "N3", "REM")}
            add("--shift", default=NO_SHIFT, help="added to the logits of a night like the training nights", **what)
            add("--unfamiliar", help="the same of a night with more fast activity than any of them", **what)
            add("--development", help="folder of labelled nights of other laboratories, prepared (.npz)")
    arguments = parser.parse_args(argv)
    data = EpochSet.load(arguments.nights)
    arguments.function(data, SUBJECTWISE.folds(data)[arguments.fold], arguments)


def train(data, fold, arguments):
    """train one network of a fold with augmentation"""
    given = {name: getattr(arguments, name) for name in ("epochs", "lr", "seed", "precision")}
    settings = TrainSettings(schedule="cosine", **given)
    teachers = arguments.teacher or [arguments.start]
    plan = augmented_plan(data, fold, arguments.start, teachers, settings, arguments.output)
    print(cross_validate([plan])[0].networks[fold.number])


def release(data, fold, arguments):
    """write an ONNX file that averages networks of a fold, as `score` takes it"""
    about = load_network(arguments.network[0])[1]
    paths = sorted(Path(arguments.development).glob("[!.]*.npz")) if arguments.development else []
    nights = [read_night(path, about["fs"], about["samples"]) for path in paths]
    shifts = arguments.shift, arguments.unfamiliar
    facts = release_averaged(arguments.network, arguments.output, data, fold, nights, *shifts)
    shown = ("parameters", "context", "unfamiliar", "cross_validation", "development_nights", "trust")
    print(json.dumps({name: facts[name] for name in shown if name in facts}, indent=1))


if __name__ == "__main__":
    main()

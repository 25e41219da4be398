"""A small stage 1 and what stage 2 makes of it, for the tests of this room."""

from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from toy import TINY, save_nights, toy

from sleepkit.evaluation.crossval import Plan, cross_validate
from sleepkit.evaluation.protocols import PROTOCOLS
from sleepkit.evaluation.scores import write_scores
from sleepkit.evaluation.training import TrainSettings
from sleepkit.execution import paths
from sleepkit.experiments.settings import Pruning, Run
from sleepkit.experiments.stage1 import list_networks
from sleepkit.experiments.stage2 import load_networks, prune_and_finetune
from sleepkit.network.sleepnet import new_network
from sleepkit.results import NetworkKey

TRAINING = TrainSettings(lr=0.01, batch=32, epochs=2)


@contextmanager
def at_home_in(root):
    """Results and runs are written below `root` and not in the repository."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "ROOT", root)
        patch.setenv("SLEEPKIT_RUNS", str(root / "runs"))
        yield


@pytest.fixture(scope="module")
def made(trained):
    """What was trained, and the folders where it lies, for the tests of a module."""
    with at_home_in(trained.root):
        yield trained


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Stage 1's networks, two seeds subject-wise and one epoch-wise, and the rows of what stage 2 makes of them."""
    root = tmp_path_factory.mktemp("root")
    with at_home_in(root):
        return _trained(root)


def _trained(root):
    epochs, run = toy(6, samples=60), Run(profile="toy")
    save_nights(epochs, root / "runs" / "toy" / "nights")
    kept, plans = epochs.subset(np.arange(len(epochs)) % 9 > 0), []
    for protocol, data, seed in (("epochwise", kept, 0), ("subjectwise", epochs, 0), ("subjectwise", epochs, 1)):
        key = NetworkKey(protocol, "edf20", "toy", channels=4, cells=3, seed=seed)
        folds = tuple(PROTOCOLS[protocol].folds(data, 2, 1))
        start = partial(new_network, TINY, 4, 3)
        plans.append(Plan(key, data, folds, start, replace(TRAINING, seed=seed), root / "first"))
    done = cross_validate(plans)
    write_scores(done, run.results(run.stage1))
    np.savez(run.results(run.stage1) / "kept.npz", train=kept.id[::2], valid=kept.id[1::2])
    list_networks(done, run.work(run.stage1), search={})
    networks = load_networks(run)
    pruning = Pruning(finetune_epochs=1, variants=("released", "distilled", "ensemble"))
    rows = prune_and_finetune(networks, pruning, run)
    return SimpleNamespace(
        root=root, epochs=epochs, kept=kept, networks=networks, pruning=pruning, run=run, rows=rows, training=TRAINING
    )

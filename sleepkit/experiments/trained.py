"""Trained networks over their folds, as the notebooks list them, and which of them differ only in their seed."""

import json
from dataclasses import dataclass
from pathlib import Path

from sleepkit.evaluation.protocols import SIDES
from sleepkit.evaluation.training import TrainSettings

NONE_SUBJECTWISE = 'stage 1 trained no network subject-wise; add "subjectwise" to its protocols'


@dataclass(frozen=True)
class Trained:
    """A trained network over its folds.

    keys : the columns protocol ... seed of crossval.csv
    networks : dict number of the fold -> path of its network, without ending
    train : settings of its training;  sides : dict fold -> subjects that train, validate and test; None epochwise
    data : name of the epochs of its folds (`EpochSet.content`)
    """

    keys: dict
    networks: dict
    train: TrainSettings
    sides: dict | None
    data: str

    @property
    def subjects(self):
        """Those of its subject-wise folds, sorted."""
        return sorted({subject for side in self.sides.values() for name in SIDES for subject in side[name]})


def load_trained(settings):
    """The networks that stage 1 trained, as a list of Trained, subject-wise ones first.

    Raises ValueError when stage 1 of the profile has not run.
    """
    return _listed(settings.first / "networks.json", f"stage1_{settings.dataset}", settings)


def load_pruned(settings):
    """The networks that `prune_and_finetune` made, as a list of Trained in the order of the full ones."""
    return _listed(settings.work / "networks.json", "stage2_prune", settings)


def _listed(path, notebook, settings):
    if not path.exists():
        raise ValueError(f"{path} is missing: run the notebook {notebook} of profile {settings.profile} first")
    networks = []
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
        for entry in listed["networks"]:
            where = {int(number): Path(network) for number, network in entry["networks"].items()}
            sides = listed["folds"] if entry["keys"]["protocol"] == "subjectwise" else None
            networks.append(Trained(entry["keys"], where, TrainSettings(**entry["train"]), sides, entry["data"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"{path}: not a list of networks as this version writes it ({error!r}); run the notebook {notebook} of "
            f"profile {settings.profile} again, which skips what is trained"
        ) from error
    return sorted(networks, key=lambda network: network.sides is None)


def subjectwise(trained):
    """Those of the networks that were tested on subjects of their own; ValueError where there are none."""
    chosen = [network for network in trained if network.sides is not None]
    if not chosen:
        raise ValueError(NONE_SUBJECTWISE)
    return chosen


def families(trained):
    """The subject-wise networks that differ in nothing but their seed: dict (genotype, channels, cells) -> list of
    Trained; the first family is the one that the sweep, the ablation and calibration look at."""
    groups = {}
    for network in subjectwise(trained):
        key = tuple(network.keys[name] for name in ("genotype", "channels", "cells"))
        groups.setdefault(key, []).append(network)
    return groups


def family(trained):
    """The first of `families`."""
    return next(iter(families(trained).values()))


def seeds_of(network, trained):
    """Those of the trained networks that differ from one in nothing but their seed, itself among them."""
    return [other for other in trained if other.keys | {"seed": network.keys["seed"]} == network.keys]

"""Stage 2 of the paper: remove filters from the trained networks, fine-tune, and compare with what else could have been done."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from sleepkit import crossval
from sleepkit.cost import count_macs
from sleepkit.network import SleepNet, count_parameters, load_network
from sleepkit.pruning.filters import filter_scores, kept_channels, l1_scores, prune_filters, random_scores, released_mask
from sleepkit.search import run_search
from sleepkit.stage1 import Stage1, genotypes, make_folds, train_network, write_runs
from sleepkit.results import write_table


@dataclass(frozen=True)
class Stage2:
    """Settings of the stage-2 notebook.

    first : the stage-1 settings whose networks are pruned
    ratio : share of channels removed in every tied set
    balance : weight of capacity against independence
    finetune_epochs : epochs after pruning, at a fifth of the learning rate
    """

    first: Stage1
    ratio: float = 0.5
    balance: float = 0.5
    finetune_epochs: int = 25

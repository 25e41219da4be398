"""Which device a run computes on."""

import os
import tempfile

import numpy as np
import torch

from sleepkit.epochs import EpochSet
from sleepkit.evaluation.training import TrainSettings, fit
from sleepkit.network.sleepnet import new_network
from sleepkit.paper.published import published_genotype
from sleepkit.search.bilevel import run_search
from sleepkit.search.settings import SearchSettings


def choose(device="auto"):
    """The device that a run computes on: "cpu", "cuda", "cuda:1" or "mps".

    "auto" is what the variable SLEEPKIT_DEVICE says, else CUDA, else Apple's MPS if a search and a training run on it,
    else the CPU. ValueError for a device that is unknown or not there."""
    there = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if device == "auto":
        device = os.environ.get("SLEEPKIT_DEVICE") or ("cuda" if there["cuda"] else "")
        device = device or ("mps" if there["mps"] and computes("mps") else "cpu")
    kind, _, number = device.partition(":")
    if not (number or "0").isdigit() or int(number or 0) >= there.get(kind, 0):
        found = f"PyTorch {torch.__version__} finds {', '.join(f'{n} {name}' for name, n in there.items())}"
        cure = "auto, the default, takes what there is. PyTorch with CUDA: https://pytorch.org/get-started/locally"
        raise ValueError(f"device={device!r}: not here; {found}. {cure}")
    return device


def computes(device):
    """Whether a device has every operation that is needed: a search and a training of two short epochs are tried."""
    x, numbers = np.random.default_rng(0).normal(0, 20, (80, 100)).astype(np.float32), np.arange(80)
    epochs = EpochSet(x, numbers % 5, numbers, np.full(80, "SC4001E0"), numbers, 100.0)
    search, data = SearchSettings(channels=2, cells=3, nodes=4, epochs=2, prune_every=2), (x, epochs.y)
    net = new_network(published_genotype("edf20"), 2, 3, 0)
    with tempfile.TemporaryDirectory() as folder:
        try:
            run_search(epochs, search, folder, device=device)
            fit(net, data, data, TrainSettings(epochs=2), folder, "trial", device=device)
        except (RuntimeError, TypeError):  # as PyTorch says that an operation or a type is missing
            return False
    return True

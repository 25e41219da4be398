"""Which device a run takes, and that one that is not there is refused."""

import pytest
import torch

from sleepkit.__main__ import main
from sleepkit.execution import notebooks
from sleepkit.experiments import device
from sleepkit.experiments.settings import Run


@pytest.fixture
def machine(monkeypatch):
    """A machine with so many CUDA devices and Apple GPUs, on which MPS has all operations or not."""
    monkeypatch.delenv("SLEEPKIT_DEVICE", raising=False)

    def has(cuda=0, mps=0, whole=True):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: bool(mps))
        monkeypatch.setattr(device, "computes", lambda name: whole)

    return has


def test_auto_takes_what_is_there(machine, monkeypatch):
    for there, expected in (
        ({}, "cpu"),
        ({"cuda": 1}, "cuda"),
        ({"mps": 1}, "mps"),
        ({"mps": 1, "whole": False}, "cpu"),
    ):
        machine(**there)
        run = Run(profile="mine")
        assert (run.device, run.gpus) == (expected, int(expected == "cuda"))
    machine(cuda=1)
    monkeypatch.setenv("SLEEPKIT_DEVICE", "cpu")
    assert Run(profile="mine").device == "cpu"
    assert Run(profile="mine", device="cuda").device == "cuda"


def test_options_of_the_command_reach_the_notebook(monkeypatch):
    found = {}

    def ran(name, *rest):
        one = Run(profile="mine")
        found[name] = one.device, one.where, one.max_minutes

    monkeypatch.setattr(notebooks, "run", ran)
    assert main(["run", "stage2_prune", "--device", "cpu", "--where", "local", "--max-minutes", "30"]) == 0
    assert main(["run", "prepare"]) == 0
    assert found == {"stage2_prune": ("cpu", "local", 30), "prepare": ("cpu", "inline", 0)}
    monkeypatch.setenv("SLEEPKIT_MAX_MINUTES", "an hour")
    with pytest.raises(ValueError, match="SLEEPKIT_MAX_MINUTES=an hour: expected a number of minutes"):
        Run(profile="mine")


@pytest.mark.parametrize("name", ["cuda", "cuda:1", "mps", "gpu", "meta", "", "cuda:x"])
def test_a_device_that_is_not_there_is_refused_with_the_cure(machine, name):
    machine(cuda=1 if name == "cuda:1" else 0)
    with pytest.raises(
        ValueError, match=rf"device='{name}': not here; PyTorch 2.* finds 1 cpu, \d cuda, 0 mps. auto, the"
    ):
        Run(profile="mine", device=name)


def test_a_device_is_tried_with_a_search_and_a_training():
    assert device.computes("cpu")
    assert not device.computes("meta")  # has no numbers

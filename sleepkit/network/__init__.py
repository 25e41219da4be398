"""The network that a genotype describes."""

from sleepkit.network.operations import OPERATIONS
from sleepkit.network.sleepnet import SleepNet

__all__ = ["OPERATIONS", "SleepNet"]

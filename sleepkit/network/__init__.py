"""The network that a genotype describes."""

from sleepkit.network.operations import OPERATIONS as OPERATIONS
from sleepkit.network.sleepnet import SleepNet as SleepNet

"""How large a network is: parameters, and multiply-accumulates for one epoch."""

import copy

import torch
from torch.utils.flop_counter import FlopCounterMode

from sleepkit.network.operations import DepthwisePointwise


def count_parameters(net):
    return sum(parameter.numel() for parameter in net.parameters())


def count_macs(net, samples):
    """Multiply-accumulates for one epoch of `samples` samples (torch's flop counter / 2), DepthwisePointwise as two."""
    net = copy.deepcopy(net).to("meta").eval()  # where nothing is done another way to be faster
    for module in net.modules():
        if isinstance(module, DepthwisePointwise):
            module.pair = True
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, 1, samples, device="meta"))
    return counter.get_total_flops() // 2

"""What a network costs: parameters and multiply-accumulates."""

import torch
from torch.utils.flop_counter import FlopCounterMode


def count_macs(net, samples):
    """Multiply-accumulates of the convolutions and the linear layer for one epoch of `samples` samples (torch's flop
    counter / 2)."""
    device = next(net.parameters()).device
    was_training = net.training
    net.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, 1, samples, device=device))
    net.train(was_training)
    return counter.get_total_flops() // 2

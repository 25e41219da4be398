"""A trained network on disk: weights as safetensors, and a JSON that says how to rebuild it and what it is."""

import json
from dataclasses import asdict
from pathlib import Path

from safetensors.torch import load_file, save

from sleepkit.execution.paths import written
from sleepkit.genotype import Genotype
from sleepkit.network.size import count_parameters
from sleepkit.network.sleepnet import CellWidths, SleepNet, Widths


def save_network(net, path, facts):
    """Write `path`.safetensors (weights) and `path`.json (how to rebuild the network, and `facts` about it).

    facts : dict that json can hold (sampling rate, normalisation, ...), but none of what rebuilds the network
    """
    sizes = {"channels": net.channels, "cells": len(net.cells), "n_classes": net.classifier.out_features}
    description = facts | {"genotype": asdict(net.genotype)} | sizes
    description |= {"widths": asdict(net.widths), "parameters": count_parameters(net)}
    with written(f"{path}.safetensors") as temporary:
        # not save_file, whose files nobody else may read: on a cluster's shared folder others do
        temporary.write_bytes(save({name: tensor.contiguous() for name, tensor in net.state_dict().items()}))
    with written(f"{path}.json") as temporary:
        temporary.write_text(json.dumps(description, indent=1) + "\n")


def load_network(path):
    """The network in `path`.safetensors and `path`.json, in eval mode, and its description as a dict.

    Raises ValueError when one of the files is missing, damaged, or does not fit the other.
    """
    if missing := [end for end in (".json", ".safetensors") if not Path(f"{path}{end}").exists()]:
        expected = "name a network that a notebook saved, without its ending (runs/PROFILE/.../foldN)"
        raise ValueError(f"{path}{' and '.join(missing)}: no such file; {expected}")
    try:
        description = json.loads(Path(f"{path}.json").read_text())
        stem, cells = description["widths"]["stem"], description["widths"]["cells"]
        widths = Widths(stem, tuple(CellWidths(tuple(cell["states"]), tuple(cell["inner"])) for cell in cells))
        sizes = (description[name] for name in ("channels", "cells", "n_classes"))
        net = SleepNet(Genotype(**description["genotype"]), *sizes, widths)
        weights, own = load_file(f"{path}.safetensors"), net.state_dict()
        shapes = [{name: tuple(tensor.shape) for name, tensor in part.items()} for part in (own, weights)]
        if wrong := [name for name in {**own, **weights} if shapes[0].get(name) != shapes[1].get(name)]:
            described = f"the weights are not those of the network that the description tells, from {wrong[0]} on"
            raise ValueError(f"{described} {len(wrong)} of {len(own)} tensors are others")
        net.load_state_dict(weights)
        if broken := [name for name, tensor in net.state_dict().items() if not tensor.isfinite().all()]:
            raise ValueError(f"{broken[0]} holds what is no number")
    except Exception as error:  # safetensors, torch and json raise a dozen kinds
        why = " ".join(str(error).split())[:300]
        problem = f"{path}.json and .safetensors: not a saved network ({why}); save it again or remove both"
        raise ValueError(problem) from error
    return net.eval(), description

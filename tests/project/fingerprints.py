"""What a refactoring must leave as it is, as one JSON: compare it before and after, on one machine.

    python tests/project/fingerprints.py before.json            # in the tree as it was
    python tests/project/fingerprints.py after.json before.json # in the changed tree: lists every difference

Hashes of the result files of `smoke` and `demo` (run them first; measured times are left out) and of the committed
profiles, logits of every packaged network, hashes of its ONNX graph, and names of the tensors of a search's checkpoint.
"""

import hashlib
import io
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from sleepkit.evaluation.protocols import Normalisation
from sleepkit.evaluation.training import predict_logits
from sleepkit.execution.paths import ROOT, WEIGHTS, results, runs
from sleepkit.network.saved import load_network
from sleepkit.scoring.onnx_graph import network_graph

TIMED = {"history.csv": ["seconds"], "cost.csv": ["median_ms", "p95_ms", "peak_mb", "startup_s", "epochs_per_s"]}
PROFILES = ("smoke", "demo", "first5s-cpu", "first5s-mini", "paper")


def digest(content):
    return hashlib.sha256(content).hexdigest()[:16]


def content(path):
    """Bytes of a result file without what differs from run to run; of an npz its arrays."""
    if path.suffix == ".csv":
        return pd.read_csv(path, dtype=str).drop(columns=TIMED.get(path.name, [])).to_csv(index=False).encode()
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return b"".join(name.encode() + arrays[name].tobytes() for name in sorted(arrays.files))
    return path.read_bytes()


def result_files():
    found = {}
    for profile in PROFILES:
        for path in sorted(results(profile).rglob("*")):
            if path.is_file() and "run_times" not in path.parts and path.suffix in (".csv", ".json", ".npz"):
                found[str(path.relative_to(ROOT))] = digest(content(path))
    return found


def packaged_networks():
    found, x = {}, np.random.default_rng(0).normal(0, 20, (16, 500)).astype(np.float32)
    for path in sorted(WEIGHTS.glob("*.safetensors")):
        net, about = load_network(path.with_suffix(""))
        scale = Normalisation(**about["normalisation"])
        graph = network_graph(net, about["samples"], scale, block=16).graph.SerializeToString()
        found[path.stem] = {"logits": digest(predict_logits(net, scale(x)).tobytes()), "onnx": digest(graph)}
    return found


def checkpoint_tensors():
    for path in sorted(runs("smoke").rglob("search.pt"))[:1]:
        state = torch.load(io.BytesIO(path.read_bytes()), weights_only=True)["state"]
        return {"state": sorted(state), "net": sorted(state["net"])}


def main(output, before=None):
    torch.set_num_threads(1)
    found = {"results": result_files(), "networks": packaged_networks(), "checkpoint": checkpoint_tensors()}
    Path(output).write_text(json.dumps(found, indent=1) + "\n")
    if before is None:
        return 0
    known, different = json.loads(Path(before).read_text()), 0
    for part, values in known.items():
        for name, value in values.items():
            if found[part].get(name) != value:
                different += 1
                print(f"{part}: {name} {'differs' if name in found[part] else 'is missing'}")
    print(f"{different} differences in {sum(map(len, known.values()))} recorded facts")
    return int(different > 0)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

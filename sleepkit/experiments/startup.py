"""One network in a process of its own: how long until its first answer, and how much memory it takes.

`python -m sleepkit.experiments.startup RUNTIME FILE SAMPLES [SAMPLES ...]`, with lengths that increase, imports its
runtime and nothing else that is large, and prints json: when its first epoch was scored (time.time()), and peak memory
in MB after every length.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from sleepkit.execution.paths import ROOT

EPOCHS = 5  # scored of every length before memory is read


def measure_startup(runtime, file, lengths):
    """Seconds from the start of a fresh process to its first scored epoch, and {samples: peak memory in MB}.
    runtime : "pytorch" (`file` is without its ending) or "onnx". A RuntimeError says what the process wrote"""
    lengths, file = sorted(lengths), str(Path(file).resolve())
    command = [sys.executable, "-m", "sleepkit.experiments.startup", runtime, file, *map(str, lengths)]
    start, environment = time.time(), os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.run(command, check=False, cwd=ROOT, env=environment, capture_output=True, text=True)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}: ended with status {process.returncode}\n{process.stderr}")
    scored, peaks = json.loads(process.stdout)
    return scored - start, dict(zip(lengths, peaks, strict=True))


def peak_memory():
    """Most memory that this process has held, MB. Not `ru_maxrss`: on Linux it starts at the parent's."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # bytes on macOS


def scorer(runtime, file):
    """Function that runs one batch, (n, 1, samples) float32 -> (n, 5) logits, on one thread of the processor."""
    if runtime == "onnx":
        from sleepkit.scoring.onnx_session import open_session

        session = open_session(file)
        return lambda x: session.run(None, {"eeg": x})[0]
    import torch

    from sleepkit.network.saved import load_network

    torch.set_num_threads(1)
    net, _ = load_network(file)
    return torch.inference_mode()(lambda x: net(torch.from_numpy(x)).numpy())


def noise(samples):
    """One epoch of noise as a network takes it: what a network costs does not depend on the signal."""
    return np.random.default_rng(0).uniform(-1, 1, (1, 1, samples)).astype(np.float32)


def main(runtime, file, *lengths):
    score = scorer(runtime, file)
    score(noise(int(lengths[0])))
    scored, peaks = time.time(), []
    for samples in map(int, lengths):
        for _ in range(EPOCHS):
            score(noise(samples))
        peaks.append(peak_memory())
    print(json.dumps([scored, peaks]))


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Whether the package's networks fit a wearable: flash, memory and instructions of their C on an emulated Cortex-M4.

Needs Debian's gcc-arm-none-eabi, libnewlib-arm-none-eabi and qemu-system-arm. Under `-icount shift=0` qemu's time is a
nanosecond an instruction, and the board's SysTick of 25 MHz counts one tick in 40 of them: no clock of this computer
is involved, and every run counts the same.
"""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd

from sleepkit.epochs import EPOCH_SECONDS, STAGES
from sleepkit.evaluation.protocols import Normalisation
from sleepkit.execution import WorkFailed
from sleepkit.execution.paths import progress, runs
from sleepkit.network.size import count_macs
from sleepkit.paper.tables import table_wearable
from sleepkit.recordings.simulation import simulate_night
from sleepkit.results import write_table
from sleepkit.scoring.c_source import write_c
from sleepkit.scoring.model import DEFAULT, read_context
from sleepkit.scoring.onnx_export import CALIBRATION, calibration_and_test, load_exportable
from sleepkit.scoring.staging import read_night

NETWORKS = {"full": DEFAULT, **{name: DEFAULT.with_name(f"{DEFAULT.name}_{name}") for name in ("pruned", "distilled")}}
DEVICE = Path(__file__).with_name("device")
CORES = {"cortex-m4": ("mps2-an386", "fpv4-sp-d16"), "cortex-m7": ("mps2-an500", "fpv5-sp-d16")}  # machine, FPU
TOOLS = {"arm-none-eabi-gcc": "gcc-arm-none-eabi libnewlib-arm-none-eabi", "qemu-system-arm": "qemu-system-arm"}
FLAGS = (
    "-std=gnu99",
    "-O2",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-mthumb",
    "-mfloat-abi=hard",
    "-ffunction-sections",
    "-nostartfiles",
)
LINK = ("--specs=nano.specs", "-Wl,--gc-sections", "-lm")
WINDOWS = (5, 30)  # seconds
EMULATION = 300  # seconds after which it has failed


def run(nights=None):
    """Print table 12 and write what it is drawn from to runs/wearable/wearable.csv; returns the data frame.

    nights : folder of prepared nights whose epochs calibrate the integers; None: a simulated night"""
    if missing := missing_tools():
        raise WorkFailed(f"{missing} is not installed: apt-get install {' '.join(TOOLS.values())}")
    folder = runs("wearable")
    night = simulated_epochs(folder)
    wanted = [(name, kind, s) for s in WINDOWS for name in NETWORKS for kind in ("float32", "int8")]
    rows = [measure(*one, night, folder, nights) for one in progress(wanted)]
    frame = write_table(pd.DataFrame(rows), folder / "wearable.csv")
    print(table_wearable(frame).to_string(index=False))
    print(f"written to {folder / 'wearable.csv'}; table 12 and figure 18 are drawn from sleepkit/weights/wearable.csv")
    return frame


def missing_tools():
    """The first needed program that is not installed; empty where all are there."""
    return next((tool for tool in TOOLS if shutil.which(tool) is None), "")


def simulated_epochs(folder, fs=100.0):
    """Epochs of a simulated night: (n, samples) float32 µV."""
    recording, _ = simulate_night(folder, subject=0, hours=1)
    return read_night(recording, fs, round(EPOCH_SECONDS * fs)).x[:, 0]


def measure(name, kind, seconds, night, folder, nights=None):
    """A row of wearable.csv: a network in C on an emulated Cortex-M4, in windows of so many seconds.

    name, kind : of NETWORKS, "float32" or "int8";  night : (n, samples) µV, what is staged and what calibrates"""
    net, about, _ = load_exportable(NETWORKS[name])
    samples = round(seconds * about["fs"])
    scale, context = Normalisation(**about["normalisation"]), read_context(about["context"])
    windows = night.reshape(-1, samples)[: CALIBRATION // seconds]
    if nights is not None and samples == about["samples"]:
        windows, _ = calibration_and_test(nights, about)
    path = Path(folder) / f"{name}_{seconds}s_{kind}"
    plan = write_c(net, path, samples, scale, about["fs"], context, windows if kind == "int8" else None)
    flash, memory = build(path)
    staged, stack = emulate(path, night[len(night) // 2][None])
    size, count = 4 if kind == "float32" else 1, EPOCH_SECONDS // seconds
    row = {"network": name, "type": kind, "samples": samples, "params": about["parameters"]}
    row |= {"macs": count * count_macs(net, samples), "flash_bytes": flash, "ram_bytes": memory + stack}
    row |= {"arena_bytes": size * plan.arena, "bound_bytes": size * plan.bound, "stack_bytes": stack}
    return row | {"instructions": int(staged.instructions[0])}


def build(path, core="cortex-m4"):
    """Compile and link `path`.c with the program in bench/device to `path`.elf; (flash, RAM without stack) in bytes,
    from the linker's map: all of the program, with the 30 s of signal that it holds."""
    sources = [f"{path}.c", str(DEVICE / "main.c"), "-include", f"{path}.h", "-T", str(DEVICE / "cortex_m.ld")]
    machine = [f"-mcpu={core}", f"-mfpu={CORES[core][1]}"]
    outputs = [f"-Wl,-Map={path}.map", "-o", f"{path}.elf"]
    _run([*("arm-none-eabi-gcc", *FLAGS, *machine), *sources, *LINK, *outputs])
    linked = Path(f"{path}.map").read_text(encoding="utf-8")
    sections = re.findall(r"^\.(text|ARM\.exidx|data|bss)\s+0x\w+\s+0x(\w+)", linked, re.MULTILINE)
    size = {name: int(number, 16) for name, number in sections}
    return size["text"] + size.get("ARM.exidx", 0) + size["data"], size["data"] + size["bss"]


def emulate(path, epochs, core="cortex-m4"):
    """Run `path`.elf on epochs (n, samples) float32 µV; a data frame (stage, the five probabilities, instructions) with
    a row an epoch, stage -1 where it was not scored, and the bytes of stack that were used."""
    folder = Path(path).parent
    np.ascontiguousarray(epochs, "<f4").tofile(folder / "epochs.f32")
    options = ["-semihosting-config", "enable=on,target=native", "-icount", "shift=0", "-display", "none"]
    command = ["qemu-system-arm", "-M", CORES[core][0], *options, "-monitor", "none", "-serial", "none"]
    done = _run([*command, "-kernel", f"{Path(path).resolve()}.elf"], cwd=folder, timeout=EMULATION)
    *lines, (word, stack) = (line.split() for line in (done.stdout + done.stderr).splitlines())
    if word != "stack" or len(lines) != len(epochs):
        raise WorkFailed(f"{path}.elf on qemu: {len(lines)} of {len(epochs)} epochs\n{done.stdout}{done.stderr}")
    staged = pd.DataFrame(lines, columns=["stage", *STAGES, "instructions"]).astype(np.int64)
    return staged.assign(**{stage: staged[stage] / 1e6 for stage in STAGES}), int(stack)


def _run(command, **how):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **how)
    if done.returncode:
        raise WorkFailed(f"{' '.join(command)}:\n{done.stdout}{done.stderr}")
    return done

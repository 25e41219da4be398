"""Table 12, beyond the paper: what the networks need of a microcontroller."""

import pandas as pd

from sleepkit.epochs import EPOCH_SECONDS
from sleepkit.paper.published import baselines

KB = 1024  # bytes, as memories are sold
CYCLES = 1.5  # of an instruction, assumed: about what a Cortex-M4 takes with loads, branches and waiting for flash
CLOCKS = (64, 168, 480)  # MHz
# Smallest first: kB of RAM, of flash, MHz, and a device of this class.
CLASSES = ((64, 512, 64, "nRF52832"), (256, 1024, 64, "nRF52840"), (1024, 2048, 480, "STM32H743"))
HEADS = {"network": "network", "type": "numbers", "window": "window, s", "params": "parameters"}
HEADS |= {"flash": "flash, kB", "ram": "RAM, kB", "macs": "MACs, M", "instructions": "instructions, M"}


def table_wearable(costs):
    """Table 12: flash, RAM and time of the networks as C on a Cortex-M4, for an epoch of 30 s; AttnSleep's size below.

    costs : data frame as wearable.csv, which `bench wearable` measures"""
    rows = device_costs(costs)
    heads = {"s": "s at {} MHz", "share": "% of real time at {} MHz"}
    heads = {f"{name}{mhz}": head.format(mhz) for mhz in CLOCKS for name, head in heads.items()}
    heads = HEADS | heads | {"fits": "smallest device"}
    known = baselines()
    peer = known[(known.method == "AttnSleep (2021)") & (known.dataset == "edf20")].iloc[0]
    size = {"network": "AttnSleep", "type": "float32", "window": 30.0, "params": peer.params, "macs": peer.mmacs}
    table = pd.concat([rows, pd.DataFrame([size | {"fits": "not compiled"}])], ignore_index=True)
    return table[list(heads)].astype({"params": int}).rename(columns=heads)


def device_costs(costs):
    """wearable.csv in the units of readers: kB, millions, seconds and shares of real time in %, and what it fits."""
    frame = costs.assign(window=costs.samples / 100, macs=costs.macs / 1e6)
    frame = frame.assign(flash=costs.flash_bytes / KB, ram=costs.ram_bytes / KB, instructions=costs.instructions / 1e6)
    for mhz in CLOCKS:
        frame[f"s{mhz}"] = CYCLES * frame.instructions / mhz
        frame[f"share{mhz}"] = 100 * frame[f"s{mhz}"] / EPOCH_SECONDS
    return frame.assign(fits=[smallest_device(row) for row in frame.to_dict("records")])


def smallest_device(row):
    """The first of CLASSES that holds a row of `device_costs` and keeps up with the signal; "none" without one."""
    for ram, flash, mhz, device in CLASSES:
        if row["ram"] <= ram and row["flash"] <= flash and row[f"share{mhz}"] < 100:
            return f"{device}: {ram} kB RAM, {flash} kB flash"
    return "none of these"


def wearable_remarks(costs):
    """What table 12's numbers are, and which networks fit 256 kB of RAM and 1 MB of flash, in sentences."""
    frame = device_costs(costs)
    fits = (frame.ram <= 256) & (frame.flash <= 1024)
    names = frame.network + " " + frame.type + ", " + frame.window.astype(int).astype(str) + " s"
    fit, others = ("; ".join(names[mask]) or "none" for mask in (fits, ~fits))
    return [
        "Measured by `python -m sleepkit bench wearable`: C compiled by gcc -O2 for a Cortex-M4 with FPU, flash and "
        "RAM of the whole program with 30 s of signal and its stack, in kB of 1024 bytes; instructions of an epoch of "
        f"30 s as qemu counts them; seconds at an assumed {CYCLES} cycles an instruction. Windows of 30 s: memory and "
        "time of the same weights, which were trained on 5 s. AttnSleep as published.",
        f"256 kB of RAM and 1 MB of flash hold: {fit}. They do not hold: {others}.",
    ]

"""EDF and BDF files of any kind, written byte by byte from the specification, and small models to score them with."""

import numpy as np

from sleepkit.genotype import Genotype

CELL = (("sep_conv_1x3", 0), ("max_pool_3x3", 1))
TINY = Genotype(CELL, CELL)
CONTEXT = {"transition": (np.eye(5) * 0.8 + 0.04).tolist(), "prior": [0.2, 0.1, 0.4, 0.15, 0.15], "weight": 0.6}
FACTS = {
    "fs": 100.0,
    "samples": 500,
    "protocol": "subjectwise",
    "normalisation": {"mean": 0.0, "sd": 20.0},
    "context": CONTEXT,
    "data": "nothing at all",
}
RANGES = {"EDF": (-32768, 32767), "BDF": (-8388608, 8388607)}


def write_recording(
    path, signals, rate, kind="EDF", seconds=1, unit="uV", physical=1000, onsets=None, start="16.13.00"
):
    """Write a recording; what is left of the signals after the last whole record is cut off.

    signals : dict label -> (n,) values in `unit`, within +- physical;  seconds : length of a record
    onsets : of every record, s: makes an EDF+D
    """
    low, high = RANGES[kind]
    samples = round(rate * seconds)
    records = min(len(x) for x in signals.values()) // samples
    columns = [_bytes(x, low, high, physical, kind)[: records * samples].reshape(records, -1) for x in signals.values()]
    labels, per_record = list(signals), [samples] * len(signals)
    if onsets is not None:
        size = 2 if kind == "EDF" else 3
        notes = [f"{onset:+.12g}\x14\x14\x00".encode().ljust(10 * size, b"\0") for onset in onsets]
        columns.append(np.array([list(note) for note in notes], np.uint8))
        labels, per_record = [*labels, f"{kind} Annotations"], [*per_record, 10]
    n = len(labels)
    version = b"0".ljust(8) if kind == "EDF" else b"\xffBIOSEMI"
    plus = f"{kind}+D" if onsets is not None else ""
    head = version + _field("X X X X", 80) + _field("Startdate X X X X", 80) + _field("24.04.89", 8) + _field(start, 8)
    head += _field(256 * (n + 1), 8) + _field(plus, 44) + _field(records, 8) + _field(f"{seconds:g}", 8) + _field(n, 4)
    columns_of_header = (
        (labels, 16),
        ([""] * n, 80),
        ([unit] * n, 8),
        ([f"{-physical:g}"] * n, 8),
        ([f"{physical:g}"] * n, 8),
        ([low] * n, 8),
        ([high] * n, 8),
        ([""] * n, 80),
        (per_record, 8),
        ([""] * n, 32),
    )
    head += b"".join(_field(value, width) for values, width in columns_of_header for value in values)
    path.write_bytes(head + np.hstack(columns).tobytes())
    return path


def _field(value, width):
    return str(value).encode("latin-1").ljust(width)[:width]


def _bytes(x, low, high, physical, kind):
    """(n,) values -> (n, 2 or 3) bytes, little endian."""
    digital = np.rint((np.asarray(x, float) + physical) / (2 * physical) * (high - low) + low).astype("<i4")
    return digital[:, None].view(np.uint8).reshape(-1, 4)[:, : 2 if kind == "EDF" else 3]


def brain(seconds, rate, seed=0):
    """Something like EEG: noise of 20 µV that lies below 20 Hz at any rate, the same waves at every one."""
    random = np.random.default_rng(seed)
    hertz, size, phase = random.uniform(0.7, 20, 40), random.uniform(2, 7, 40), random.uniform(0, 2 * np.pi, 40)
    t = np.arange(round(seconds * rate)) / rate
    x = np.zeros(len(t))
    for f, a, p in zip(hertz, size, phase, strict=True):
        x += a * np.sin(2 * np.pi * f * t + p)
    return x


def save_tiny(path, seed=0, **facts):
    """A small untrained network on disk, whose stages depend on the signal; returns its path without ending."""
    import torch

    from sleepkit.network.saved import save_network
    from sleepkit.network.sleepnet import SleepNet

    torch.manual_seed(seed)
    net = SleepNet(TINY, channels=2, cells=3)
    random = np.random.default_rng(seed)
    signals = [np.convolve(random.normal(size=800), np.ones(k) / k**0.5)[100:600] for k in range(1, 33)]
    x = torch.tensor(np.array(signals) * np.geomspace(0.05, 0.7, 32)[random.permutation(32), None]).float()[:, None]
    with torch.no_grad():
        for _ in range(30):
            net(x)  # BatchNorm learns what its inputs are like
        net.eval()
        logits = net(x)
        net.classifier.weight *= 2 / logits.std(dim=0)[:, None]
        net.classifier.bias *= 0
        net.classifier.bias -= net(x).mean(dim=0)
    save_network(net, path, FACTS | facts)
    return path


def write_annotations(path, rows, one_record=True, keepers=True, **header):
    """An EDF+ file of annotations alone, (onset, duration or None, text or bytes), in one record or a record each.
    keepers : whether records begin with the annotation that keeps their time, as EDF+ asks for"""
    tals = [_tal(*row) for row in rows]
    records = [b"".join(tals)] if one_record else tals
    records = [(_tal(0, None, "") if keepers else b"") + record for record in records]
    size = max(map(len, records)) + 1
    size += size % 2
    head = {"start": "24.04.89", "clock": "16.13.00", "recording": "Startdate 24-APR-1989 X X X"} | header
    content = b"0".ljust(8) + _field("X X X X", 80) + _field(head["recording"], 80) + _field(head["start"], 8)
    content += _field(head["clock"], 8) + _field(512, 8) + _field("EDF+C", 44) + _field(len(records), 8)
    content += _field(0, 8) + _field(1, 4) + _field("EDF Annotations", 16) + _field("", 88)
    content += b"".join(_field(value, 8) for value in (-1, 1, -32768, 32767)) + _field("", 80) + _field(size // 2, 8)
    path.write_bytes(content + _field("", 32) + b"".join(record.ljust(size, b"\0") for record in records))
    return path


def _tal(onset, duration, text):
    lasts = b"" if duration is None else f"\x15{duration:g}".encode()
    return (
        f"{onset:+.12g}".encode() + lasts + b"\x14" + (text if isinstance(text, bytes) else text.encode()) + b"\x14\0"
    )


def reheaded(path, start=None, clock=None, recording=None, unit=None, plus=None, records=None):
    """Give a recording of one signal other fields of the header (texts, the unit as bytes); returns its path."""
    content = bytearray(path.read_bytes())
    places = {"recording": (88, 80), "start": (168, 8), "clock": (176, 8), "plus": (192, 44), "records": (236, 8)}
    values = {"recording": recording, "start": start, "clock": clock, "plus": plus, "records": records}
    for name, (at, width) in places.items():
        if values[name] is not None:
            content[at : at + width] = _field(values[name], width)
    if unit is not None:
        content[352:360] = unit.ljust(8)
    path.write_bytes(content)
    return path

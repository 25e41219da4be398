"""From stages to the numbers of a sleep report."""

import numpy as np

from sleepkit.epochs import EPOCH_SECONDS, STAGES


def sleep_statistics(stages):
    """The usual statistics of one night (definitions of the AASM manual; those of yasa where the two differ).
    stages : (n,) int, position in STAGES, negative where not scored; the recording is taken as the time in bed
    returns a dict. Minutes: recording, unscored, TST (total sleep time), SPT (first to last epoch of sleep), WASO (wake
    within SPT), SOL (start to first epoch of sleep), REM_latency (from there), and each stage. Per cent: SE and
    W_percent (of the recording), N1_percent to REM_percent (of TST). What has no value without sleep is NaN."""
    stages = np.asarray(stages, dtype=int)
    wake, rem = STAGES.index("W"), STAGES.index("REM")
    asleep = np.flatnonzero((stages >= 0) & (stages != wake))
    counts = np.bincount(stages[stages >= 0], minlength=len(STAGES))
    n, sleep, nan = len(stages), len(asleep), float("nan")
    first, last = (asleep[0], asleep[-1] + 1) if sleep else (0, 0)
    epochs = {"recording": n, "unscored": (stages < 0).sum(), "TST": sleep, "SPT": last - first}
    epochs |= {"WASO": (stages[first:last] == wake).sum(), "SOL": first} if sleep else {"WASO": nan, "SOL": nan}
    epochs["REM_latency"] = int((stages == rem).argmax()) - first if rem in stages else nan
    epochs |= dict(zip(STAGES, counts, strict=True))
    found = {name: float(number * EPOCH_SECONDS / 60) for name, number in epochs.items()}
    found["SE"] = 100 * sleep / n if n else nan
    for stage, count in zip(STAGES, counts.tolist(), strict=True):
        whole = n if stage == "W" else sleep
        found[f"{stage}_percent"] = 100 * count / whole if whole else nan
    return found


def as_text(statistics):
    """The statistics as lines of text."""
    shown = {name: "-" if np.isnan(value) else f"{value:.1f}" for name, value in statistics.items()}
    rows = [
        ("time recorded", "recording", "min"),
        ("total sleep time (TST)", "TST", "min"),
        ("sleep efficiency (SE)", "SE", "% of the recording"),
        ("sleep onset latency (SOL)", "SOL", "min"),
        ("REM latency, from sleep onset", "REM_latency", "min"),
        ("wake after sleep onset (WASO)", "WASO", "min"),
        ("not scored", "unscored", "min"),
    ]
    for stage in STAGES:
        whole = "the recording" if stage == "W" else "TST"
        rows.append((stage, stage, f"min {shown[stage + '_percent']:>6} % of {whole}"))
    return "\n".join(f"{text:32}{shown[name]:>7} {unit}" for text, name, unit in rows)

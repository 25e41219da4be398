"""From stages to the numbers of a sleep report."""

import datetime

import numpy as np

from sleepkit.epochs import EPOCH_SECONDS, STAGES
from sleepkit.recordings.start import DAY, seconds_of_day, shown


def sleep_statistics(stages):
    """The usual statistics of one night (definitions of the AASM manual; those of yasa where the two differ).
    stages : (n,) int of the time in bed, position in STAGES, negative where not scored
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


def time_in_bed(n, start, lights_off=None, lights_on=None):
    """First epoch of the time in bed and that after the last, of `n`: lights off and on to whole epochs; None without.

    lights_off, lights_on : clock ("22:30", "22:30:15"; needs the recording's `start`), or seconds after its start"""
    if lights_off is None and lights_on is None:
        return None
    ends = [(0, lights_off, "lights_off"), (n * EPOCH_SECONDS, lights_on, "lights_on")]
    first, last = (given if value is None else _seconds(value, name, n, start) for given, value, name in ends)
    if last - first < EPOCH_SECONDS:
        raise ValueError(f"lights_off={lights_off}, lights_on={lights_on}: no time in bed between them")
    return round(first / EPOCH_SECONDS), round(last / EPOCH_SECONDS)


def _seconds(value, name, n, start):
    """Seconds after the start of a recording of `n` epochs, by a clock or by a number of seconds."""
    clocked = ":" in str(value)
    try:
        clock = datetime.time.fromisoformat(str(value).rjust(5, "0")) if clocked else None
        seconds = 0.0 if clocked else float(value)
    except ValueError as error:
        raise ValueError(f"{name}={value}: expected a clock such as 22:30, or seconds") from error
    if clocked and start is None:
        raise ValueError(f"{name}={value}: the recording does not say when it starts; give seconds after its start")
    if clocked:
        seconds = (seconds_of_day(clock) - seconds_of_day(start)) % DAY
    if not 0 <= seconds <= n * EPOCH_SECONDS:
        lies = f"from {shown(start)} on" if start else "from its first second on"
        raise ValueError(f"{name}={value}: not within the recording, {n * EPOCH_SECONDS} s {lies}")
    return seconds


def as_text(statistics, whole="recording"):
    """The statistics as lines of text; `whole` is what the time in bed is called."""
    values = {name: "-" if np.isnan(value) else f"{value:.1f}" for name, value in statistics.items()}
    rows = [
        ("time recorded" if whole == "recording" else whole, "recording", "min"),
        ("total sleep time (TST)", "TST", "min"),
        ("sleep efficiency (SE)", "SE", f"% of the {whole}"),
        ("sleep onset latency (SOL)", "SOL", "min"),
        ("REM latency, from sleep onset", "REM_latency", "min"),
        ("wake after sleep onset (WASO)", "WASO", "min"),
        ("not scored", "unscored", "min"),
    ]
    for stage in STAGES:
        of = f"the {whole}" if stage == "W" else "TST"
        rows.append((stage, stage, f"min {values[stage + '_percent']:>6} % of {of}"))
    return "\n".join(f"{text:32}{values[name]:>7} {unit}" for text, name, unit in rows)

"""Whether a signal can be scored: flat and clipped stretches, its amplitude, its likeness to the training data."""

import numpy as np

FLAT = 0.5  # µV from peak to peak within a second; the quietest EEG moves by more, a loose electrode by hundreds
AT_RAIL = 0.1  # share of a second's samples at the recording's largest or smallest value: the amplifier's end
PLAUSIBLE = (1.0, 500.0)  # µV, standard deviation of scalp EEG in sleep: it is 5 to 60
QUANTILES = (0.005, 0.05, 0.5, 0.95, 0.995)
FEATURES = ("log_sd", "mobility", "complexity")
MARGIN = 0.1  # of the range that 99 % of the training windows fill, allowed beyond it on either side


def bad_seconds(x, fs):
    """Seconds that are flat, clipped, or not recorded: x (n,) µV, NaN where nothing was recorded -> (n // fs,) bool."""
    edges = np.rint(np.arange(int(len(x) / fs + 1e-6)) * fs).astype(np.int64)
    x = x[: round(len(edges) * fs)]
    if not len(known := x[np.isfinite(x)]):
        return np.ones(len(edges), bool)
    span = np.maximum.reduceat(x, edges) - np.minimum.reduceat(x, edges)
    rail = (x == known.max()) | (x == known.min())
    return ~(span >= FLAT) | (np.add.reduceat(rail.astype(np.int32), edges) > AT_RAIL * fs)  # a NaN compares as flat


def windows_scored(bad, windows):
    """Windows that vote: bad (epochs, seconds) bool -> (epochs, windows) bool; at most half of one may be bad."""
    return bad.reshape(len(bad), windows, -1).mean(axis=2) <= 0.5


def epochs_scored(good):
    """Epochs that get a stage: good (epochs, windows) bool -> (epochs,) bool; half of the windows must vote."""
    return good.mean(axis=1) >= 0.5


def typical_amplitude(x):
    """Median over windows of the standard deviation: (n, samples) µV -> µV; NaN where there are no windows."""
    return float(np.median(x.std(axis=1))) if len(x) else float("nan")


def features(x):
    """Log amplitude, mobility (standard deviation of the slope against the signal's) and complexity (mobility of the
    slope against the signal's; Hjorth 1970, doi:10.1016/0013-4694(70)90143-4): (n, samples) µV -> (n, 3)."""
    found = np.empty((len(x), len(FEATURES)))
    for rows in np.array_split(np.arange(len(x)), max(1, len(x) // 1000)):
        slope = np.diff(x[rows], axis=1)
        sd, sd1, sd2 = (part.std(axis=1, dtype=np.float64) + 1e-9 for part in (x[rows], slope, np.diff(slope, axis=1)))
        found[rows] = np.column_stack([np.log10(sd), sd1 / sd, sd2 * sd / sd1**2])
    return found


def signal_facts(x):
    """What the training windows look like, for `unlike`: (n, samples) µV -> dict that json can hold."""
    quantiles = np.quantile(features(x), QUANTILES, axis=0).T.tolist()
    mean, sd = float(x.mean(dtype=np.float64)), float(x.std(dtype=np.float64))
    facts = {"mean": mean, "sd": sd, "windows": len(x), "quantiles": list(QUANTILES)}
    return facts | {name: [round(x, 5) for x in row] for name, row in zip(FEATURES, quantiles, strict=True)}


def unlike(found, facts):
    """Windows that lie outside of what 99 % of the training windows fill: (n, 3) of `features` -> (n,) bool."""
    low, high = np.array([[facts[name][0], facts[name][-1]] for name in FEATURES], dtype=float).T
    slack = MARGIN * (high - low)
    return ((found < low - slack) | (found > high + slack)).any(axis=1)


def humming(found):
    """Windows with more power above a quarter of the sampling rate than below: (n, 3) of `features` -> (n,) bool.
    With r the correlation of neighbouring samples, mobility is sqrt(2 (1 - r)): r < 0 in mains hum, never in EEG."""
    return found[:, FEATURES.index("mobility")] > np.sqrt(2)

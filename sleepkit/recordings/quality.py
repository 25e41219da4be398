"""Whether a signal can be scored: flat and clipped stretches, its amplitude, its likeness to the training data."""

import numpy as np

FLAT = 0.5  # µV from peak to peak within a second; the quietest EEG moves by more, a loose electrode by hundreds
AT_RAIL = 0.1  # share of a second's samples at the recording's largest or smallest value: the amplifier's end
PLAUSIBLE = (1.5, 500.0)  # µV, standard deviation of scalp EEG in sleep: it is 5 to 60
WINDOW = 5  # s, of which the standard deviation is taken: slow drifts hardly matter in it
# Factors to µV of what signals are handed around in; volts times 100 is what a widespread repair of peers' scripts
# (`to_data_frame(scalings=100.0)`) makes of µV.
UNITS = {"V": 1e6, "volts times 100 (µV times 1e-4)": 1e4, "mV": 1e3, "nV": 1e-3}
TYPICAL, WITHIN = 20.0, 6.0  # µV, and the factor beyond it up to which a unit may be meant
QUANTILES = (0.005, 0.05, 0.5, 0.95, 0.995)
FEATURES = ("log_sd", "mobility", "complexity")
MARGIN = 0.1  # of the range that 99 % of the training windows fill, allowed beyond it on either side


def bad_seconds(x, fs):
    """Seconds that are flat, clipped, or not recorded: x (n,) µV, NaN where nothing was recorded -> (n // fs,) bool."""
    edges = np.rint(np.arange(int(len(x) / fs + 1e-6)) * fs).astype(np.int64)
    x = x[: round(len(edges) * fs)]
    if not len(known := x[np.isfinite(x)]):
        return np.ones(len(edges), bool)
    with np.errstate(over="ignore", invalid="ignore"):  # of what is no EEG
        span = np.maximum.reduceat(x, edges) - np.minimum.reduceat(x, edges)
    rail = (x == known.max()) | (x == known.min())
    return ~(span >= FLAT) | (np.add.reduceat(rail.astype(np.int32), edges) > AT_RAIL * fs)  # a NaN compares as flat


def windows_scored(bad, windows):
    """Windows that vote: bad (epochs, seconds) bool -> (epochs, windows) bool; at most half of one may be bad."""
    return bad.reshape(len(bad), windows, -1).mean(axis=2) <= 0.5


def epochs_scored(good):
    """Epochs that get a stage: good (epochs, windows) bool -> (epochs,) bool; half of the windows must vote."""
    return good.mean(axis=1) >= 0.5


def amplitude_problem(x, fs, bad):
    """Why a signal cannot be EEG in µV, and its probable unit; "" where it can, or is flat or clipped throughout.
    x : (n,) µV, NaN where nothing was recorded;  bad : (seconds,) bool of `bad_seconds`"""
    edges = np.arange(0, max(1, len(bad) // WINDOW)) * WINDOW
    parts = [x[round(edge * fs) : round((edge + WINDOW) * fs)].astype(np.float64) for edge in edges]
    parts = [part[np.isfinite(part)] for part in parts]
    sd = np.array([part.std() if len(part) else 0.0 for part in parts])
    good = np.array([bad[edge : edge + WINDOW].mean() <= 0.5 for edge in edges])
    if good.any():
        typical = float(np.median(sd[good]))
        return "" if PLAUSIBLE[0] <= typical <= PLAUSIBLE[1] else _in_words(typical)
    # By the limit for flat EEG in µV, EEG in volts is flat, but takes many values, and the noise of a flat channel few.
    moving = sd[[len(np.unique(part)) > 4 * WINDOW for part in parts]]
    typical = float(np.median(moving)) if 2 * len(moving) > len(parts) else 0.0
    return _in_words(typical) if likely_unit(typical) else ""


def likely_unit(typical):
    """The unit in which a signal of a standard deviation would be EEG in sleep; "" where there is none."""
    ratio = {unit: abs(np.log(max(typical, 1e-300) * factor / TYPICAL)) for unit, factor in UNITS.items()}
    unit = min(ratio, key=ratio.get)
    return unit if ratio[unit] <= np.log(WITHIN) else ""


def _in_words(typical):
    if unit := likely_unit(typical):
        why = f"its samples are probably in {unit}"
    elif PLAUSIBLE[0] / 5 <= typical < PLAUSIBLE[0]:
        why = "it was probably normalised to a standard deviation of 1 (z-scored)"
    else:
        why = "its samples are probably counts of an amplifier" if typical < 1e7 else "it is no EEG"
    return f"typical amplitude of {typical:.3g} µV (standard deviation), while EEG in sleep has 5 to 60: {why}"


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

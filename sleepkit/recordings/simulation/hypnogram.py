"""The course of a simulated night: one stage per 30 s, and the EDF+ hypnogram that tells it."""

import edfio
import numpy as np

EPOCH = 30  # s, as the scorers of Sleep-EDF worked
W, N1, N2, S3, S4, REM, MOVEMENT, UNSCORED = range(8)
LABELS = (*(f"Sleep stage {stage}" for stage in "W1234R"), "Movement time", "Sleep stage ?")
LONGEST_SLEEP = 8.5 * 3600  # s; a day-long recording holds one night, the rest of it is wake
CYCLE = 95 * 60  # s; short recordings get shorter cycles, so that there are always two or more


def _spread(rng, total, shares):
    """Whole numbers that add up to `total`, in about the proportions of `shares`, each varied by a fifth."""
    shares = np.asarray(shares) * np.exp(0.2 * rng.standard_normal(len(shares)))
    return np.diff(np.rint(total * np.cumsum(np.concatenate([[0], shares])) / shares.sum()).astype(int))


def _cycle(rng, n, part):
    """One sleep cycle of `n` epochs; `part` runs from 0 (first cycle: much N3) to 1 (last: much REM)."""
    n1, down, deep, up, rem = _spread(rng, n, [0.06, 0.22, 0.38 - 0.32 * part, 0.22 + 0.10 * part, 0.14 + 0.20 * part])
    middle, rim = np.full(deep, S4), -(-deep // 4)  # stage 4 inside stage 3
    middle[:rim] = middle[deep - rim :] = S3
    cycle = np.concatenate([np.full(n1, N1), np.full(down, N2), middle, np.full(up, N2), np.full(rem, REM)])
    chance = rng.random(n)  # scorers see single epochs change to and fro
    cycle[(cycle == S4) & (chance < 0.15)] = S3
    cycle[(cycle == S3) & (chance < 0.07)] = N2
    cycle[(cycle == N2) & (chance > 0.985)] = N1
    cycle[(cycle == N2) & (chance > 0.96)] = S3 if part < 0.5 else N2
    cycle[(cycle == REM) & (chance > 0.98)] = N1
    return cycle


def draw_stages(rng, seconds):
    """Stages of a night with cycles, awakenings, movement: (seconds // 30,) int, positions in `LABELS`."""
    n = seconds // EPOCH
    before, after = rng.uniform(0.10, 0.15, 2) * n  # wake
    spare = max(0.0, (n - before - after - LONGEST_SLEEP / EPOCH) / 2)
    before, after = int(before + spare), int(after + spare)
    asleep = n - before - after
    lengths = _spread(rng, asleep, np.ones(max(2, round(asleep * EPOCH / CYCLE))))
    night = np.concatenate([_cycle(rng, k, i / (len(lengths) - 1)) for i, k in enumerate(lengths)])
    for start in np.flatnonzero(rng.random(asleep) < 0.01 + 0.01 * np.linspace(0, 1, asleep)):
        awake = rng.geometric(0.5)  # an awakening, and the way back through N1
        night[start : start + awake] = W
        night[start + awake : start + awake + rng.integers(1, 4)] = N1
    stages = np.concatenate([np.full(before, W), night, np.full(after, W)])
    inside, movements = before + rng.permutation(asleep), 1 + rng.poisson(0.004 * asleep)
    stages[inside[:movements]] = MOVEMENT
    stages[inside[movements] : inside[movements] + rng.integers(1, 3)] = UNSCORED
    return stages


def annotations(stages, beyond):
    """Runs of equal stages as EDF+ annotations, then `Sleep stage ?` for `beyond` seconds, as the originals have it."""
    starts = np.flatnonzero(np.diff(stages, prepend=-1))
    lengths = np.diff(starts, append=len(stages))
    bouts = [*zip(starts, lengths, stages[starts], strict=True), (len(stages), beyond / EPOCH, UNSCORED)]
    return [edfio.EdfAnnotation(float(EPOCH * a), float(EPOCH * n), LABELS[stage]) for a, n, stage in bouts]

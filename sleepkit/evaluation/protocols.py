"""The two protocols: the sides of a fold, how the signal is scaled, what chooses the epoch (method section 4).

`subjectwise` is the honest one: nobody is on two sides. `epochwise` is the authors' own: one person's epochs train and
test a network, and the test fold chooses its epoch.
"""

from dataclasses import dataclass

import numpy as np

# The ten pairs of subjects of EDF-20 in AttnSleep's order, so that folds equal that peer's.
EDF20_PAIRS = ((14, 5), (4, 17), (8, 7), (19, 12), (0, 15), (16, 9), (11, 10), (3, 1), (6, 18), (2, 13))
SIDES = ("train", "valid", "test")


@dataclass(frozen=True)
class Fold:
    """One fold: its number and the positions of the epochs on either side, sorted int arrays."""

    number: int
    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray

    def subjects(self, epochs):
        """Dict side -> sorted list of its subjects."""
        return {side: np.unique(epochs.subject[getattr(self, side)]).tolist() for side in SIDES}

    @classmethod
    def of_subjects(cls, number, sides, epochs):
        """The fold of these subjects: `sides` as `subjects` gives them."""
        return cls(number, *(np.flatnonzero(np.isin(epochs.subject, sides[side])) for side in SIDES))


@dataclass(frozen=True)
class Normalisation:
    """Signal of µV to network input: (x - mean) / sd, clipped to +-3, divided by 3; scalars, or (samples,) arrays."""

    mean: float
    sd: float

    def __call__(self, x):
        return (np.clip((x - self.mean) / self.sd, -3, 3) / 3).astype(np.float32)


@dataclass(frozen=True)
class Protocol:
    """How a network is evaluated."""

    name: str
    select_by: str  # score on the validation epochs that chooses the epoch to keep, as in TrainSettings
    by_subject: bool  # whether subjects stay apart, so that a night's context can be used

    def normalisation(self, epochs, fold):
        """Mean and sd of the training subjects; epochwise those of each sample position over the whole data set."""
        if not self.by_subject:
            return Normalisation(epochs.x.mean(axis=0), epochs.x.std(axis=0) + 1e-6)
        x = epochs.x[fold.train]
        return Normalisation(float(x.mean(dtype=np.float64)), float(x.std(dtype=np.float64)))

    def folds(self, epochs, k=10, validation_subjects=3, seed=47):
        """The folds as a list: `k` of subjects, or the authors' five of epochs, shuffled with `seed`."""
        if self.by_subject:
            return subject_folds(epochs.subject, k, validation_subjects)
        return epoch_folds(len(epochs), seed=seed)


SUBJECTWISE = Protocol("subjectwise", "mf1", by_subject=True)
EPOCHWISE = Protocol("epochwise", "acc", by_subject=False)
PROTOCOLS = {protocol.name: protocol for protocol in (SUBJECTWISE, EPOCHWISE)}


def subject_folds(subject, k, validation_subjects=3):
    """`k` folds with no subject on two sides. EDF-20's twenty in ten are AttnSleep's pairs; others are permuted.
    subject : (n,) int
    validation_subjects : those of training that validate, drawn with the fold's number as seed, but at most a third"""
    present = np.unique(subject)
    others = len(present) - -(-len(present) // k)  # than the largest test side
    if len(present) < k or others < 2:
        needed = f"{k} folds, each with subjects to test, to validate and to train on"
        raise ValueError(f"{len(present)} subjects cannot fill {needed}; use fewer folds or more subjects")
    validation_subjects = min(validation_subjects, max(1, others // 3))
    of_edf20 = k == 10 and np.array_equal(present, np.arange(20))
    groups = EDF20_PAIRS if of_edf20 else np.array_split(np.random.default_rng(42).permutation(present), k)
    folds = []
    for number, test in enumerate(groups):
        others = np.setdiff1d(present, test)
        valid = np.random.default_rng(number).choice(others, validation_subjects, replace=False)
        train = np.setdiff1d(others, valid)
        folds.append(Fold(number, *(np.flatnonzero(np.isin(subject, side)) for side in (train, valid, test))))
    return folds


def epoch_folds(n, k=5, seed=47):
    """The authors' folds: epochs shuffled, a subject's on both sides, and the test fold chooses the epoch."""
    from sklearn.model_selection import KFold  # which figures do without

    splits = KFold(k, shuffle=True, random_state=seed).split(np.arange(n))
    return [Fold(number, np.sort(train), np.sort(test), np.sort(test)) for number, (train, test) in enumerate(splits)]


def manifest(epochs, folds):
    """Which subjects train, validate and test each fold, and which nights test it, as a dict that json can hold."""
    nights = {fold.number: {"test_nights": np.unique(epochs.night[fold.test]).tolist()} for fold in folds}
    return {str(fold.number): fold.subjects(epochs) | nights[fold.number] for fold in folds}

"""A night beside those that a network was trained on: a louder or quieter one is brought to their amplitude, and in one
with more fast activity than any of them N3 is called more readily."""

from dataclasses import dataclass, replace

import numpy as np

from sleepkit.epochs import STAGES
from sleepkit.scoring.spectra import fast_excess, loudness, spectra, spectral_deficit

FEWEST = 240  # epochs: in less than two hours, loudness is that of the stages as much as of the recorder


@dataclass(frozen=True, eq=False)
class Votes:
    """What a network says of a night's epochs, each alone."""

    probabilities: np.ndarray  # (n, 5), 0 where no window is good
    deficit: np.ndarray | None = None  # (windows, bands) dB, of `spectral_deficit`; None where spectra are not known
    factor: float = 1.0  # by which the signal was multiplied


def unadapted(model):
    """The same model, to which every night is like the training nights."""
    if "loudness" not in (known := model.facts.get("spectrum", {})):
        return model
    known = known | {"loudness": (-np.inf, np.inf), "fast": np.inf}
    return replace(model, facts=model.facts | {"spectrum": known})


def night_votes(model, x, good):
    """The Votes of a night: x (n, windows, samples) µV, good (n, windows) bool."""
    known, change = model.facts.get("spectrum", {}), 0.0
    if "loudness" not in known or not good.any():
        return Votes(model.vote(x, good))
    found = spectra(x[good], model.fs)
    if good.any(axis=1).sum() >= FEWEST:
        loud, (lowest, highest) = loudness(found, known, model.fs), known["loudness"]
        change = 0.0 if lowest <= loud <= highest else known["usual"] - loud
    factor = float(10 ** (change / 20))
    alone = model.vote(x if factor == 1 else x * np.float32(factor), good)
    stages = np.repeat(alone[:, None], good.shape[1], axis=1)[good]
    return Votes(alone, spectral_deficit(found + change, stages, known), factor)


def adapted(model, votes):
    """(probabilities, context, notes) for the kind of night that it is: the logits shifted by what the model holds for
    familiar nights, or for unfamiliar ones, which have a context of their own, too; as they are where it holds none."""
    facts, alone, context, notes = model.facts, votes.probabilities, model.context, []
    if votes.factor != 1:
        size = f"the signal is {1 / votes.factor:.2g} times as large as is usual in the training nights"
        than = "larger" if votes.factor < 1 else "smaller"
        notes.append(f"{size}, {than} than in any of them: it was scaled to the usual size before staging")
    if "familiar" not in facts or votes.deficit is None:
        return alone, context, notes
    kind = facts["familiar"]
    if fast_excess(votes.deficit, model.fs) > facts["spectrum"]["fast"]:
        kind = facts["unfamiliar"]
        notes.append("more power from 8 to 25 Hz than in any training night: N3 is called more readily")
        context = context and replace(context, weight=kind["weight"], rarity=kind["rarity"])
    alone = alone * np.exp([kind["shift"][stage] for stage in STAGES])
    return alone / np.maximum(alone.sum(axis=1, keepdims=True), 1e-300), context, notes

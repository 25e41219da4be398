"""How far a night's stages can be trusted: what its channel is, and how far it lies from the training nights."""

import re
from dataclasses import dataclass

import numpy as np

# Words of labels that name no EEG: eyes, muscles, heart, breathing, oxygen, movement.
OTHER = r"eog|loc|roc|e[12]|emg|chin|subment\w*|leg|tib\w*|lat|rat|plm\w*|e[ck]g|hr|pulse|ppg|pleth\w*|resp\w*"
OTHER += r"|air\w*|flow|nasal|oral|oronasal|thora\w*|chest|abdo\w*|sa?o2|spo2|snor\w*|mic\w*|temp\w*|body|pos\w*"
OTHER += r"|light|sound|event\w*"
NOT_EEG = re.compile(rf"(?<![a-z0-9])(?:{OTHER})(?![a-z0-9])", re.IGNORECASE)
UNNAMED = "one channel"  # of a file that does not tell its name
TRAINED_ON = re.compile(r"fpz\s*-\s*(?:eeg\s*)?cz", re.IGNORECASE)


def about_channel(name):
    """Notes on a channel that by its label is no EEG, or another derivation than the networks were trained on."""
    if name == UNNAMED or TRAINED_ON.search(name):
        return []
    if found := NOT_EEG.search(name):
        return [f"channel {name!r} is no EEG by its label ({found[0]}): its stages mean nothing; name another channel"]
    return [f"channel {name!r} is not Fpz-Cz, on which the network was trained: expect more errors"]


@dataclass(frozen=True)
class Trust:
    """How often an expert may be expected to agree with a night's stages."""

    accuracy: float  # expected share of epochs
    doubted: bool

    @property
    def words(self):
        share = f"an expert is expected to agree in about {100 * self.accuracy:.0f} % of the epochs"
        if self.doubted:
            return f"{share}, less than on nights like the training's: check these stages before relying on them"
        return f"{share}, by the signal and by how sure the network is"


def measures(deficit, alone, spectrum):
    """What tells how well a night is staged, (3,): 1; how sure the network is on average; log of 1 + the distance of
    the spectrum from training nights', in their standard deviations.

    deficit : (windows, bands) dB, of `familiarity.Votes`;  alone : (n, 5) probabilities of scored epochs, each alone
    spectrum : of `spectra.training_spectra`"""
    apart = np.median(deficit, axis=0) / np.array(spectrum["sd"])
    return np.array([1, alone.max(axis=1).mean(), np.log1p(np.sqrt(np.mean(apart**2)))])


def trust(found, facts):
    """The Trust of a night from its `measures`: their weighted sum, as fitted on nights with an expert's stages."""
    accuracy = float(np.clip(found @ np.array(facts["weights"]), 0.2, 0.95))
    return Trust(accuracy, accuracy < facts["doubted_below"])

"""How far a night's stages can be trusted: what its channel is, and how far it lies from the training nights."""

import re

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

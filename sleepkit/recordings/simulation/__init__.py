"""Simulated nights as real EDF+ pairs, with the names, channels and header conventions of Sleep-EDF: the default input.
They stand in for recordings that cannot be passed on, so that everything else runs; they say nothing about sleep."""

import datetime
import math
from collections.abc import Iterable
from pathlib import Path

import edfio
import numpy as np

from sleepkit.execution.paths import written
from sleepkit.recordings.simulation.hypnogram import annotations, draw_stages
from sleepkit.recordings.simulation.signal import draw_person, draw_signals

FILTER = "HP:0.5Hz LP:100Hz [enhanced cassette BW]"
# label, transducer, unit, physical range, digital range, prefilter: as in the header of SC4001E0-PSG.edf
CHANNELS = (
    ("EEG Fpz-Cz", "Ag-AgCl electrodes", "uV", (-192, 192), (-2048, 2047), FILTER),
    ("EEG Pz-Oz", "Ag-AgCl electrodes", "uV", (-197, 196), (-2048, 2047), FILTER),
    ("EOG horizontal", "Ag-AgCl electrodes", "uV", (-1009, 1009), (-2048, 2047), FILTER),
    ("Resp oro-nasal", "Oral-nasal thermistors", "", (-2048, 2047), (-2048, 2047), "HP:0.03Hz LP:0.9Hz"),
    ("EMG submental", "Ag-AgCl electrodes", "uV", (-5, 5), (-2500, 2500), "HP:16Hz Rectification LP:0.7Hz"),
    ("Temp rectal", "Rectal thermistor", "DegC", (34, 40), (-2849, 2731), ""),
    ("Event marker", "Marker button", "", (-2047, 2048), (-2047, 2048), "Hold during 2 seconds"),
)


def simulate_night(output_dir, subject, night=1, hours=8.0, seed=0):
    """Write `SC4ssNE0-PSG.edf` (seven channels, at least 0.5 hours) and `SC4ssNEC-Hypnogram.edf`; returns the paths.
    Same arguments (subject 0 to 99, night 0 to 9) give the same bytes."""
    if not (0 <= subject <= 99 and 0 <= night <= 9):
        raise ValueError(f"subject {subject}, night {night}: Sleep-EDF's names have room for 0 to 99 and 0 to 9")
    if (seconds := round(3600 * hours)) < 1800:
        raise ValueError(f"hours={hours}: a night needs at least half an hour, for two cycles with all stages")
    person = draw_person(np.random.default_rng([seed, subject, 0]))
    rng = np.random.default_rng([seed, subject, 1 + night])
    stages = draw_stages(rng, seconds)
    patient = edfio.Patient(sex=person.sex, name=f"{'Male' if person.sex == 'M' else 'Female'}_{person.age}yr")
    minutes = int(rng.integers(30)) - 30 * int(np.flatnonzero(stages)[0]) // 60  # to fall asleep about midnight
    start = datetime.datetime(1989, 1, 1, 23, 40) + datetime.timedelta(minutes=minutes)
    date = datetime.date(1989, 1, 1) + datetime.timedelta(7 * subject + night)
    header = {"patient": patient, "recording": edfio.Recording(startdate=date), "starttime": start.time()}
    notes = annotations(stages, beyond=60 * int(rng.integers(15, 116)))
    fast, slow = draw_signals(rng, person, stages, seconds)
    channels, signals = zip([*fast, *slow, 900 + 20 * rng.standard_normal(seconds)], CHANNELS, strict=True), []
    for values, (label, transducer, unit, (low, high), (dlow, dhigh), prefilter) in channels:
        digital = (values - low) * np.float32((dhigh - dlow) / (high - low)) + dlow
        digital = np.rint(digital).clip(dlow, dhigh).astype(np.int16)  # clipped, as the recorder did
        about = {"label": label, "transducer_type": transducer, "physical_dimension": unit, "prefiltering": prefilter}
        about |= {"physical_range": (low, high), "digital_range": (dlow, dhigh)}
        signals.append(edfio.EdfSignal.from_digital(digital, len(values) // seconds, **about))
    psg = edfio.Edf(signals, data_record_duration=math.gcd(seconds, 30), **header)  # 30 s where the length allows it
    files = {"E0-PSG": psg, "EC-Hypnogram": edfio.Edf([], annotations=notes, **header)}
    paths = {Path(output_dir) / f"SC4{subject:02d}{night}{end}.edf": edf for end, edf in files.items()}
    for path, edf in paths.items():
        with written(path) as temporary:
            edf.write(temporary)
    return tuple(paths)


def simulate(
    output_dir: str | Path,
    subjects: Iterable[int] = range(8),
    nights: Iterable[int] = (1,),
    hours: float = 8.0,
    seed: int = 0,
) -> list[tuple[Path, Path]]:
    """Write simulated nights (see `simulate_night`) of several subjects; returns sorted (psg, hypnogram) paths."""
    return sorted(simulate_night(output_dir, subject, night, hours, seed) for subject in subjects for night in nights)

"""Nights beside the training nights: their loudness, their fast activity, and what follows for their stages."""

import io
from dataclasses import replace

import numpy as np
import pytest
from recording_files import brain, save_tiny

from sleepkit.epochs import STAGES
from sleepkit.scoring import load_model, score, score_stream, stream
from sleepkit.scoring.familiarity import FEWEST, Votes, adapted, night_votes, unadapted
from sleepkit.scoring.spectra import loudness, spectra, training_spectra

FS, SHIFT = 100, {"W": 0.4, "N1": 0.0, "N2": 0.0, "N3": 1.5, "REM": 0.0}


def windows(n, seed=0):
    """Noise whose spectrum falls with a slope of its stage: (n, 500) µV, (n,) stages."""
    random, y = np.random.default_rng(seed), np.arange(n) % 5
    hertz = np.fft.rfftfreq(500, 1 / FS)
    spectrum = random.normal(size=(n, 251)) * np.maximum(hertz, 0.5) ** (-0.4 * y[:, None])
    x = np.fft.irfft(spectrum, n=500)
    return (20 * x / x.std(axis=1, keepdims=True)).astype(np.float32), y


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A network that knows its training nights: ten, of 0.8 to 1.25 times the amplitude."""
    x, y = windows(400)
    night = np.arange(400) // 40
    x = x * np.geomspace(0.8, 1.25, 10)[night][:, None]
    found = load_model(save_tiny(tmp_path_factory.mktemp("model") / "tiny"))
    kinds = {"familiar": {"shift": dict.fromkeys(STAGES, 0.0)}}
    kinds |= {"unfamiliar": {"shift": SHIFT, "weight": 0.4, "rarity": 0.0}}
    return replace(found, facts=found.facts | kinds | {"spectrum": training_spectra(x, y, night, FS)})


def test_loudness_is_the_factor_whatever_the_stages_are(model):
    known, (x, y) = model.facts["spectrum"], windows(300, seed=1)
    base = loudness(spectra(x, FS), known, FS)
    for factor in (0.3, 2, 5):
        louder = loudness(spectra(factor * x, FS), known, FS)
        assert louder - base == pytest.approx(20 * np.log10(factor), abs=0.01)
    for stage in range(5):
        assert loudness(spectra(x[y == stage], FS), known, FS) == pytest.approx(base, abs=1.5)


def test_a_loud_or_quiet_night_gives_the_stages_of_the_night_as_it_should_be(model):
    x, _ = windows(FEWEST, seed=2)
    x, good = x[:, None], np.ones((FEWEST, 1), bool)
    known = model.facts["spectrum"]
    usual = 10 ** ((known["usual"] - loudness(spectra(x[:, 0], FS), known, FS)) / 20)
    expected = model.vote(x * np.float32(usual), good)
    for factor in (0.2, 3):
        votes = night_votes(model, x * np.float32(factor), good)
        assert votes.factor * factor == pytest.approx(usual, rel=0.01)
        np.testing.assert_allclose(votes.probabilities, expected, atol=1e-3)
        note = adapted(model, votes)[2][0]
        assert f"{1 / votes.factor:.2g} times as large" in note and ("larger" if factor > 1 else "smaller") in note
    votes = night_votes(model, x, good)
    assert votes.factor == 1 and "times as large" not in str(adapted(model, votes)[2])
    np.testing.assert_array_equal(votes.probabilities, model.vote(x, good))
    assert night_votes(model, 3 * x[1:], good[1:]).factor == 1, "less than two hours"


def test_without_adaptation_every_night_is_like_the_training_nights(model):
    x, _ = windows(FEWEST, seed=2)
    x, good = 5 * x[:, None] * np.float32(-1) ** np.arange(500, dtype=np.float32), np.ones((FEWEST, 1), bool)
    changed, votes = night_votes(model, x, good), night_votes(plain := unadapted(model), x, good)
    assert (changed.factor, len(adapted(model, changed)[2])) != (1, 0)
    np.testing.assert_array_equal(votes.probabilities, model.vote(x, good))
    probabilities, context, notes = adapted(plain, votes)
    np.testing.assert_allclose(probabilities, votes.probabilities)
    assert (votes.factor, notes, context) == (1, [], model.context)
    assert unadapted(without := replace(model, facts={})) is without


def test_a_night_of_much_fast_activity_gets_the_shift_and_context_of_unfamiliar_ones(model):
    deficit = np.zeros((4, len(model.facts["spectrum"]["sd"])))
    alone = np.array([[0.2, 0.1, 0.4, 0.2, 0.1], [0, 0, 0, 0, 0]])
    probabilities, context, notes = adapted(model, Votes(alone, deficit))
    np.testing.assert_allclose(probabilities, alone)
    assert (notes, context) == ([], model.context)
    deficit -= model.facts["spectrum"]["fast"] + 0.1
    probabilities, context, notes = adapted(model, Votes(alone, deficit))
    odds = probabilities[0] / alone[0]
    np.testing.assert_allclose(odds / odds[2], np.exp(list(SHIFT.values())))
    assert not probabilities[1].any() and "8 to 25 Hz" in notes[0]
    assert (context.weight, context.rarity) == (0.4, 0.0)


def test_score_and_stream_do_the_same_with_an_unfamiliar_night(model):
    """Each epoch alone: the stream knows its past only, and here every epoch is as unfamiliar as the night."""
    x = np.float32(brain(300, FS)) + np.float32(np.random.default_rng(3).normal(0, 40, 300 * FS))
    found = score((x, FS), model, context=False)
    assert any("8 to 25 Hz" in note for note in found.notes)
    sink = io.StringIO()
    score_stream(io.BytesIO(x.tobytes()), sink, model, context=False)
    rows = [line.split(",")[2:7] for line in sink.getvalue().splitlines()[1:]]
    np.testing.assert_allclose(np.array(rows, float), found.epochs[list(STAGES)], atol=2e-4)


def test_a_stream_forgets_what_lies_longer_back_than_two_hours(model, monkeypatch):
    """Fast activity at the start shifts the stages for as long as it fills most of the past."""
    monkeypatch.setattr(stream, "FEWEST", 3)
    x = windows(120)[0].ravel()  # twenty epochs
    x[: 300 * FS] += np.random.default_rng(3).normal(0, 40, 300 * FS)
    between = model.facts["spectrum"] | {"fast": 25.0}  # dB: with the noise 34, without it 15
    model = replace(model, facts=model.facts | {"spectrum": between})
    rows = []
    for part in (x, x[300 * FS :]):
        sink = io.StringIO()
        score_stream(io.BytesIO(part.tobytes()), sink, model, context=False)
        rows.append(np.array([line.split(",")[2:7] for line in sink.getvalue().splitlines()[1:]], float))
    whole, rest = rows[0][10:], rows[1]
    assert np.abs(whole[0] - rest[0]).max() > 1e-3, "still unfamiliar"
    np.testing.assert_array_equal(whole[3:], rest[3:])

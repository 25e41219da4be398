"""A network that goes on training as other recorders would have written its nights, and what is released of it."""

import json

import numpy as np
import pytest
from recording_files import brain, save_tiny
from toy import save_nights, toy

from sleepkit.experiments import augmented
from sleepkit.scoring import load_model, score


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Prepared nights of 20 subjects, a night of another laboratory, and the network that training starts from."""
    folder = tmp_path_factory.mktemp("augmented")
    save_nights(toy(20, nights=(1,), per_night=8, samples=500), folder / "nights")
    save_tiny(folder / "start")
    (folder / "others").mkdir()
    x = np.float32(brain(61 * 30, 128)).reshape(61, -1)
    np.savez(folder / "others" / "a.npz", x=x, y=np.arange(61, dtype=np.int32) % 5, fs=128.0, ch_label="EEG C3-A2")
    return folder


def test_a_fold_is_trained_and_released_as_score_takes_it(folder, capsys, recwarn):
    nights, start, target = str(folder / "nights"), str(folder / "start"), folder / "both"
    augmented.main(["train", nights, str(folder / "runs"), "--start", start, "--epochs", "1", "--lr", "0.001"])
    trained = capsys.readouterr().out.strip().splitlines()[-1]
    shift = [0.4, 0.1, 0, 0.8, -0.1]
    both = ["--network", start, "--network", trained, "--shift", *map(str, shift)]
    both += ["--unfamiliar", "0.4", "0", "0", "1.5", "0"]
    augmented.main(["release", nights, str(target), *both, "--development", str(folder / "others")])
    said = json.loads(capsys.readouterr().out)
    assert said["cross_validation"]["n"] == 16 and said["trust"]["nights"] == 5 * 16 + 2, (
        "five people; a night, and half an hour"
    )
    model, parts = load_model(f"{target}.onnx"), [load_model(path) for path in (start, trained)]
    x = np.float32(brain(60, 100)).reshape(12, 500)
    mean = np.mean([part.probabilities(x) for part in parts], axis=0)
    assert list(model.facts["familiar"]["shift"].values()) == shift
    assert list(model.facts["unfamiliar"]["shift"].values()) == [0.4, 0, 0, 1.5, 0]
    np.testing.assert_allclose(model.probabilities(x), mean, atol=1e-4)
    assert np.abs(parts[0].probabilities(x) - parts[1].probabilities(x)).max() > 1e-3
    found = score(folder / "others" / "a.npz", model)
    assert found.trust is not None and found.trust.words in found.notes

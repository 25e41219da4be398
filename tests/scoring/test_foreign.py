"""Labelled nights of anybody's, as a table; and Sleep-EDF as other recorders would have written it."""

import numpy as np
import pytest
from edf_files import write_hypnogram
from recording_files import brain, save_tiny, write_recording

from sleepkit.__main__ import main
from sleepkit.bench import foreign, recorders, shifts
from sleepkit.epochs import STAGES
from sleepkit.experiments.recorders import RECORDERS, recorded
from sleepkit.metrics import confusion, scores
from sleepkit.scoring import load_model, score

FS = 100


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A prepared night of 128 Hz, a recording with a hypnogram, and one without."""
    folder = tmp_path_factory.mktemp("nights")
    x = np.float32(brain(600, 128)).reshape(20, 3840)
    np.savez(folder / "a.npz", x=x, y=np.arange(20, dtype=np.int32) % 5, fs=128.0, ch_label="EEG C3-A2")
    write_recording(folder / "b.edf", {"EEG Fpz-Cz": brain(300, FS)}, FS)
    write_hypnogram(folder / "b-Hypnogram.edf", (("W", 4), ("2", 6)))
    write_recording(folder / "c.edf", {"EEG Fpz-Cz": brain(300, FS)}, FS)
    return folder


def test_the_table_is_what_score_gives(folder, saved, monkeypatch, capsys):
    monkeypatch.setattr(foreign, "find_spec", lambda name: None)
    table = foreign.run(folder, [saved])
    assert table["recording"].tolist() == ["a", "a", "b", "b", "all", "all"]
    for name, hypnogram in (("a.npz", None), ("b.edf", folder / "b-Hypnogram.edf")):
        found = score(folder / name, saved, hypnogram=hypnogram)
        rows = table[table["recording"] == name[0]]
        for by, stages in (
            ("tiny", found.stages),
            ("tiny, alone", found.network[list(STAGES)].to_numpy().argmax(axis=1)),
        ):
            (row,) = rows[rows["by"] == by].to_dict("records")
            expected = scores(confusion(found.labels, stages))
            assert (row["epochs"], row["kappa"]) == (len(found.labels), pytest.approx(expected["kappa"]))
            known = found.labels == STAGES.index("N2")
            assert row["recall N2"] == pytest.approx((stages[known] == STAGES.index("N2")).mean())
    assert table[table["recording"] == "all"]["epochs"].tolist() == [30, 30]
    assert np.isnan(table.loc[2, "recall REM"])
    assert "YASA is not installed" in capsys.readouterr().out


def test_a_folder_without_stages_is_an_error(tmp_path, saved, capsys):
    write_recording(tmp_path / "c.edf", {"EEG Fpz-Cz": brain(300, FS)}, FS)
    assert main(["bench", "foreign", str(tmp_path), "--model", str(saved)]) == 2
    assert "none of 1 recordings has stages" in capsys.readouterr().err
    assert main(["bench", "foreign"]) == main(["bench", "infer", str(tmp_path)]) == 2
    assert "want a folder of labelled nights" in capsys.readouterr().err


@pytest.mark.parametrize("name", RECORDERS)
def test_recorders_change_what_they_say(name):
    x = np.float32(brain(300, FS).reshape(60, 500))
    found = recorded(x, FS, **RECORDERS[name])
    assert found.shape == x.shape and found.dtype == np.float32
    how = RECORDERS[name]
    inner = slice(50, 450)
    ratio = found[:, inner].std() / x[:, inner].std()
    if set(how) <= {"rate", "low", "bits"}:  # the waves lie below 20 Hz
        assert ratio == pytest.approx(1, abs=0.05)
    if "gain" in how:
        assert ratio == pytest.approx(how["gain"], rel=0.01)
    if "offset" in how:
        assert np.median(found.mean(axis=1)) == pytest.approx(80, abs=3)


def test_only_people_that_a_network_has_not_met_are_taken(tmp_path, saved):
    for subject in (3, 5, 14):
        (tmp_path / f"SC4{subject:02d}1E0.npz").touch()
    model = load_model(save_tiny(tmp_path / "tiny", training={"train": [3], "valid": [5]}))
    assert [path.stem for path in recorders.unmet(tmp_path, model)] == ["SC4141E0"]
    model = load_model(save_tiny(tmp_path / "tiny", training={"train": [3, 14], "valid": [5]}))
    with pytest.raises(ValueError, match="was trained on everybody in it"):
        recorders.unmet(tmp_path, model)


def test_other_shifts_of_n3_trade_one_stage_for_others(folder, saved, tmp_path, monkeypatch):
    kinds = {kind: {"shift": dict.fromkeys(STAGES, 0.0)} for kind in ("familiar", "unfamiliar")}
    spectrum = {"by_stage": np.zeros((5, 19)).tolist(), "loudness": [-99, 99], "usual": 0, "fast": 99}
    model = save_tiny(tmp_path / "tiny", **kinds, spectrum=spectrum)
    x = np.float32(brain(600, 128)).reshape(20, 3840)
    np.savez(tmp_path / "n3.npz", x=x, y=np.full(20, STAGES.index("N3"), np.int32), fs=128.0, ch_label="EEG C3-A2")
    monkeypatch.setattr(shifts, "SHIFTS", (0, 30))
    plain = score(tmp_path / "n3.npz", saved, context=False)
    expected = [(plain.stages == STAGES.index("N3")).mean(), 1]
    assert shifts.run(tmp_path, [model])["recall N3 of others"].tolist() == pytest.approx(expected)
    assert shifts.run(folder, [model])["alone"][1] == 0, "all stages, and each epoch is called N3"
    with pytest.raises(ValueError, match="holds no shifts"):
        shifts.run(folder, [saved])

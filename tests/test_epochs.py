"""Prepared nights as arrays: identities that last, files that come back, and errors that name the file."""

import numpy as np
import pytest

from sleepkit.epochs import STAGES, EpochSet, parse_night, read_prepared


def write(folder, name, n=6, samples=8, **changes):
    random = np.random.default_rng(sum(name.encode()))
    arrays = {
        "x": random.normal(size=(n, samples, 1)).astype(np.float32),
        "y": random.integers(0, 5, n).astype(np.int32),
        "fs": 100.0,
        "ch_label": "EEG Fpz-Cz",
    }
    folder.mkdir(exist_ok=True)
    np.savez(folder / f"{name}.npz", **{key: value for key, value in (arrays | changes).items() if value is not None})


@pytest.fixture
def folder(tmp_path):
    for name, n in (("SC4192E0", 5), ("SC4001E0", 4), ("SC4002E0", 6)):
        write(tmp_path / "nights", name, n)
    return tmp_path / "nights"


def test_nights_load_in_the_order_of_their_names(folder):
    epochs = EpochSet.load(folder)
    assert epochs.night.tolist() == ["SC4001E0"] * 4 + ["SC4002E0"] * 6 + ["SC4192E0"] * 5
    assert epochs.subject.tolist() == [0] * 10 + [19] * 5
    assert epochs.x.shape == (15, 8)
    assert (epochs.x.dtype, epochs.y.dtype, epochs.fs) == (np.float32, np.int64, 100.0)
    with np.load(folder / "SC4002E0.npz") as night:
        np.testing.assert_array_equal(epochs.x[4:10], night["x"][:, :, 0])
        np.testing.assert_array_equal(epochs.y[4:10], night["y"])
    assert epochs.counts().tolist() == [(epochs.y == k).sum() for k in range(5)]


def test_ids_do_not_depend_on_what_else_was_loaded(folder):
    every = EpochSet.load(folder)
    assert len(set(every.id.tolist())) == len(every)
    for nights in (["SC4192E0"], ["SC4192E0", "SC4001E0"], ["SC4001E0", "SC4192E0"]):
        some = EpochSet.load(folder, nights)
        np.testing.assert_array_equal(some.id, every.id[np.isin(every.night, nights)])


def test_ids_go_with_their_epochs(folder):
    every = EpochSet.load(folder)
    place = {i: k for k, i in enumerate(every.id.tolist())}
    rows = np.random.default_rng(0).permutation(15)[:9]
    for some in (every.subset(rows), every.subset(every.y == 2), every.subset(rows).subset([2, 0])):
        back = [place[i] for i in some.id.tolist()]
        for name in ("x", "y", "subject", "night"):
            np.testing.assert_array_equal(getattr(some, name), getattr(every, name)[back])
    assert len(every.subset(rows).subset([2, 0])) == 2


def test_rate_and_channel_may_be_arrays_of_one(folder):
    write(folder, "SC4012E0", fs=np.array([100]), ch_label=np.array(["EEG Fpz-Cz"]))
    assert EpochSet.load(folder).fs == 100.0
    night = read_prepared(folder / "SC4012E0.npz")
    assert (night.fs, night.channel, night.x.shape, night.y.dtype) == (100.0, "EEG Fpz-Cz", (6, 8), np.int64)
    write(folder, "SC4012E0", ch_label=None)
    assert read_prepared(folder / "SC4012E0.npz").channel is None


def test_a_night_with_holes_is_read_where_holes_are_allowed(folder):
    x, y = np.ones((6, 8), np.float32), np.array([0, 1, 7, -1, 4, 0])
    x[2] = np.nan
    write(folder, "SC4012E0", x=x, y=y)
    night = read_prepared(folder / "SC4012E0.npz", whole=False)
    np.testing.assert_array_equal(night.x, x)
    assert night.y.tolist() == y.tolist()


def test_what_a_killed_process_left_behind_is_ignored(folder):
    (folder / ".123-SC4011E0.npz").write_bytes(b"half")
    (folder / "nights.csv").write_text("night\n")
    assert len(EpochSet.load(folder)) == 15


@pytest.mark.parametrize("samples", [8, 500])
def test_nights_of_peers_without_the_last_axis_load_too(tmp_path, samples):
    write(tmp_path / "nights", "SC4001E0", x=np.ones((6, samples)), samples=samples)
    epochs = EpochSet.load(tmp_path / "nights")
    assert epochs.x.shape == (6, samples)
    assert epochs.x.dtype == np.float32


def test_a_missing_night_or_an_empty_folder_is_named(folder, tmp_path):
    with pytest.raises(ValueError, match="nights: no prepared night SC4011E0, SC4012E0; run"):
        EpochSet.load(folder, ["SC4012E0", "SC4001E0", "SC4011E0"])
    with pytest.raises(ValueError, match="nowhere: no prepared night; run"):
        EpochSet.load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": None}, "not a prepared night with x, y and fs"),
        ({"fs": None}, "not a prepared night with x, y and fs"),
        ({"fs": np.array([1.0, 2.0])}, "not a prepared night with x, y and fs"),
        ({"fs": 0.0}, "not a prepared night with x, y and fs"),
        ({"fs": np.nan}, "not a prepared night with x, y and fs"),
        ({"y": np.array([{}] * 6, dtype=object)}, "not a prepared night with x, y and fs"),
        ({"y": np.zeros(6)}, "y float64"),
        ({"x": np.full((6, 8, 1), "a")}, "x is <U1"),
        ({"x": np.zeros((5, 8, 1))}, r"x has shape \(5, 8\), y \(6,\)"),
        ({"x": np.zeros((6, 8, 2))}, r"x has shape \(6, 8, 2\)"),
        ({"y": np.zeros((6, 1), int)}, r"y \(6, 1\)"),
        ({"y": np.int64(3)}, r"y \(\)"),
        ({"x": np.zeros((0, 8, 1)), "y": np.zeros(0, int)}, r"x has shape \(0, 8\)"),
        ({"x": np.full((6, 8, 1), np.nan)}, "NaN or infinite"),
        ({"x": np.full((6, 8, 1), np.inf)}, "NaN or infinite"),
        ({"x": np.full((6, 8, 1), 1e300)}, "NaN or infinite"),
        ({"y": np.full(6, 5)}, "labels 5 to 5; expected 0 to 4"),
        ({"y": np.full(6, -1)}, "labels -1 to -1"),
        ({"x": np.zeros((6, 9, 1))}, "9 samples at 100 Hz, but SC4001E0 has 8 at 100 Hz"),
        ({"fs": 200.0}, "8 samples at 200 Hz, but SC4001E0 has 8 at 100 Hz"),
    ],
)
def test_a_night_that_is_none_is_named(folder, changes, message):
    write(folder, "SC4012E0", **changes)
    with pytest.raises(ValueError, match=f"SC4012E0.npz: .*{message}"):
        EpochSet.load(folder)


@pytest.mark.parametrize("damage", ["empty", "text", "half", "bits", "array"])
def test_a_damaged_file_is_named(folder, damage):
    path = folder / "SC4012E0.npz"
    write(folder, "SC4012E0", n=50)
    content = bytearray(path.read_bytes())
    if damage == "array":
        with open(path, "wb") as file:
            np.save(file, np.zeros(3))
    else:
        content[400] ^= 255
        path.write_bytes({"empty": b"", "text": b"hello", "half": content[:900], "bits": content}[damage])
    with pytest.raises(ValueError, match="SC4012E0.npz: not a prepared night"):
        EpochSet.load(folder)


def test_two_files_of_one_night_are_refused(folder):
    write(folder, "SC4002F0")
    with pytest.raises(ValueError, match="SC4002F0.npz: the same subject and night as SC4002E0"):
        EpochSet.load(folder)


def test_names_of_nights():
    assert parse_night("SC4192E0") == (19, 2)
    assert parse_night("SC4771G0") == (77, 1)
    assert parse_night("ST7011J0") == (101, 1)
    for name in ("SC419", "XX4192E0", "night", "SC5192E0"):
        with pytest.raises(ValueError, match=name):
            parse_night(name)


def test_a_file_with_another_name_is_refused(folder):
    write(folder, "night1")
    with pytest.raises(ValueError, match="night1"):
        EpochSet.load(folder)


def test_order_of_the_stages():
    assert STAGES == ("W", "N1", "N2", "N3", "REM")

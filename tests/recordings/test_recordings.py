"""Which nights there are, and one channel of a file: the readers under `prepare`."""

import pandas as pd
import pytest

from sleepkit.recordings import nights_of
from sleepkit.recordings.dataset import find_nights
from sleepkit.recordings.download import sha1_of
from sleepkit.recordings.preparation import open_channel
from sleepkit.recordings.sleep_edf import PUBLISHED


def test_nights_of_the_two_data_sets():
    small, large = nights_of("edf20"), nights_of("edf78")
    assert (len(small), len(large)) == (39, 153) and set(small) < set(large)
    subjects = {int(night[3:5]) for night in large}
    assert subjects == set(range(83)) - {39, 68, 69, 78, 79}
    assert {int(night[3:5]) for night in small} == set(range(20))
    missing = [f"{s:02d}{n}" for s in sorted(subjects) for n in (1, 2) if f"{s:02d}{n}" not in {x[3:6] for x in large}]
    assert missing == ["132", "361", "521"]
    with pytest.raises(ValueError, match="edf20 and edf78"):
        nights_of("edf30")


@pytest.mark.parametrize("dataset", ["edf20", "edf78"])
def test_every_night_is_in_the_list_of_sums(dataset):
    sums = sha1_of(dataset)
    assert sorted(name for name in sums if name.endswith("-PSG.edf")) == [
        f"{night}-PSG.edf" for night in nights_of(dataset)
    ]
    hypnograms = [name[:6] for name in sorted(sums) if name.endswith("-Hypnogram.edf")]
    assert hypnograms == [night[:6] for night in nights_of(dataset)]
    assert len(sums) == 2 * len(nights_of(dataset)) and all(len(sha1) == 40 for sha1 in sums.values())


def test_pairs_by_recording_id_not_by_order(tmp_path):
    names = [
        "SC4002E0-PSG.edf",
        "SC4001G0-PSG.edf",
        "SC4001EV-Hypnogram.edf",
        "SC4002EA-Hypnogram.edf",
        "SC4012E0-PSG.edf",
    ]
    names += ["SC4011EC-Hypnogram.edf"]  # sorted lists of both kinds have equal length and would pair up wrongly
    for name in names:
        (tmp_path / name).touch()
    found = {night.night: night for night in find_nights(tmp_path)}
    assert list(found) == ["SC4001G0", "SC4002E0", "SC4011EC", "SC4012E0"]
    assert [p.name for p in found["SC4001G0"].files] == ["SC4001G0-PSG.edf", "SC4001EV-Hypnogram.edf"]
    assert [p.name for p in found["SC4002E0"].files] == ["SC4002E0-PSG.edf", "SC4002EA-Hypnogram.edf"]
    assert "no PSG" in found["SC4011EC"].problem and "no hypnogram" in found["SC4012E0"].problem
    assert [found[night].subject for night in found] == [0, 0, 1, 1]


def test_channels_that_are_no_eeg(shared):
    path = shared / "data" / "edf" / "SC4001E0-PSG.first300s.edf"
    with pytest.raises(
        ValueError, match="there are: EEG Fpz-Cz, EEG Pz-Oz, EMG submental, EOG horizontal, Event marker"
    ):
        open_channel(path, "EEG C3-A2")
    with pytest.raises(ValueError, match="1 Hz, expected 100 Hz"):
        open_channel(path, "EMG submental")


def test_published_counts_cover_the_nights():
    table = pd.read_csv(PUBLISHED).set_index(["dataset", "recording"]).n_epochs
    assert table["edf20"].sum() == 42308 and table["edf78"].sum() == 195479

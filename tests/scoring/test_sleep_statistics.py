"""Sleep statistics: a night counted by hand, and yasa's own numbers where it is installed."""

import numpy as np
import pytest

from sleepkit.scoring.sleep_statistics import as_text, sleep_statistics

W, N1, N2, N3, R = range(5)


def test_a_night_counted_by_hand():
    night = [W] * 4 + [N1, N2, N2, W, N2, N3, N3, -1, R, R, R, W] + [W] * 3 + [-1]
    found = sleep_statistics(night)
    minutes = {"recording": 10, "unscored": 1, "TST": 4.5, "SPT": 5.5, "WASO": 0.5, "SOL": 2, "REM_latency": 4}
    minutes |= {"W": 4.5, "N1": 0.5, "N2": 1.5, "N3": 1, "REM": 1.5}
    percent = {"SE": 45, "W_percent": 45, "N1_percent": 100 / 9, "N2_percent": 100 / 3, "N3_percent": 200 / 9}
    assert found == pytest.approx(minutes | percent | {"REM_percent": 100 / 3})
    text = as_text(found)
    assert "total sleep time (TST)              4.5 min" in text and "45.0 % of the recording" in text


@pytest.mark.parametrize("night", [[], [W] * 9, [-1] * 9])
def test_a_night_without_sleep(night):
    found = sleep_statistics(night)
    assert found["TST"] == found["SPT"] == 0 and found["recording"] == len(night) / 2
    assert np.isnan([found[name] for name in ("SOL", "WASO", "REM_latency", "N2_percent")]).all()
    assert "sleep onset latency (SOL)             - min" in as_text(found)


def test_sleep_without_rem():
    found = sleep_statistics([N2] * 10)
    assert found["SOL"] == 0 and np.isnan(found["REM_latency"]) and found["SE"] == 100


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # yasa's own
@pytest.mark.parametrize("seed", range(20))
def test_the_same_as_yasa(seed):
    yasa = pytest.importorskip("yasa")
    random = np.random.default_rng(seed)
    night = np.repeat(random.integers(0, 5, 60), random.integers(1, 40, 60))
    night[: random.integers(1, 60)] = W
    found = sleep_statistics(night)
    names = np.array(["WAKE", "N1", "N2", "N3", "REM"])
    theirs = yasa.Hypnogram(names[night], freq="30s").sleep_statistics()
    assert found["recording"] == theirs["TIB"]
    for name in ("TST", "SPT", "WASO", "SOL", "SE"):
        assert found[name] == pytest.approx(theirs[name], abs=0.01), name  # yasa rounds
    assert found["REM_latency"] + found["SOL"] == pytest.approx(theirs["Lat_REM"])  # theirs from the start
    for stage in ("N1", "N2", "N3", "REM"):
        assert found[stage] == theirs[stage]
        assert found[f"{stage}_percent"] == pytest.approx(theirs[f"%{stage}"], abs=0.01)

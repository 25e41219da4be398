"""What lies beside zero, and what drifts."""

import numpy as np
import pytest
from recording_files import brain

from sleepkit.recordings.resampling import DRIFT, OFFSET, without_offset

FS = 100


@pytest.mark.parametrize("offset", [-300, 55, OFFSET + 1])
def test_a_constant_offset_is_subtracted_and_slow_waves_stay(offset):
    x = np.float32(brain(300, FS) + 40 * np.sin(2 * np.pi * 0.3 * np.arange(300 * FS) / FS))
    found, told, drifts = without_offset(x + np.float32(offset), FS, 30 * FS)
    assert told == pytest.approx(offset, abs=2) and not drifts
    np.testing.assert_allclose(found, x, atol=3)


def test_what_lies_at_zero_is_left_alone():
    x = np.float32(brain(300, FS))
    found, offset, drifts = without_offset(x, FS, 30 * FS)
    assert found is x and abs(offset) < 1 and not drifts


def test_only_what_drifts_is_high_passed():
    x = brain(600, FS)
    drift = 10 * DRIFT * np.sin(2 * np.pi * np.arange(600 * FS) / FS / 500)
    found, _, drifts = without_offset(np.float32(x + drift), FS, 30 * FS)
    assert drifts and np.abs(found.reshape(20, -1).mean(axis=1)).max() < DRIFT
    assert np.corrcoef(found, x)[0, 1] > 0.95
